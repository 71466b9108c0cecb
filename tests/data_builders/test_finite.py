"""No number that is not finite is written, whoever builds, and it is said where it was."""

import json
import shutil

import numpy as np
import pytest
from small_source import windows_file, write_source

from data_builders.common import cli
from data_builders.common.examine import require_finite
from data_builders.mmpsy import source as source_lib
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"audio": np.array([[1, np.inf]], np.float16)}, r"audio: 1 of 2 values do not fit float16, .*--dtype=float32"),
        ({"audio": np.array([1, np.nan], np.float16)}, "audio: 1 of 2 values are not finite"),
        ({"text": np.array([np.inf, -np.inf, 0], np.float32)}, "text: 2 of 3 values are not finite"),
        ({"window_start_s": np.array([np.nan, 0], np.float32)}, "window_start_s: 1 of 2 values"),
        ({"duration_s": np.float32(np.nan)}, "duration_s: 1 of 1"),
        ({"stress": np.float32(np.inf)}, "stress: 1 of 1"),
    ],
)
def test_a_record_with_such_a_number_is_refused(record, message):
    with pytest.raises(InputError, match=f"participant 'p1': {message}"):
        require_finite("p1", record)


def test_what_may_be_in_a_record_passes():
    largest = np.array([65504, -65504, 0, 6e-8], np.float16)
    empty = np.zeros((0, 3), np.float16)
    require_finite("p1", {"stress": np.float32(np.nan), "audio": largest, "text": empty, "n": 3, "participant": "p1"})
    largest[1] = -np.inf
    with pytest.raises(InputError, match="1 of 4"):
        require_finite("p1", {"audio": largest[::-1]})


def test_the_writer_looks_at_every_record(tmp_path):
    """A cell that float32 does not hold: daily moods have no check of their own."""
    rows = "".join(f"p{n},{day},1,{value}\n" for n in range(3) for day, value in ((1, 5), (2, 6), (3, 1e300)))
    (tmp_path / "t.csv").write_text(f"person,day,label:stress,sensor:steps\n{rows}")
    with pytest.raises(InputError, match="participant 'p0/3': steps: 1 of 1 values are not finite"):
        cli.build("daily_mood/table_by_time", tmp_path / "data", source=tmp_path / "t.csv")
    assert not list(tmp_path.glob("data/daily_mood/*/*/corpus.json"))


def test_somebody_whose_features_overflow_is_left_out_where_asked(tmp_path, monkeypatch):
    folder = write_source(tmp_path / "source", 30)
    real = source_lib.ReleasedSource.examine

    def examine(self, participant):
        record, notes = real(self, participant)
        if participant == "user_5":
            record["text"][0, 0, 0] = np.inf
        return record, notes

    monkeypatch.setattr(source_lib.ReleasedSource, "examine", examine)
    with pytest.raises(InputError, match=r"user_5.*text: 1 of \d+ values do not fit float16"):
        cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0)
    corpus = open_corpus(cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0, skip_bad=True))
    (skipped,) = corpus.card["skipped"]
    assert skipped["participant"] == "user_5" and "do not fit float16" in skipped["reason"] and len(corpus) == 29
    monkeypatch.setattr(source_lib.ReleasedSource, "examine", real)
    large = windows_file(folder, 6, 0, "text")
    values = np.load(large)
    values[0, 0] = 1e6
    np.save(large, values)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(InputError, match="do not fit float16: build the float32 config"):
        cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0)
    stored = open_corpus(cli.build("mmpsy/released_float32", tmp_path / "data", source=folder, workers=0))
    assert stored.read(stored.participants.index("user_6"))["text"].max() == 1e6


def test_the_scale_of_labels_stands_in_the_card(tmp_path):
    folder = cli.build("mmpsy/released", tmp_path / "data", source=write_source(tmp_path / "source", 30), workers=0)
    card = json.loads((folder / "corpus.json").read_text())
    assert card["label_ranges"]["gad7"] == {"low": 0.0, "high": 21.0, "source": "known"}
    del card["label_ranges"]  # a corpus of an older builder
    (folder / "corpus.json").write_text(json.dumps(card))
    assert {name: one.high for name, one in open_corpus(folder).ranges.items()} == {"phq9": 27.0, "gad7": 21.0}

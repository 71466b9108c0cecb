"""`launch.py build` and `launch.py check`: arguments, what is already there, and the report on a source."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_source import entry, windows_file, write_source, write_table

from data_builders.common import card, cli
from mmpsy_jax.io import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "mmpsy"


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def source(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "source"))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def test_build_prints_the_folder_and_does_nothing_twice(source, tmp_path, capsys):
    arguments = ["--dataset=mmpsy/released", f"--source={source}", f"--data_dir={tmp_path / 'd'}", "--workers=0"]
    folder = cli.main_build(arguments)
    assert capsys.readouterr().out.strip() == str(folder) == str(tmp_path / "d" / "mmpsy" / "released" / "1.0.0")
    before = snapshot(folder)
    assert cli.main_build(arguments) == folder and snapshot(folder) == before


def test_a_different_dataset_in_place(source, tmp_path):
    def build(**options):
        return cli.build("mmpsy/released", tmp_path / "d", source=source, workers=0, **options)

    folder = build()
    before = snapshot(folder)
    with pytest.raises(InputError, match="differs in include_text: give --overwrite"):
        build(include_text=True)
    np.save(windows_file(source, 1, 0, "audio"), np.ones((4, 30), np.float64))
    with pytest.raises(InputError, match="differs in files_sha256"):
        build()
    write_table(source, [entry(number, answers=5) for number in range(1, 31)])
    with pytest.raises(InputError, match="differs in source_sha256, files_sha256"):
        build()
    windows_file(source, 2, 0, "audio").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        build(overwrite=True)
    assert snapshot(folder) == before, "a failed rebuild must leave the old dataset"
    np.save(windows_file(source, 2, 0, "audio"), np.ones((4, 30), np.float32))
    assert build(overwrite=True) == folder and snapshot(folder).keys() == before.keys() and snapshot(folder) != before
    assert build() == folder
    (folder / "features.json").unlink()
    with pytest.raises(InputError, match=r"features\.json is missing: give --overwrite"):
        build()
    (folder / "corpus.json").write_text("{")
    with pytest.raises(InputError, match="not the card of a dataset built here"):
        build()
    build(overwrite=True)
    assert {path.name for path in folder.parent.iterdir()} == {"1.0.0", ".build.lock", ".places_1.0.0.json"}


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("mmpsy/relesed", {}, "unknown dataset 'mmpsy/relesed'.*mmpsy/demo.*mmpsy/released.*mmpsy/transcripts"),
        ("daic/released", {}, "unknown dataset"),
        ("mmpsy/released", {}, "give either --source=PATH"),
        ("mmpsy/released", {"source": ".", "download": True}, "give either --source=PATH"),
        ("mmpsy/released", {"source": ".", "participants": 5}, "does not take participants"),
        ("mmpsy/demo", {"source": "."}, "writes its own source"),
        ("mmpsy/transcripts", {"source": "/nonexistent"}, "no table here"),
        ("mmpsy/transcripts", {"source": ".", "split_file": "/nonexistent.csv"}, "no table here|cannot be read"),
    ],
)
def test_wrong_arguments(tmp_path, dataset, options, message):
    with pytest.raises(InputError, match=message):
        cli.build(dataset, tmp_path, **options)
    assert not list(tmp_path.rglob("corpus.json"))


def test_short_salt(source, tmp_path):
    (tmp_path / "salt").write_text("short")
    with pytest.raises(InputError, match="the salt has 5 characters"):
        cli.build("mmpsy/released", tmp_path, source=source, workers=0, hash_ids=True, salt_file=tmp_path / "salt")


def test_a_card_that_cannot_be_written_leaves_no_dataset(source, tmp_path, monkeypatch):
    def fail(folder, corpus, said):
        raise RuntimeError("no card")

    monkeypatch.setattr(card, "write_card", fail)
    with pytest.raises(RuntimeError, match="no card"):
        cli.build("mmpsy/released", tmp_path / "d", source=source, workers=0)
    assert {path.name for path in (tmp_path / "d" / "mmpsy" / "released").iterdir()} == {
        ".build.lock",
        ".places_1.0.0.json",
    }


def test_check_of_a_sound_source(source, capsys):
    report = cli.main_check([f"--source={source}", "--deep"])
    assert report["problems"] == [] and sum(report["participants"].values()) == 30
    assert report["answers"] == {"total": 120, "empty": 0, "per_participant": {"least": 4, "median": 4, "most": 4}}
    phq = np.arange(1, 31) % 28
    assert report["labels"]["phq9"]["at_least"]["10"]["count"] == (phq >= 10).sum()
    assert report["labels"]["phq9"]["levels"]["disagree_with_bands"] == (phq >= 5).sum()
    features = report["features"]
    windows = [12 if n == 3 else 1 + n % 3 for n in range(1, 31)]
    assert features["windows"]["total"] == sum(windows) and features["windows"]["per_participant"]["most"] == 12
    assert features["modalities"]["audio"]["types"] == {"float32": sum(windows) - 30, "float64": 30}
    assert features["modalities"]["text"]["shapes"] == {"7x5": sum(windows)}
    assert features["duration_s"]["most"] == 550 + 22
    printed = capsys.readouterr().out
    assert "problems      0" in printed and "user_" not in printed and "答" not in printed


def test_check_finds_everything_at_once(source):
    entries = [entry(number) for number in range(1, 31)]
    entries[3]["audios"]["wav_1.wav"] = "  "
    entries[4]["audios"] = {}
    entries[6]["audios"] = entries[5]["audios"]
    entries[7]["gad-label"]["score"] = None
    write_table(source, entries[:28])
    windows_file(source, 9, 0, "text").write_bytes(b"")
    shutil.rmtree(windows_file(source, 10, 0, "text").parent)
    shutil.rmtree(windows_file(source, 11, 0, "text").parents[1])
    windows_file(source, 3, 4, "audio").unlink()
    broken = np.load(windows_file(source, 2, 0, "audio"))
    broken[0, 0] = np.nan
    np.save(windows_file(source, 2, 0, "audio"), broken)
    report = cli.check(source)
    assert report["answers"]["empty"] == 1 and report["transcripts"] == {"empty": 1, "shared_by_several": 1}
    assert report["labels"]["gad7"]["missing"] == 1
    features = report["features"]
    assert features["participants_without"] == 1 and features["not_in_table"] == 2
    assert features["modalities"]["text"]["participants_without"] == 2
    found = "\n".join(report["problems"])
    assert len(report["problems"]) == 3, found
    assert "user_9" in found and "user_11 has no windows" in found and "mel-spectrogram/4.npy: missing" in found
    # A NaN shows only to those who read every value.
    deep = cli.check(source, deep=True)["problems"]
    assert len(deep) == 4 and any("user_2" in message and "not finite" in message for message in deep)
    assert cli.list_problems(report["problems"])[0] == "problems      3"
    json.dumps(report)


def test_check_of_a_table_alone(source):
    shutil.rmtree(source / "data" / "np_data")
    report = cli.check(source)
    assert report["features"] is None and "mmpsy/released cannot" in "\n".join(report["lines"])


def test_check_as_json(source, capsys):
    cli.main_check([f"--source={source}", "--json"])
    assert sum(json.loads(capsys.readouterr().out)["participants"].values()) == 30


@pytest.mark.skipif(not (REAL / "wav_select.json").is_file(), reason="the real table is not on this machine")
def test_real_table():
    report = cli.check(REAL)
    assert sum(report["participants"].values()) == 1020 and report["problems"] == []
    assert {label: entry["at_least"]["10"]["count"] for label, entry in report["labels"].items()} == {
        "phq9": 206,
        "gad7": 109,
    }
    # The file calls 10-19 "Moderate" and, for GAD-7, 15-18 too.
    assert report["labels"]["phq9"]["levels"]["disagree_with_bands"] == 43
    assert report["labels"]["gad7"]["levels"]["disagree_with_bands"] == 24
    assert report["correlation"] == pytest.approx(0.80, abs=0.01)

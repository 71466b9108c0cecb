"""The hotline builder: what it reads, whom it keeps, what it refuses."""

import csv
import importlib
import json

import numpy as np
import pytest
import soundfile

from data_builders.common import cli
from data_builders.hotline import columns, demo, source
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError

HEADER = ["index", "role", *columns.EMOTIONS]
NONE = [0] * len(columns.EMOTIONS)


@pytest.fixture
def calls(tmp_path):
    """Three callers: two kept segments and an operator's turn each. SYNTHETIC."""
    rng = np.random.default_rng(0)
    for number, caller in enumerate(("a", "b", "c")):
        table(tmp_path, caller, [[0, 0, *NONE], [3, 1, 1, *NONE[1:]], [12, 1, *NONE]])
        for index, seconds in ((3, 0.25), (12, 0.4 + 0.1 * number)):
            write_wav(tmp_path, caller, index, rng.uniform(-0.5, 0.5, round(16000 * seconds)))
    return tmp_path


def table(folder, caller, rows, header=HEADER):
    with (folder / f"{caller}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_wav(folder, caller, index, samples, rate=16000):
    path = folder / columns.AUDIO_FOLDER / caller / f"{index}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


@pytest.fixture
def split_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "split.csv"
    path.write_text("participant,split\na,train\nb,validation\nc,test\n")
    return path


def test_records_hold_the_callers_turns_alone(calls, split_file, tmp_path):
    folder = cli.build("hotline/calls", tmp_path / "data", source=calls, split_file=split_file, window_seconds=0.2)
    corpus = open_corpus(folder)
    assert corpus.participants == ("a/3", "a/12", "b/3", "b/12", "c/3", "c/12")
    assert corpus.cluster == ("a", "a", "b", "b", "c", "c")
    assert corpus.split == ("train", "train", "validation", "validation", "test", "test")
    assert corpus.labels["despair"].tolist() == [1, 0] * 3
    assert corpus.labels["negative"].tolist() == [1, 0] * 3  # any emotion, where the table does not say
    assert corpus.labels["grievance"].tolist() == [0] * 6
    record = corpus.read(3)
    wanted, _ = soundfile.read(calls / columns.AUDIO_FOLDER / "b" / "12.wav", dtype="int16")
    assert record["n_windows"] == 3 and record["audio_length"].tolist() == [3200, 3200, 1600]
    np.testing.assert_array_equal(record["audio"].ravel()[: len(wanted)], wanted)
    assert not record["audio"].ravel()[len(wanted) :].any()
    # Without times the caller's turns lie one behind the other: 0.25 s, then windows of 0.2 s.
    np.testing.assert_allclose(record["window_start_s"], [0.25, 0.45, 0.65], rtol=1e-6)
    assert json.loads((folder / "corpus.json").read_text())["synthetic"] is False


def test_times_and_the_negative_label_of_the_table_are_taken(calls):
    header = ["index", "role", "negative", "start_s", "text", *columns.EMOTIONS]
    table(calls, "a", [[3, 1, 0, 7.5, "words", 1, *NONE[1:]], [12, 1, 1, 9, "words", *NONE]], header)
    first, second = source.read_calls(calls).segments["a"]
    assert (first.start_s, second.start_s) == (7.5, 9.0)
    assert (first.labels["negative"], second.labels["negative"]) == (0, 1)


def faults():
    good = [3, 1, *NONE]
    yield "an unknown column", [[*good, 0]], [*HEADER, "despairr"], "despairr"
    yield "a missing column", [good[:-1]], HEADER[:-1], "grievance"
    yield "no number", [["x", 1, *NONE]], HEADER, "line 2: index"
    yield "no flag", [[3, 1, 2, *NONE[1:]]], HEADER, "line 2: despair"
    yield "twice", [good, good], HEADER, "line 3: index 3"
    yield "nobody", [[3, 0, *NONE]], HEADER, "no row with role 1"
    yield "no recording", [[4, 1, *NONE]], HEADER, "4.wav: missing"
    yield "a row too long", [[*good, 1]], HEADER, "line 2 has 14 cells, the header 13"
    yield "no time", [[*good, -1]], [*HEADER, "start_s"], "line 2: start_s"


@pytest.mark.parametrize(("rows", "header", "message"), [pytest.param(*f[1:], id=f[0]) for f in faults()])
def test_a_bad_table_is_refused(calls, rows, header, message):
    table(calls, "a", rows, header)
    with pytest.raises(InputError, match=message):
        source.read_calls(calls)


def test_a_bad_recording_is_refused_or_left_out_and_listed(calls, split_file, tmp_path):
    options = {"source": calls, "split_file": split_file, "window_seconds": 0.5}
    wav = calls / columns.AUDIO_FOLDER / "a" / "3.wav"
    wav.write_bytes(wav.read_bytes()[:20])
    write_wav(calls, "b", 12, np.zeros(3000))
    with pytest.raises(InputError, match=r"3\.wav: cannot be read"):
        cli.build("hotline/calls", tmp_path / "data", **options)
    folder = cli.build("hotline/calls", tmp_path / "data", skip_bad=True, **options)
    corpus = open_corpus(folder)
    assert corpus.participants == ("a/12", "b/3", "b/12", "c/3", "c/12")
    assert corpus.card["participants"] == {"train": 1, "validation": 2, "test": 2}
    (skipped,), (noted,) = corpus.card["skipped"], corpus.card["notes"]
    assert skipped["participant"] == "a/3" and skipped["reason"].startswith("original_audio_data/a/3.wav: cannot")
    assert noted["participant"] == "b/12" and "silent" in noted["note"]
    with pytest.raises(InputError, match=r"no <caller>\.csv"):
        source.read_calls(calls / "nothing")


def test_the_demo_holds_what_its_card_promises(tmp_path):
    corpus = open_corpus(cli.build("hotline/demo", tmp_path, participants=12, seconds=(0.1, 0.2)))
    assert corpus.card["synthetic"] is True
    assert len(corpus) == 12 * demo.SEGMENTS
    assert len(set(corpus.cluster)) == 12
    assert all(0 < values.mean() < 1 for values in corpus.labels.values())


def test_arguments_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(InputError, match="hotline/calls"):
        cli.build("hotline/nothing", tmp_path)
    with pytest.raises(InputError, match="source"):
        cli.build("hotline/calls", tmp_path)
    with pytest.raises(InputError, match="Whisper"):
        cli.build("hotline/demo", tmp_path, window_seconds=31)
    with pytest.raises(InputError, match="at least 3"):
        demo.write_source(tmp_path, callers=2)


def test_a_tone_of_an_emotion_is_there_where_the_label_says_so(tmp_path):
    demo.write_source(tmp_path, callers=3, seconds=(1.0, 1.2))
    power = {0: [], 1: []}
    for call in source.read_calls(tmp_path).segments.values():
        for segment in call:
            spectrum = np.abs(np.fft.rfft(soundfile.read(segment.recording)[0][:16000]))
            tone = round(demo._LOWEST_TONE * demo._STEP**10)  # Hz, one bin each
            power[segment.labels["grievance"]].append(spectrum[tone - 8 : tone + 9].max())
    assert min(power[1]) > 2 * max(power[0])


def test_a_card_that_names_a_group_which_the_records_lack_is_refused(tmp_path):
    folder = cli.build("hotline/demo", tmp_path, participants=12, seconds=(0.05, 0.06))
    card = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps(card | {"cluster": "household"}))
    with pytest.raises(InputError, match="lack household"):
        open_corpus(folder)


def own_calls(folder, header, rows):
    """Three callers whose tables have these columns; segments 1 and 2 as flac, mp3 and in capitals. SYNTHETIC."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for caller, suffix in (("a", ".flac"), ("b", ".mp3"), ("c", ".WAV")):
        table(folder, caller, rows, header)
        for index in (1, 2):
            place = folder / columns.AUDIO_FOLDER / caller
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{index}{suffix}", rng.uniform(-0.5, 0.5, 8000), 16000, format=suffix[1:].upper())


def test_labels_of_ones_own_and_other_sound_files(tmp_path, split_file):
    header = ["Role", "index", "label:Joy", "label:绝望", "other:remark"]
    own_calls(tmp_path / "calls", header, [["1", 1, "1.0", 0, "x"], [1, 2, 0, 1, "y"], [0, 3, 0, 0, ""]])
    (tmp_path / "calls" / columns.AUDIO_FOLDER / "a" / "7.wav").write_bytes(b"")
    (tmp_path / "calls" / columns.AUDIO_FOLDER / "a" / "1.txt").write_text("x")
    folder = cli.build("hotline/calls", tmp_path / "data", source=tmp_path / "calls", split_file=split_file)
    corpus = open_corpus(folder)
    assert list(corpus.labels) == ["joy", "绝望"] and corpus.participants == ("a/1", "a/2", "b/1", "b/2", "c/1", "c/2")
    assert corpus.labels["joy"].tolist() == [1, 0] * 3 and corpus.labels["绝望"].tolist() == [0, 1] * 3
    assert all(corpus.read(i)["audio"].any() for i in range(6))
    notes = [entry["note"] for entry in corpus.card["notes"] if entry["participant"] == "a"]
    assert any("2 files belong to no row of the table" in note for note in notes)
    assert any("other:remark" in note for note in notes)
    assert cli.build("hotline/calls", tmp_path / "data", source=tmp_path / "calls", split_file=split_file) == folder
    config = importlib.import_module("configs.hotline_emotions").get_config("hubert,joy,绝望")
    assert [task["name"] for task in config.tasks] == ["joy", "绝望"] and config.data.dataset == "hotline/calls"


def test_labels_are_named_by_a_setting_and_keep_their_case(tmp_path):
    own_calls(tmp_path, ["index", "role", "Joy", "Anger"], [[1, 1, 1, 0], [2, 1, 0, 1]])
    with pytest.raises(InputError, match=r"unknown columns 'Joy', 'Anger'"):
        source.read_calls(tmp_path)
    found = source.read_calls(tmp_path, ("Joy", "Anger"))
    assert found.labels == ("Joy", "Anger") and found.segments["b"][1].labels == {"Joy": 0, "Anger": 1}
    with pytest.raises(InputError, match="no column Hope"):
        source.read_calls(tmp_path, ("Joy", "Hope"))
    table(tmp_path, "c", [[1, 1, 1]], ["index", "role", "label:joy"])
    with pytest.raises(InputError, match=r"unknown columns 'Joy', 'Anger'"):
        source.read_calls(tmp_path)
    table(tmp_path, "a", [[1, 1, 1, 0]], ["index", "role", "label:joy", "label:anger"])
    table(tmp_path, "b", [[1, 1, 1]], ["index", "role", "label:joy"])
    with pytest.raises(InputError, match=r"b\.csv: its labels differ from those of the first table in anger"):
        source.read_calls(tmp_path)
    table(tmp_path, "a", [[1, 1, 1]], ["index", "role", "label:caller"])
    with pytest.raises(InputError, match="'caller' cannot be the name of a label"):
        source.read_calls(tmp_path)


def test_two_recordings_of_one_segment_are_refused(calls):
    (calls / columns.AUDIO_FOLDER / "b" / "3.FLAC").write_bytes(b"")
    with pytest.raises(InputError, match="keep one"):
        source.read_calls(calls)

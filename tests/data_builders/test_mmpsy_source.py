"""From files to records: values, lengths, pairs; and every trap of the layout by its name."""

import pickle
import shutil

import numpy as np
import pytest
from small_source import FOLDERS, MEL_SHAPE, TEXT_SHAPE, entry, window, windows_file, write_source, write_table

from data_builders.common import cli
from data_builders.common.examine import content_digests
from data_builders.mmpsy import arrays
from data_builders.mmpsy import source as source_lib
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError


@pytest.fixture
def folder(tmp_path):
    return write_source(tmp_path, participants=4)


def test_record_holds_what_the_files_hold(folder):
    source = source_lib.ReleasedSource(folder, dtype="float32")
    assert source.participants == ("user_1", "user_2", "user_3", "user_4")
    assert source.modalities["audio"] == {"kind": "frames", "shape": list(MEL_SHAPE), "time_axis": 1}
    assert source.modalities["text"] == {"kind": "features", "shape": list(TEXT_SHAPE), "time_axis": 0}
    record = source.read("user_3")[0]
    assert record["n_windows"] == 12 == source.count_windows("user_3")
    # As text 10.npy sorts before 2.npy: every window must be in its own place.
    for position in range(12):
        last = position == 11
        audio = window(3, position, "audio", 11 if last else None).astype(np.float32)
        text = window(3, position, "text", 3 if last else None).astype(np.float32)
        np.testing.assert_array_equal(record["audio"][position], audio)
        np.testing.assert_array_equal(record["text"][position], text)
    assert record["audio_length"].tolist() == [30] * 11 + [11]
    assert record["text_length"].tolist() == [7] * 11 + [3]
    assert record["window_start_s"].tolist() == [50.0 * i for i in range(12)]
    assert record["duration_s"] == 550 + 11 * 60 / 30
    assert record["phq9"] == record["gad7"] == 3 and record["n_answers"] == 4
    assert record["n_characters"] == sum(map(len, entry(3)["audios"].values()))
    assert record["has_audio"] is True and record["has_text"] is True


def test_float16_is_the_rounded_source(folder):
    full, half = (source_lib.ReleasedSource(folder, dtype=dtype).read("user_1")[0] for dtype in ("float32", "float16"))
    assert half["audio"].dtype == np.float16
    np.testing.assert_array_equal(half["audio"], full["audio"].astype(np.float16))


def test_missing_modality_is_zero_and_flagged(folder):
    shutil.rmtree(windows_file(folder, 3, 0, "text").parent)
    record = source_lib.ReleasedSource(folder).read("user_3")[0]
    assert record["has_text"] is False and record["has_audio"] is True
    assert record["text"].shape == (12, *TEXT_SHAPE) and not record["text"].any() and not record["text_length"].any()
    shutil.rmtree(windows_file(folder, 2, 0, "audio").parent)
    record = source_lib.ReleasedSource(folder).read("user_2")[0]
    assert record["has_audio"] is False and record["duration_s"] == 0 and not record["audio_length"].any()


def test_unknown_score_is_minus_one(folder):
    first = entry(1)
    first["gad-label"]["score"] = None
    write_table(folder, [first, entry(2)])
    assert source_lib.ReleasedSource(folder).read("user_1")[0]["gad7"] == -1


def test_windows_may_count_from_one_throughout(folder):
    for number, count in ((1, 2), (2, 3), (3, 12), (4, 2)):
        for modality in ("audio", "text"):
            for position in reversed(range(count)):
                path = windows_file(folder, number, position, modality)
                path.rename(path.with_name(f"{position + 1}.npy"))
    record = source_lib.ReleasedSource(folder, dtype="float32").read("user_3")[0]
    np.testing.assert_array_equal(record["audio"][9], window(3, 9, "audio"))


def test_transcripts_need_the_table_only(folder):
    shutil.rmtree(folder / "data" / "np_data")
    with pytest.raises(InputError, match="no features beside the table"):
        source_lib.ReleasedSource(folder)
    write_table(folder, [entry(1, answers=10), {**entry(2), "audios": {}}, entry(4)])
    source = source_lib.TranscriptSource(folder)
    assert list(source.modalities) == ["text"] and source.modalities["text"]["kind"] == "ids"
    long, empty = source.read("user_1")[0], source.read("user_2")[0]
    assert long["text"].shape == (2, 175, 4) and long["text"].dtype == np.int32
    assert long["text_length"].sum() == long["n_characters"] + 9
    assert long["window_start_s"].tolist() == [0, 43.75] and long["duration_s"] == 0 and "audio" not in long
    assert empty["has_text"] is False and empty["text"].shape == (1, 175, 4) and empty["text_length"].tolist() == [0]
    assert source.n_windows() == 4


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def damage(kind, folder):
    """Spoils user_2's (or user_3's) files in one way; returns (participant, pattern of the message)."""
    path = windows_file(folder, 2, 1, "audio")
    array = np.load(path)
    if kind == "NaN":
        array[1, 2] = np.nan
        np.save(path, array)
        return "user_2", r"user_2/mel-spectrogram/1\.npy: 1 values are not finite"
    if kind == "overflow":
        array[1, 2] = 1e6
        np.save(path, array)
        return "user_2", r"1\.npy: values up to 1e\+06 do not fit float16: build the float32"
    if kind == "shape":
        np.save(path, array[:, :-1])
        return "user_2", r"1\.npy: shape \(4, 29\), but the windows of this corpus are \(4, 30\)"
    if kind == "dimensions":
        np.save(path, array[None])
        return "user_2", r"1\.npy: shape \(1, 4, 30\), must have two dimensions"
    if kind == "integers":
        np.save(path, array.astype(np.int32))
        return "user_2", r"1\.npy: holds int32, must be float16, float32 or float64"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
        return "user_2", r"1\.npy: 600 bytes, but its header says 608: cut short"
    if kind == "header only":
        path.write_bytes(path.read_bytes()[:40])
        return "user_2", r"1\.npy: does not begin like a \.npy file"
    if kind == "trailing bytes":
        path.write_bytes(path.read_bytes() + b"more")
        return "user_2", r"1\.npy: 612 bytes, but its header says 608"
    if kind == "empty":
        path.write_bytes(b"")
        return "user_2", r"1\.npy: is empty"
    if kind == "object array":
        np.save(path, np.array([Harmful()], object), allow_pickle=True)
        return "user_2", r"1\.npy: holds pickled objects"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Harmful()))
        return "user_2", r"1\.npy: does not begin like a \.npy file.*pickles"
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, array)
        return "user_2", r"1\.npy: does not begin like a \.npy file.*\.npz"
    if kind == "huge header":
        path.write_bytes(path.read_bytes().replace(b"(4, 30), }    ", b"(4, 99999999)}"))
        return "user_2", r"1\.npy: 608 bytes, but its header says 1600000112"
    if kind == "garbled header":
        path.write_bytes(path.read_bytes().replace(b"(4, 30)", b"(4, 30 "))
        return "user_2", r"1\.npy: does not begin like a \.npy file"
    if kind == "missing in the middle":
        for modality in ("audio", "text"):
            windows_file(folder, 3, 2, modality).unlink()
        return "user_3", r"user_3/mel-spectrogram/2\.npy: missing, though window 11 is there"
    if kind == "missing at the start":
        for modality in ("audio", "text"):
            windows_file(folder, 3, 0, modality).unlink()
        return "user_3", r"user_3/mel-spectrogram/0\.npy: missing"
    if kind == "unequal":
        windows_file(folder, 3, 11, "text").unlink()
        return "user_3", r"unequal numbers of windows \(12 in mel-spectrogram, 11 in sentence_embeddings\)"
    if kind == "nobody":
        shutil.rmtree(folder / "data" / "np_data" / "user_2")
        return "user_2", "user_2 has no windows"
    raise AssertionError(kind)


KINDS = (
    *("NaN", "overflow", "shape", "dimensions", "integers", "truncated", "header only", "trailing bytes", "empty"),
    *("object array", "pickle", "npz", "huge header", "garbled header"),
    *("missing in the middle", "missing at the start", "unequal", "nobody"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_traps(folder, kind):
    participant, message = damage(kind, folder)
    source = source_lib.ReleasedSource(folder)
    with pytest.raises(InputError, match=message) as caught:
        source.read(participant)[0]
    assert str(folder) in str(caught.value)
    source.read("user_4")[0]  # others are not harmed


def test_overflow_is_fine_in_float32(folder):
    participant, _ = damage("overflow", folder)
    assert source_lib.ReleasedSource(folder, dtype="float32").read(participant)[0]["audio"].max() == 1e6


def test_a_damaged_first_file_does_not_decide_the_shape(folder):
    np.save(windows_file(folder, 1, 0, "audio"), np.zeros((2, 3), np.float32))
    source = source_lib.ReleasedSource(folder)
    assert source.modalities["audio"]["shape"] == list(MEL_SHAPE)
    with pytest.raises(InputError, match=r"user_1.*shape \(2, 3\)"):
        source.read("user_1")[0]
    windows_file(folder, 2, 0, "audio").write_bytes(b"")
    assert source_lib.ReleasedSource(folder).modalities["audio"]["shape"] == list(MEL_SHAPE)


def test_file_names(folder):
    extra = windows_file(folder, 1, 0, "audio")
    shutil.copy(extra, extra.with_name("._0.npy"))
    (folder / "data" / "np_data" / "np_data.json").write_text("{}")
    assert source_lib.ReleasedSource(folder).count_windows("user_1") == 2
    shutil.copy(extra, extra.with_name("00.npy"))
    with pytest.raises(InputError, match="window 0 is there twice"):
        source_lib.ReleasedSource(folder)
    extra.with_name("00.npy").rename(extra.with_name("last.npy"))
    with pytest.raises(InputError, match=r"last\.npy: window files must be named <number>\.npy"):
        source_lib.ReleasedSource(folder)


def test_table_of_another_corpus(folder):
    write_table(folder, [entry(77)])
    with pytest.raises(InputError, match="none of them in"):
        source_lib.ReleasedSource(folder)


def test_valid_length():
    window_ = np.zeros((3, 5))
    assert arrays.valid_length(window_, 1) == arrays.valid_length(window_, 0) == 0
    window_[1, 3] = 1
    assert arrays.valid_length(window_, 1) == 4 and arrays.valid_length(window_, 0) == 2


def test_digests_find_equal_content(folder):
    source = source_lib.ReleasedSource(folder)
    first, again = source.read("user_1")[0], source.read("user_1")[0]
    text = first["transcript"]
    assert content_digests(first, text) == content_digests(again, text.replace("\n", " "))
    assert len(content_digests(first, text)["windows"]) == 2 * first["n_windows"]
    other = content_digests(source.read("user_2")[0], "another transcript, long enough")
    assert not set(other["windows"]) & set(content_digests(first, text)["windows"])
    assert content_digests(first, "不知道")["transcripts"] == []


@pytest.mark.parametrize(("gone", "left"), [("audio", "text"), ("text", "audio")])
def test_a_release_without_one_modality_is_built_with_the_other(tmp_path, gone, left):
    folder = write_source(tmp_path / "source", 30)
    for place in folder.rglob(FOLDERS[gone]):
        shutil.rmtree(place)
    built = cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0)
    corpus = open_corpus(built)
    assert list(corpus.modalities) == [left] and corpus.has[left].all() and len(corpus) == 30
    (note,) = corpus.card["notes"]
    assert note["participant"] == "" and f"nobody has {gone}" in note["note"]
    assert cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0) == built


def test_windows_that_are_missing_and_files_that_are_not_read_are_noted(tmp_path, capsys):
    folder = write_source(tmp_path / "source", 30)
    shutil.rmtree(windows_file(folder, 4, 0, "text").parent)
    empty = windows_file(folder, 7, 0, "audio")
    np.save(empty, np.zeros(MEL_SHAPE, np.float32))
    (empty.parent / "0.npz").write_bytes(b"PK")
    last = windows_file(folder, 8, 2, "audio")
    last.rename(last.with_suffix(".NPY"))  # the same file to whoever reads it
    shutil.copytree(empty.parent.parent, empty.parents[2] / "user_99")
    made = cli.build("mmpsy/released", tmp_path / "data", source=folder, workers=0)
    corpus = open_corpus(made)
    notes = [(entry["participant"], entry["note"]) for entry in corpus.card["notes"]]
    assert notes[:2] == [
        ("user_4", "text: no window, though others have it: built without it"),
        ("user_7", "audio: 1 of 2 windows hold nothing: 0"),
    ]
    assert "1 people have windows and are not in the table" in notes[2][1] and "2 files" in notes[3][1]
    assert not corpus.has["text"][corpus.participants.index("user_4")]
    assert corpus.n_windows[corpus.participants.index("user_8")] == 3
    assert cli.print_outcome(made) == 0 and "notes 4 (all" in capsys.readouterr().err

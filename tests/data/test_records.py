"""Opening a corpus, equality with TFDS, the index, and what is refused."""

import errno
import json
import logging
import pickle
import shutil

import numpy as np
import pytest
import small_corpus

from mmpsy_jax.data import index
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Range


def _assert_same(ours, reference):
    assert ours.keys() == reference.keys()
    for name, value in ours.items():
        assert type(value) is type(reference[name]), name
        np.testing.assert_array_equal(value, reference[name], err_msg=name)
        assert np.asarray(value).dtype == np.asarray(reference[name]).dtype, name


@pytest.mark.parametrize("options", [{}, {"text_kind": "ids"}, {"dtype": "float32"}], ids=["f16", "ids", "f32"])
def test_records_are_those_of_tfds(options, corpus, tmp_path):
    opened = open_corpus(small_corpus.build(tmp_path, **options)) if options else corpus
    for i, record in enumerate(small_corpus.reference(opened)):
        _assert_same(opened.read(i), record)


def test_windows_are_views_into_the_record(corpus):
    record = corpus.read(3)
    assert not record["audio"].flags.owndata and not record["audio"].flags.writeable


def test_columns(corpus):
    counts = small_corpus.COUNTS
    assert len(corpus) == sum(counts.values())
    assert [corpus.split.count(name) for name in counts] == list(counts.values())
    assert list(corpus.split) == sorted(corpus.split, key=["train", "validation", "test"].index)
    windows = np.cumsum(corpus.n_windows)
    for i, name in enumerate(corpus.participants):
        made = small_corpus.example(int(name[1:]), name)
        for label in ("phq9", "gad7"):
            np.testing.assert_equal(corpus.labels[label][i], np.nan if made[label] < 0 else made[label])
        for column in ("n_answers", "n_characters", "duration_s", "n_windows"):
            assert corpus.columns[column][i] == made[column]
        for modality in ("audio", "text"):
            assert corpus.has[modality][i] == made[f"has_{modality}"]
            lengths = corpus.window_lengths[modality]
            assert lengths.dtype == np.int32 and len(lengths) == windows[-1]
            np.testing.assert_array_equal(
                lengths[windows[i] - corpus.n_windows[i] : windows[i]], made[f"{modality}_length"]
            )
    assert np.isnan(corpus.labels["phq9"]).sum() == 1 and corpus.labels["phq9"].dtype == np.float32


def test_modalities(corpus, tmp_path):
    audio = corpus.modalities["audio"]
    assert (audio.kind, audio.shape, audio.time_axis, audio.vocabulary) == ("frames", small_corpus.AUDIO, 1, 0)
    assert audio.dtype == np.float16 and audio.window_bytes == 2 * np.prod(small_corpus.AUDIO)
    assert audio.steps == 20
    text = open_corpus(small_corpus.build(tmp_path, text_kind="ids")).modalities["text"]
    assert (text.kind, text.vocabulary, text.dtype) == ("ids", 100, np.int32)


def test_reader_survives_pickling(corpus):
    reader = pickle.loads(pickle.dumps(corpus.reader))
    _assert_same(reader.read(4), corpus.read(4))


def test_folder_above_is_enough_when_it_holds_one_corpus(copy):
    assert open_corpus(copy.parent.parent).path == copy


# --- the index --------------------------------------------------------------------------------------------------------


def test_index_is_reused(copy, monkeypatch):
    first = open_corpus(copy)
    monkeypatch.setattr(index, "_scan", lambda *_: pytest.fail("scanned again"))
    again = open_corpus(copy)
    assert again.participants == first.participants
    np.testing.assert_array_equal(again.labels["phq9"], first.labels["phq9"])


def test_index_of_another_state_is_not_used(copy, tmp_path):
    open_corpus(copy)
    other = small_corpus.build(tmp_path / "other", counts={"train": 9, "validation": 2, "test": 2})
    shutil.copy(copy / "index.npz", other)
    assert len(open_corpus(other)) == 13


def test_damaged_index_is_made_again(copy, caplog):
    open_corpus(copy)
    content = (copy / "index.npz").read_bytes()
    (copy / "index.npz").write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        assert len(open_corpus(copy)) == 30
    assert "scanning the records again" in caplog.text
    assert len((copy / "index.npz").read_bytes()) == len(content)


def test_read_only_folder_keeps_the_index_in_memory(copy, monkeypatch, caplog):
    # Simulated: the tests may run as root, whom no permission stops.
    def refuse(path, **arrays):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(index, "write_npz", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(open_corpus(copy)) == 30
    assert [record.message for record in caplog.records if "index.npz" in record.message] == [
        f"{copy / 'index.npz'} cannot be written (Read-only file system): the index stays in memory"
    ]
    assert not (copy / "index.npz").exists()


def test_index_holds_no_pickles(copy):
    open_corpus(copy)
    with np.load(copy / "index.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


# --- what is refused --------------------------------------------------------------------------------------------------


def _rename_template(path):
    path.write_text(path.read_text().replace("{DATASET}", "{DATACET}"))


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: (f / "dataset_info.json").unlink(), "half-made"),
        (lambda f: (f / "features.json").unlink(), r"features\.json: cannot be read .*build the corpus again"),
        (lambda f: (f / "features.json").write_text("{}"), "TFDS cannot open"),
        (lambda f: _edit(f / "dataset_info.json", splits=3), "TFDS cannot open"),
        (lambda f: _rename_template(f / "dataset_info.json"), "TFDS cannot open"),
        (lambda f: (f / "corpus.json").unlink(), r"corpus\.json: cannot be read .*build the corpus again"),
        (lambda f: (f / "corpus.json").write_text("{"), r"corpus\.json: not JSON"),
        (lambda f: _edit(f / "corpus.json", format=2), "format 2, this version reads 1"),
        (lambda f: _edit(f / "corpus.json", labels=[]), "labels missing or empty"),
        (lambda f: _edit(f / "corpus.json", labels=["pcl5"]), "records lack pcl5"),
        (lambda f: _edit(f / "corpus.json", participants={"train": 1}), "counts 17 participants in train"),
        (lambda f: _edit(f / "dataset_info.json", fileFormat="tfrecord"), "'tfrecord', but only 'array_record'"),
        (lambda f: next(f.glob("*train*00001-of*")).unlink(), "this shard is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_folder(copy, damage, message):
    damage(copy)
    with pytest.raises(InputError, match=message) as caught:
        open_corpus(copy)
    assert "build" in str(caught.value) and str(copy) in str(caught.value)


def test_wrong_shape_in_the_card(copy):
    modalities = json.loads((copy / "corpus.json").read_text())["modalities"]
    modalities["audio"]["shape"] = [80, 1800]
    _edit(copy / "corpus.json", modalities=modalities)
    with pytest.raises(
        InputError, match=r"audio is stored as \(None, 6, 20\), but corpus.json says \(None, 80, 1800\)"
    ):
        open_corpus(copy)


def test_several_versions_are_named(copy):
    shutil.copytree(copy, copy.parent.parent / "released" / "1.0.0")
    with pytest.raises(InputError, match=r"choose one of: demo/1\.0\.0, released/1\.0\.0"):
        open_corpus(copy.parent.parent)


def test_interrupted_build_is_said_to_be_one(copy):
    copy.rename(copy.parent / "incomplete.ABCDEF_1.0.0")
    with pytest.raises(InputError, match="a build was interrupted"):
        open_corpus(copy.parent)


@pytest.mark.parametrize("vocabulary", [50, 99, 100])
def test_ids_beyond_the_vocabulary_are_named(tmp_path, vocabulary):
    folder = small_corpus.build(tmp_path, text_kind="ids")
    card = json.loads((folder / "corpus.json").read_text())
    card["modalities"]["text"]["vocabulary"] = vocabulary
    (folder / "corpus.json").write_text(json.dumps(card))
    if vocabulary == 100:  # ids are 0 to 99
        assert open_corpus(folder).modalities["text"].vocabulary == 100
        return
    with pytest.raises(
        InputError, match=rf"record \d+: text has ids from 0 to \d+, they must be 0 to {vocabulary - 1}"
    ):
        open_corpus(folder)


def test_repeated_participant(tmp_path):
    folder = small_corpus.build(tmp_path, duplicate=True)
    with pytest.raises(InputError, match="'p000' occurs more than once"):
        open_corpus(folder)


@pytest.mark.parametrize("known", [False, True], ids=["while scanning", "after the index"])
def test_truncated_shard(copy, known):
    shard = next(copy.glob("*validation*"))
    if known:
        opened = open_corpus(copy)
        shard.write_bytes(shard.read_bytes()[:40_000])
        with pytest.raises(InputError, match=rf"{shard.name}: record \d+ cannot be read .*build the corpus again"):
            for i in np.flatnonzero(np.array(opened.split) == "validation"):
                opened.read(int(i))
    else:
        shard.write_bytes(shard.read_bytes()[:40_000])
        with pytest.raises(InputError, match=rf"{shard.name}: record \d+ cannot be read .*build the corpus again"):
            open_corpus(copy)


def test_flipped_byte_is_never_a_wrong_record(corpus, copy):
    """At 60 places of a shard: every record is either read as it was or refused by name, and some are refused."""
    open_corpus(copy)
    shard = next(copy.glob("*validation*"))
    content = shard.read_bytes()
    members = np.flatnonzero(np.array(corpus.split) == "validation").tolist()
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(content.rstrip(b"\0")), 60):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        opened = open_corpus(copy)
        for i in members:
            try:
                record = opened.read(i)
            except InputError as error:
                assert shard.name in str(error)
                refused += 1
            else:
                _assert_same(record, corpus.read(i))
    assert refused > 10


def test_exchanged_shard_is_refused(copy):
    opened = open_corpus(copy)
    a, b = sorted(copy.glob("*train*"))[:2]
    shutil.copy(a, b)
    with pytest.raises(InputError, match="another participant than the index"):
        for i in range(6, 12):
            opened.read(i)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16])
def test_numbers_that_are_not_finite_are_known_to_the_index(copy, monkeypatch, dtype):
    values = np.zeros((2, 6, 20), dtype)
    assert index._finite(values) and index._finite(values[:0])
    if dtype != np.int16:
        values[0, 0, 0] = np.finfo(dtype).max
        assert index._finite(values)
        for bad in (np.nan, np.inf, -np.inf):
            values[1, 5, 19] = bad
            assert not index._finite(values)
    read = index.RecordReader.read

    def damaged(reader, i, names=None):
        record = read(reader, i, names)
        return {**record, "audio": np.full_like(record["audio"], np.nan)} if i == 3 else record

    monkeypatch.setattr(index.RecordReader, "read", damaged)
    corpus = open_corpus(copy)
    assert np.flatnonzero(~corpus.finite["audio"]).tolist() == [3] and corpus.finite["text"].all()
    monkeypatch.undo()
    np.testing.assert_array_equal(open_corpus(copy).finite["audio"], corpus.finite["audio"])  # from index.npz


def test_the_scale_of_a_label_is_that_of_the_card_or_what_its_training_split_shows(tmp_path):
    folder = small_corpus.build(tmp_path)
    path = folder / "corpus.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"label_ranges": {"phq9": {"low": 0.0, "high": 40.0, "source": "given"}}}))
    ranges = open_corpus(folder).ranges
    assert ranges["phq9"] == Range(0.0, 40.0, "given") and ranges["gad7"] == Range(0.0, 21.0, "known")

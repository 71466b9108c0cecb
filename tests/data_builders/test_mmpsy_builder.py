"""The built dataset, read back by TFDS alone: equal to the source, complete, in order, the same every time."""

import dataclasses
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from small_source import MEL_SHAPE, TEXT_SHAPE, entry, windows_file, write_source, write_table

from data_builders.common import cli, splits
from data_builders.mmpsy import mmpsy_dataset_builder
from data_builders.mmpsy import source as source_lib
from mmpsy_jax.features import table
from mmpsy_jax.io import InputError, with_places


def read_all(folder: Path) -> dict[str, list[dict]]:
    """{split: decoded records} through TFDS, with none of our code."""
    builder = tfds.builder_from_directory(folder)
    return {split: list(builder.as_data_source(split)) for split in builder.info.splits}


def card(folder: Path) -> dict:
    return json.loads((folder / "corpus.json").read_text())


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(source, tmp_path_factory) -> Path:
    return cli.build("mmpsy/released", tmp_path_factory.mktemp("data"), source=source, workers=0)


@pytest.mark.parametrize("config", ["released", "released_float32"])
def test_records_equal_the_source(source, built, tmp_path, config):
    folder = built if config == "released" else cli.build(f"mmpsy/{config}", tmp_path, source=source, workers=0)
    opened = source_lib.ReleasedSource(source, dtype="float32" if config.endswith("32") else "float16")
    seen = []
    for records in read_all(folder).values():
        names = [record["participant"].decode() for record in records]
        assert names == sorted(names, key=table.natural_key)
        seen += names
        for record in records:
            expected = opened.read(record["participant"].decode())[0]
            del expected["transcript"]
            assert record.keys() == expected.keys()
            for key, value in expected.items():
                if key == "participant":
                    continue
                np.testing.assert_array_equal(record[key], value, err_msg=key)
                assert np.asarray(record[key]).dtype.kind == np.asarray(value).dtype.kind
            assert record["audio"].dtype == opened.dtype and record["audio"].shape[1:] == MEL_SHAPE
    assert sorted(seen, key=table.natural_key) == list(opened.participants)


def test_splits_follow_the_hash(source, built):
    expected = splits.assign([f"user_{number}" for number in range(1, 31)])
    for split, records in read_all(built).items():
        assert {record["participant"].decode() for record in records} == {p for p, s in expected.items() if s == split}


def test_corpus_card_of_the_contract(source, built):
    corpus = card(built)
    required = (
        "format dataset config version synthetic source source_sha256 labels modalities window_seconds participants"
    )
    assert list(corpus)[:7] == required.split()[:7] and set(required.split()) | {"skipped"} <= set(corpus)
    assert corpus["format"] == 1 and corpus["synthetic"] is False and corpus["labels"] == ["phq9", "gad7"]
    assert corpus["modalities"]["audio"] == {"kind": "frames", "shape": list(MEL_SHAPE), "time_axis": 1}
    assert corpus["modalities"]["text"] == {"kind": "features", "shape": list(TEXT_SHAPE), "time_axis": 0}
    assert corpus["window_seconds"] == 60.0 and corpus["source"] == source.name and corpus["skipped"] == []
    assert sum(corpus["participants"].values()) == 30 and "optimum" not in corpus
    assert corpus["duplicates"]["windows"] == {"shared": 0, "across_splits": 0}


def test_many_shards_keep_order(source, built, tmp_path, monkeypatch):
    monkeypatch.setattr(source_lib.ReleasedSource, "records_per_shard", 3)
    folder = cli.build("mmpsy/released", tmp_path, source=source, workers=0)
    assert len(list(folder.glob("mmpsy-train.array_record*"))) == 7
    for split, records in read_all(folder).items():
        expected = read_all(built)[split]
        assert [r["participant"] for r in records] == [r["participant"] for r in expected]


def test_no_transcript_without_opt_in(source, built, tmp_path):
    said = entry(1)["audios"]["wav_1.wav"].encode()
    assert all(said not in path.read_bytes() for path in built.iterdir())
    folder = cli.build("mmpsy/released", tmp_path, source=source, workers=0, include_text=True)
    transcripts = table.transcripts(source)
    for records in read_all(folder).values():
        for record in records:
            assert record["transcript"].decode() == transcripts[record["participant"].decode()]


def test_hashed_ids(source, built, tmp_path):
    salt_file = tmp_path / "salt"
    folders = [
        cli.build("mmpsy/released", tmp_path / name, source=source, workers=0, hash_ids=True, salt_file=salt)
        for name, salt in (("a", salt_file), ("b", salt_file), ("c", None))
    ]
    ids = [[r["participant"].decode() for r in read_all(folder)["train"]] for folder in folders]
    assert ids[0] == ids[1] and not set(ids[0]) & set(ids[2])
    assert all("user_" not in name for name in ids[0])
    assert (
        salt_file.stat().st_mode & 0o077 == 0
        and salt_file.read_text().strip() not in (folders[0] / "corpus.json").read_text()
    )
    # The same people are in the split, but not in the order of their real ids.
    plain = read_all(built)["train"]
    hashed = read_all(folders[0])["train"]
    digest = {record["audio"].tobytes(): record["participant"].decode() for record in plain}
    originals = [digest[record["audio"].tobytes()] for record in hashed]
    assert sorted(originals) == sorted(digest.values())
    assert originals != [record["participant"].decode() for record in plain]


def test_split_file(source, tmp_path):
    path = tmp_path / "split.csv"
    rows = [f"user_{n},{'test' if n < 5 else 'validation' if n < 10 else 'train'}" for n in range(1, 31)]
    path.write_text("\n".join(["participant,split", *rows]))
    folder = cli.build("mmpsy/released", tmp_path / "data", source=source, workers=0, split_file=path)
    assert card(folder)["participants"] == {"train": 21, "validation": 5, "test": 4}


def test_bad_participants_stop_the_build_or_are_skipped(source, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    shutil.rmtree(broken / "data" / "np_data" / "user_7")
    with pytest.raises(InputError, match=r"1 of 30 participants cannot be read, the first is user_7.*--skip_bad"):
        cli.build("mmpsy/released", tmp_path / "data", source=broken, workers=0)
    windows_file(broken, 9, 0, "text").write_bytes(b"")
    write_table(broken, [entry(number) for number in range(1, 31) if number != 7])
    for workers in (0, 2):
        with pytest.raises(InputError, match=r"user_9/sentence_embeddings/0\.npy: is empty.*--skip_bad"):
            cli.build("mmpsy/released", tmp_path / "data", source=broken, workers=workers)
    assert {path.name for path in (tmp_path / "data" / "mmpsy" / "released").iterdir()} == {".build.lock"}
    write_table(broken, [entry(number) for number in range(1, 31)])
    for workers in (0, 2):
        folder = cli.build("mmpsy/released", tmp_path / f"data{workers}", source=broken, workers=workers, skip_bad=True)
        skipped = {entry["participant"]: entry["reason"] for entry in card(folder)["skipped"]}
        assert set(skipped) == {"user_7", "user_9"}
        assert (
            "is empty" in skipped["user_9"] and "no windows" in skipped["user_7"] and str(tmp_path) not in str(skipped)
        )
        assert sum(card(folder)["participants"].values()) == 28 == sum(map(len, read_all(folder).values()))
        assert "user_9" in (folder / "README.md").read_text()
    folder = cli.build("mmpsy/released", tmp_path / "h", source=broken, workers=0, skip_bad=True, hash_ids=True)
    assert "user_" not in json.dumps(card(folder)["skipped"]) and len(card(folder)["skipped"]) == 2


def test_a_split_that_loses_everybody(source, tmp_path):
    path = tmp_path / "split.csv"
    rows = [f"user_{n},{'test' if n == 9 else 'validation' if n < 9 else 'train'}" for n in range(1, 31)]
    path.write_text("\n".join(["participant,split", *rows]))
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    windows_file(broken, 9, 0, "text").write_bytes(b"")
    with pytest.raises(InputError, match="nobody is left in test"):
        cli.build("mmpsy/released", tmp_path / "d", source=broken, workers=0, split_file=path, skip_bad=True)


def test_content_of_two_people_in_two_splits_is_reported(source, tmp_path, capfd):
    copied = tmp_path / "copied"
    shutil.copytree(source, copied)
    split_of = splits.assign([f"user_{number}" for number in range(1, 31)])
    first = next(p for p, split in split_of.items() if split == "train")
    second = next(p for p, split in split_of.items() if split == "test")
    numbers = [int(p.removeprefix("user_")) for p in (first, second)]
    shutil.copy(windows_file(copied, numbers[0], 0, "audio"), windows_file(copied, numbers[1], 0, "audio"))
    entries = [entry(number) for number in range(1, 31)]
    entries[numbers[1] - 1]["audios"] = entries[numbers[0] - 1]["audios"]
    write_table(copied, entries)
    folder = cli.build("mmpsy/released", tmp_path / "data", source=copied, workers=0)
    expected = {"shared": 1, "across_splits": 1}
    assert card(folder)["duplicates"] == {"windows": expected, "transcripts": expected}
    assert cli.print_outcome(folder) == 0 and "1 identical windows of different participants" in capfd.readouterr().err


def test_transcripts(source, tmp_path):
    folder = cli.build("mmpsy/transcripts", tmp_path, source=source / "data" / "wav_select.json", workers=0)
    corpus = card(folder)
    entry = {"kind": "ids", "shape": [175, 4], "time_axis": 0, "vocabulary": 65536}
    extractor = {"name": "character_ngrams", "positions": 175, "placement": "spoken"}
    assert corpus["modalities"] == {"text": entry | {"extractor": extractor}}
    assert corpus["window_seconds"] == 43.75
    opened = source_lib.TranscriptSource(source)
    for records in read_all(folder).values():
        for record in records:
            assert "audio" not in record and record["text"].dtype == np.int32
            np.testing.assert_array_equal(record["text"], opened.read(record["participant"].decode())[0]["text"])


def test_demo(tmp_path):
    shapes = {"audio_shape": (8, 60), "text_shape": (10, 16)}
    folder = cli.build("mmpsy/demo", tmp_path, participants=24, workers=0, **shapes)
    corpus = card(folder)
    assert corpus["synthetic"] is True and sum(corpus["participants"].values()) == 24
    assert corpus["optimum"]["test"]["participants"] == corpus["participants"]["test"]
    # The text baseline reads the table; the features are gone.
    place = with_places(folder, corpus)["source"]
    assert place == str(tmp_path / "mmpsy_source/demo") and corpus["source"] == "demo"
    assert len(table.transcripts(place)) == 24 and not list(Path(place).rglob("*.npy"))
    assert cli.build("mmpsy/demo", tmp_path, participants=24, workers=0, **shapes) == folder
    with pytest.raises(InputError, match="differs in participants"):
        cli.build("mmpsy/demo", tmp_path, participants=25, workers=0, **shapes)
    kept = cli.build("mmpsy/demo", tmp_path / "kept", participants=24, workers=0, keep_source=True, **shapes)
    assert list(Path(with_places(kept, card(kept))["source"]).rglob("*.npy"))
    for path in folder.glob("mmpsy-*"):
        assert (kept / path.name).read_bytes() == path.read_bytes()


def test_as_tfds_calls_it(source, tmp_path):
    """What the stock `tfds build --manual_dir` does: a config by name, a manual folder, no command line of ours."""
    builder = mmpsy_dataset_builder.Builder(data_dir=tmp_path, config="transcripts")
    manual = tfds.download.DownloadConfig(manual_dir=source)
    with pytest.raises(InputError, match="array_record only"):
        builder.download_and_prepare(download_config=manual, file_format="tfrecord")
    builder.download_and_prepare(download_config=manual, file_format=None)
    assert len(builder.as_data_source("train")) == card(Path(builder.data_dir))["participants"]["train"]
    released = mmpsy_dataset_builder.Builder(data_dir=tmp_path, config="released")
    released.download_and_prepare(download_config=manual)
    assert released.as_data_source("test")[0]["audio"].shape[1:] == MEL_SHAPE
    again = tfds.builder("mmpsy/released", data_dir=tmp_path)
    assert again.info.features["audio"].shape == (None, *MEL_SHAPE) and again.info.splits["train"].num_examples


def test_download(source, tmp_path, monkeypatch):
    """The released addresses, served here: table and volumes are fetched and read where they were put."""
    from test_mmpsy_volumes import archive_of, cut

    served = tmp_path / "served"
    cut(archive_of(source), served)
    shutil.copy(source / "data" / "wav_select.json", served)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            config = source_lib.CORPUS.configs["released"]
            urls = tuple(
                url.replace(source_lib.BASE_URL, f"http://127.0.0.1:{server.server_port}/") for url in config.urls
            )
            monkeypatch.setitem(source_lib.CORPUS.configs, "released", dataclasses.replace(config, urls=urls))
            folder = cli.build("mmpsy/released", tmp_path / "data", download=True, workers=0)
        finally:
            server.shutdown()
            thread.join()
    assert sum(map(len, read_all(folder).values())) == 30

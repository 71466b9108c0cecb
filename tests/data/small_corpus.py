"""A TFDS corpus of a few participants that follows the record contract of docs/architecture.md, for the data tests."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils import epath

WINDOW_SECONDS = 60.0
AUDIO, TEXT, IDS = (6, 20), (5, 8), (5, 4)
COUNTS = {"train": 17, "validation": 6, "test": 7}
SHARDS = {"train": 3, "validation": 1, "test": 2}


@dataclasses.dataclass
class SmallConfig(tfds.core.BuilderConfig):
    """Builder configuration: kind of text, element type, and how many participants there are."""

    text_kind: str = "features"
    dtype: str = "float16"
    counts: dict = dataclasses.field(default_factory=lambda: dict(COUNTS))
    duplicate: bool = False


class _Uncompressed:
    """Writes records without zstd, as the real builder does (stands in for TFDS' own example writer)."""

    def write(self, path, examples):
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for _, example in examples:
            writer.write(example)
        writer.close()


class Small(tfds.core.ShardBasedBuilder):
    """The corpus."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        dtype = np.dtype(self.builder_config.dtype)
        text = (
            tfds.features.Tensor(shape=(None, *TEXT), dtype=dtype, encoding="bytes")
            if self.builder_config.text_kind == "features"
            else tfds.features.Tensor(shape=(None, *IDS), dtype=np.int32, encoding="bytes")
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "participant": tfds.features.Text(),
                    "phq9": np.int32,
                    "gad7": np.int32,
                    "n_answers": np.int32,
                    "n_characters": np.int32,
                    "duration_s": np.float32,
                    "n_windows": np.int32,
                    "window_start_s": tfds.features.Tensor(shape=(None,), dtype=np.float32),
                    "has_audio": np.bool_,
                    "audio": tfds.features.Tensor(shape=(None, *AUDIO), dtype=dtype, encoding="bytes"),
                    "audio_length": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                    "has_text": np.bool_,
                    "text": text,
                    "text_length": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                }
            ),
        )

    def _example_writer(self):
        return _Uncompressed()

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager
        made, first = {}, 0
        for split, count in self.builder_config.counts.items():
            chunks = np.array_split(np.arange(first, first + count), SHARDS[split])
            made[split] = [lambda chunk=chunk: (self._example(int(i)) for i in chunk) for chunk in chunks]
            first += count
        return made

    def _example(self, i):
        config = self.builder_config
        name = "p000" if config.duplicate and i == 1 else f"p{i:03d}"
        return name, example(i, name, config.text_kind, config.dtype)


def example(i, name, text_kind="features", dtype="float16"):
    """Participant `i`: 1 to 7 windows; 5, 15, ... lack audio; 7 lacks PHQ-9; 3 has a window without text.

    In the third window of 11, as in all of 24, there is nothing.
    """
    rng = np.random.default_rng(i)
    windows = int(1 + i % 4 + (3 if i % 11 == 10 else 0))
    audio_length = rng.integers(1, AUDIO[1] + 1, windows).astype(np.int32)
    text_length = rng.integers(1, TEXT[0] + 1, windows).astype(np.int32)
    if i % 10 == 5:
        audio_length[:] = 0
    if i == 3:
        text_length[1] = 0
    if i == 11:
        audio_length[2] = text_length[2] = 0
    if i == 24:
        audio_length[:] = text_length[:] = 0
    audio = rng.normal(size=(windows, *AUDIO)).astype(dtype)
    audio[np.arange(AUDIO[1])[None, None, :] >= audio_length[:, None, None] + np.zeros((1, AUDIO[0], 1), int)] = 0
    if text_kind == "features":
        text = rng.normal(size=(windows, *TEXT)).astype(dtype)
    else:
        text = rng.integers(1, 100, (windows, *IDS)).astype(np.int32)
    text[np.arange(TEXT[0])[None] >= text_length[:, None]] = 0
    return {
        "participant": name,
        "phq9": -1 if i == 7 else int(rng.integers(0, 28)),
        "gad7": int(rng.integers(0, 22)),
        "n_answers": windows * 3,
        "n_characters": windows * 100 + i,
        "duration_s": 0.0 if i % 10 == 5 else windows * WINDOW_SECONDS,
        "n_windows": windows,
        "window_start_s": np.arange(windows, dtype=np.float32) * WINDOW_SECONDS,
        "has_audio": bool(audio_length.any()),
        "audio": audio,
        "audio_length": audio_length,
        "has_text": bool(text_length.any()),
        "text": text,
        "text_length": text_length,
    }


def build(folder, **options) -> Path:
    """Builds the corpus below `folder` and returns its own folder."""
    config = SmallConfig(name="demo", description="small", **options)
    builder = Small(data_dir=str(folder), config=config, file_format="array_record")
    builder.download_and_prepare()
    path = Path(builder.data_dir)
    text = {"kind": "features", "shape": list(TEXT), "time_axis": 0}
    if config.text_kind == "ids":
        text = {"kind": "ids", "shape": list(IDS), "time_axis": 0, "vocabulary": 100}
    card = {
        "format": 1,
        "dataset": "small",
        "config": "demo",
        "version": "1.0.0",
        "synthetic": True,
        "source": "tests/data/small_corpus.py",
        "source_sha256": "",
        "labels": ["phq9", "gad7"],
        "modalities": {"audio": {"kind": "features", "shape": list(AUDIO), "time_axis": 1}, "text": text},
        "window_seconds": WINDOW_SECONDS,
        "participants": dict(config.counts),
        "skipped": [],
    }
    epath.Path(path / "corpus.json").write_text(json.dumps(card))
    return path


def reference(corpus) -> list:
    """The records of a corpus through `tfds.data_source`: slower, and what our reader is tested against."""
    sources = tfds.builder_from_directory(corpus.path).as_data_source()
    return [record for name in dict.fromkeys(corpus.split) for record in sources[name]]


def assert_same_values(one, other):
    """Equal bytes; float16 may have become float32 on one side, as a batch gathered by jax on a CPU has it."""
    one, other = np.asarray(one), np.asarray(other)
    if {one.dtype, other.dtype} == {np.dtype(np.float16), np.dtype(np.float32)}:
        one, other = one.astype(np.float32), other.astype(np.float32)
    assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()

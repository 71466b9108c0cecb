"""What all TFDS builders here have in common: nothing is fetched, records are written uncompressed, one layout."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.common import place, writer
from mmpsy_jax import io, tasks
from mmpsy_jax.features import interview

CORPUS_FILE = "corpus.json"  # the card of a dataset, for our readers
FORMAT = 1  # of it


def write_corpus(folder: str | os.PathLike, corpus: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `corpus.json` without absolute paths, which stay on this machine, beside the version folder.

    Args:
      folder: in which a version is built.
      corpus: its card, with the paths.

    Returns:
      what was written.
    """
    io.write_places(Path(folder), corpus["version"], corpus)
    io.write_json(Path(folder) / CORPUS_FILE, io.public(corpus))
    return io.public(corpus)


class LocalInfo(tfds.core.DatasetInfo):
    """Never looks elsewhere for precomputed information: TFDS would leave an empty temporary folder each time."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; there is no bucket for this corpus."""


class LocalBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Base of the builders; a config object may bear the name of a listed one, since it says what is read.

    Attributes:
      keeps_records: False while a source is only checked: shards stay empty.
    """

    keeps_records = True

    def _create_builder_config(self, builder_config, version=None):
        # TFDS refuses such an object. What it changes is not what the dataset is, and `corpus.json` records it.
        for listed in self.BUILDER_CONFIGS:
            if isinstance(builder_config, type(listed)) and builder_config.name == listed.name:
                return builder_config
        return super()._create_builder_config(builder_config, version=version)

    def _log_download_bytes(self) -> None:
        """Silent: TFDS would print "Unknown size"; the progress line says what happens."""

    def _log_download_done(self) -> None:
        """Silent, as above."""

    def _example_writer(self):
        return writer.UncompressedWriter(self.info.features, self.keeps_records)


def build_once(
    builder: type[LocalBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: str | os.PathLike,
    wanted: Callable[[], Mapping[str, Any]],
    overwrite: bool,
) -> Path:
    """Builds a dataset, or finds the one that is there if it was made from the same source in the same way.

    Args:
      builder, config: of the dataset.
      data_dir: root; the dataset goes to `data_dir/<builder>/<config>/<version>`.
      wanted: options and digests that the card must have, see `place.require_same`.
      overwrite: build again and replace what is there, once the new dataset is whole.

    Returns:
      the version folder.

    Raises:
      InputError: a different dataset is in place, or the source cannot be used.
    """
    root = Path(data_dir).absolute()
    folder = root / builder.name / config.name / str(builder.VERSION)
    with place.exclusive(folder):
        if folder.exists() and not overwrite:
            place.require_same(folder, wanted)
            return folder
        with place.replacing(folder):
            builder(data_dir=os.fspath(root), config=config).download_and_prepare(file_format="array_record")
    return folder


def range_notes(ranges: Mapping[str, tasks.Range]) -> list[dict[str, str]]:
    """The entries of `notes` in `corpus.json` that say which scales are no more than what the training split shows."""
    return [
        {
            "participant": "",
            "note": f"the scale of {name} is taken from the training labels, {one.low:g} to {one.high:g}: where it has "
            f"other ends, give --ranges={name}:LOW:HIGH",
        }
        for name, one in ranges.items()
        if one.source == "seen"
    ]


def ranges_entry(ranges: Mapping[str, tasks.Range]) -> dict[str, dict[str, Any]]:
    """The entry `label_ranges` of `corpus.json`."""
    return {name: dataclasses.asdict(one) for name, one in ranges.items()}


def record_features(
    labels: Sequence[str],
    modalities: Mapping[str, Mapping[str, Any]],
    *,
    dtype: Any,
    label_dtype: Any = np.int32,
    cluster: str | None = None,
) -> dict[str, Any]:
    """TFDS features of a record (docs/architecture.md, "A record: one participant").

    Args:
      labels: score columns.
      modalities: entries of `corpus.json` by name.
      dtype: of features that have none of their own.
      label_dtype: of the labels.
      cluster: name of the feature that says who belongs together, where there is one.
    """
    tensor, scalar, text = tfds.features.Tensor, tfds.features.Scalar, tfds.features.Text
    features: dict[str, Any] = {
        "participant": text(),
        **({cluster: text()} if cluster else {}),
        **{label: scalar(label_dtype) for label in labels},
        "n_answers": scalar(np.int32),
        "n_characters": scalar(np.int32),
        "duration_s": scalar(np.float32),
        "n_windows": scalar(np.int32),
        "window_start_s": tensor(shape=(None,), dtype=np.float32),
    }
    for name, entry in modalities.items():
        features |= {
            f"has_{name}": scalar(np.bool_),
            name: tensor(shape=(None, *entry["shape"]), dtype=interview.dtype_of(entry, dtype).type, encoding="bytes"),
            f"{name}_length": tensor(shape=(None,), dtype=np.int32),
        }
    return features

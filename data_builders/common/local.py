"""What all TFDS builders here have in common: nothing is fetched, records are written uncompressed, one layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.common import writer
from mmpsy_jax.features import interview

CORPUS_FILE = "corpus.json"  # the card of a dataset, for our readers
FORMAT = 1  # of it


class LocalInfo(tfds.core.DatasetInfo):
    """Never looks elsewhere for precomputed information: TFDS would leave an empty temporary folder each time."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; there is no bucket for this corpus."""


class LocalBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Base of the builders; a config object may bear the name of a listed one, since it says what is read."""

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
        return writer.UncompressedWriter()


def record_features(
    labels: Sequence[str],
    modalities: Mapping[str, Mapping[str, Any]],
    *,
    dtype: Any,
    label_dtype: Any = np.int32,
    group: str | None = None,
) -> dict[str, Any]:
    """TFDS features of a record (docs/architecture.md, "A record: one participant").

    Args:
      labels: score columns.
      modalities: entries of `corpus.json` by name.
      dtype: of features that have none of their own.
      label_dtype: of the labels.
      group: name of the feature that says who belongs together, where there is one.
    """
    tensor, scalar, text = tfds.features.Tensor, tfds.features.Scalar, tfds.features.Text
    features: dict[str, Any] = {
        "participant": text(),
        **({group: text()} if group else {}),
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

"""TFDS builder of anybody's interviews: `python launch.py build --dataset=interviews/NAME --source=manifest.csv`.

Records, splits, shards and card are those of the MMPsy builder; what differs is what is read.
"""

import re
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from data_builders.mmpsy import mmpsy_dataset_builder as shared
from mmpsy_jax.io import InputError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Builder(shared.Builder):
    """Interviews with scores, one participant per record, from recordings and transcripts that a manifest names."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First layout: one participant per record, ragged windows."}
    BUILDER_CONFIGS: Sequence[shared.MmpsyConfig] = []
    MANUAL_DOWNLOAD_INSTRUCTIONS = None

    def _create_builder_config(self, builder_config, version=None):
        return builder_config


def config(name: str) -> shared.MmpsyConfig:
    """The config of a corpus of this name, without its source.

    Raises:
      InputError: the name cannot be that of a folder.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"dataset 'interviews/{name[:60]}': give it a name of 1 to 40 of a-z, 0-9 and '_', beginning with a letter"
        )
    return shared.MmpsyConfig(name=name, description="Interviews of a manifest.", kind="manifest")

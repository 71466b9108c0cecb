"""TFDS builder of MMSA's feature files: `launch.py build --dataset=mmsa/mosi --source=unaligned_50.pkl --unpickle`.

Records, shards and card are those of the MMPsy builder; what differs is what is read.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.mmpsy import mmpsy_dataset_builder as shared
from data_builders.mmsa import about, demo, source
from mmpsy_jax.io import InputError

DEMO, CLIPS = "demo", 800
# Corpora that MMSA publishes, and the end of the scale of their ratings; any other name is a corpus of one's own.
HIGHEST = {DEMO: demo.HIGHEST, "mosi": 3.0, "mosei": 3.0, "sims": 1.0, "simsv2": 1.0}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Builder(shared.Builder):
    """Clips with a rated sentiment, one per record."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: Mapping[str, str] = {
        "1.0.0": "First layout: one clip per record, of one window.",
        "1.1.0": "Ids of the text's tokens, where the file has them.",
    }
    BUILDER_CONFIGS: Sequence[shared.MmpsyConfig] = []
    MANUAL_DOWNLOAD_INSTRUCTIONS = None

    def _create_builder_config(self, builder_config, version=None):
        return builder_config

    def _open_interviews(self) -> source.MmsaSource:
        config = self.builder_config
        return source.open_source(config.source, dtype=config.dtype, include_text=config.include_text)

    def _known_ranges(self) -> Mapping[str, tuple[float, float]]:
        highest = HIGHEST.get(self.builder_config.name)
        return dict.fromkeys(self.builder_config.labels, (-highest, highest)) if highest else {}

    def _about(self, corpus: Mapping[str, Any]) -> dict[str, Any]:
        return about.about(corpus)

    def _describe(self, folder: Path) -> dict[str, Any]:
        corpus = super()._describe(folder) | {"source": ""}  # no table of transcripts, as readers of "source" expect
        optimum = self._source.spec.root / "optimum.json"
        return corpus | ({"optimum": json.loads(optimum.read_text())} if optimum.exists() else {})


def config(name: str) -> shared.MmpsyConfig:
    """The config of a corpus, without its source.

    Raises:
      InputError: the name cannot be that of a folder.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"dataset 'mmsa/{name[:60]}': choose one of {', '.join(HIGHEST)}, or a name of your own of 1 to 40 of a-z, "
            "0-9 and '_', beginning with a letter"
        )
    return shared.MmpsyConfig(
        name=name,
        description="Clips of a feature file of MMSA.",
        kind="mmsa",
        dtype="float32",
        label_dtype="float32",
        synthetic=name == DEMO,
    )


def prepare(
    name: str,
    data_dir: str | os.PathLike,
    path: str | os.PathLike | None,
    *,
    unpickle: bool,
    participants: int | None,
    seed: int | None,
) -> Path:
    """The folder that is read: made of a pickle, or written for the demo.

    Args:
      name: of `HIGHEST`, or one's own.
      data_dir: root of the datasets; what is made here lies in `mmsa_source` below it.
      path: the feature file; None for the demo.
      unpickle: see `source.safe_source`.
      participants, seed: of the demo.

    Raises:
      InputError: a path for the demo, none for another corpus, or a file that is refused.
    """
    kept = Path(data_dir).absolute() / "mmsa_source"
    if name != DEMO:
        if path is None or participants is not None or seed is not None:
            raise InputError(
                f"mmsa/{name}: give --source=FILE.pkl, a feature file in MMSA's layout, and neither "
                "--participants nor --seed"
            )
        return source.safe_source(path, kept, unpickle=unpickle)
    if path is not None or unpickle:
        raise InputError("mmsa/demo writes its own source: leave out --source and --unpickle")
    participants, seed = CLIPS if participants is None else participants, seed or 0
    folder = kept / f"{DEMO}_{participants}_{seed}_{Builder.VERSION}"
    if not (folder / "optimum.json").exists():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        demo.write_corpus(folder, participants, seed)
    return folder

"""TFDS builder of clips with emotion labels: `clips` of any folder, `meld` as published, or the synthetic `demo`.

A record is one clip; its feature `speaker` (`dialogue` for MELD) names the group that stays together in splits.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_builders.affect_video import demo, demo_truth
from data_builders.affect_video import source as source_lib
from data_builders.affect_video.records import DTYPE, Content, modalities, record
from data_builders.affect_video.source import EMOTIONS, LABELS, Clip
from data_builders.mmpsy import local, splits
from data_builders.mmpsy.mmpsy_dataset_builder import CORPUS_FILE, FORMAT
from mmpsy_jax.errors import InputError
from mmpsy_jax.files import write_json

# A shard is held in memory once while it is written: about 25 MB with clips of 6 s.
CLIPS_PER_SHARD = 32


@dataclasses.dataclass(eq=False)
class AffectVideoConfig(tfds.core.BuilderConfig):
    """One way of building the corpus.

    Attributes:
      group: name of the feature that says who stays together.
      source: folder of the clips; None for the demo.
      window_seconds: longer clips become several windows.
      fractions: shares of speakers in train, validation and test.
      split_file: CSV `participant,split` instead, whose participants are speakers.
      skip_bad: leave out clips that cannot be used, listed in `corpus.json`, instead of failing at the first.
      speakers, seed: of the demo.
      seconds: shortest and longest clip of the demo.
    """

    group: str = "speaker"
    source: str | None = None
    window_seconds: float = 4.0
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_file: str | None = None
    skip_bad: bool = False
    speakers: int = demo.SPEAKERS
    seed: int = 0
    seconds: tuple[float, float] = demo.SECONDS

    @property
    def labels(self) -> tuple[str, ...]:
        """Score columns."""
        return (*LABELS, demo.LABEL) if self.name == "demo" else LABELS

    def options(self) -> dict[str, Any]:
        """What decides the content of the records beside the source; kept in `corpus.json`."""
        kept: dict[str, Any] = {"window_seconds": self.window_seconds}
        if self.name != "meld":
            kept |= {
                "fractions": None if self.split_file else list(self.fractions),
                "splits": splits.read_split_file(self.split_file) if self.split_file else None,
            }
        if self.name == "demo":
            return kept | {"speakers": self.speakers, "seed": self.seed, "seconds": list(self.seconds)}
        return kept | {"skip_bad": self.skip_bad}


CONFIGS = {
    config.name: config
    for config in (
        AffectVideoConfig(
            name="demo", description="Synthetic: drawn faces and a synthetic voice.", fractions=(0.5, 0.2, 0.3)
        ),
        AffectVideoConfig(name="clips", description="Video files and a table."),
        AffectVideoConfig(name="meld", description="MELD as published.", group="dialogue"),
    )
}


class Builder(local.LocalBuilder):
    """Clips with log-mel sound and faces of the speaker, labelled with emotion, valence and arousal."""

    name = "affect_video"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First layout: one clip per record, grouped by speaker."}
    BUILDER_CONFIGS: Sequence[AffectVideoConfig] = list(CONFIGS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = local.record_features(
            config.labels,
            modalities(config.window_seconds),
            dtype=DTYPE,
            label_dtype=np.float32,
            group=config.group,
        )
        return local.LocalInfo(
            builder=self,
            description="Clips with sound and faces, labelled with emotion, valence and arousal.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://affective-meld.github.io/" if config.name == "meld" else None,
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        self._written = dict.fromkeys(splits.SPLITS, 0)
        self._skipped: list[dict[str, str]] = []
        self._notes: list[dict[str, str]] = []
        with tqdm(
            desc=f"{self.name}/{self.builder_config.name}", unit=" clips", leave=False, file=sys.stderr
        ) as self._progress:
            super()._download_and_prepare(dl_manager, download_config)
        write_json(Path(self.data_path) / CORPUS_FILE, self._card())

    def _shard_iterators_per_split(self, dl_manager):
        config = self.builder_config
        if config.name == "demo":
            split_of = splits.assign(demo.speakers(config.speakers), config.fractions, split_file=config.split_file)
            self._clips, self._tested = demo.draw(split_of, config.seed)
        planned = {}
        for name in splits.SPLITS:
            own = [clip for clip in self._clips if clip.split == name]
            starts = range(0, len(own), CLIPS_PER_SHARD)
            planned[name] = [functools.partial(self._records, own[i : i + CLIPS_PER_SHARD]) for i in starts]
        self._progress.reset(len(self._clips))
        return planned

    def _records(self, clips: Sequence[Clip]) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        for clip in clips:
            content = self._content(clip)
            self._progress.update()
            self._written[clip.split] += 1
            yield clip.name, record(clip, content, config.group, config.window_seconds)

    def _content(self, clip: Clip) -> Content:
        config = self.builder_config
        return demo.content(clip, config.window_seconds, config.seconds)

    def _card(self) -> dict[str, Any]:
        config = self.builder_config
        card = {
            "format": FORMAT,
            "dataset": self.name,
            "config": config.name,
            "version": str(self.version),
            "synthetic": config.name == "demo",
            "source": config.source or "",
            "source_sha256": source_lib.digest(self._clips),
            "labels": list(config.labels),
            "label_dtype": "float32",
            "classes": {"emotion": list(EMOTIONS)},
            "group": config.group,
            "modalities": modalities(config.window_seconds),
            "window_seconds": config.window_seconds,
            "participants": self._written,
            "skipped": self._skipped,
            "notes": self._notes,
            "options": config.options(),
        }
        if config.name == "demo":
            card["optimum"] = demo_truth.optimum(self._tested, config.seed)
        return card

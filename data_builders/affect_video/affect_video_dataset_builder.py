"""TFDS builder of clips with emotion labels: `clips` of any folder, `meld` as published, or the synthetic `demo`.

A record is one clip; its feature `speaker` (`dialogue` for MELD) names the cluster that stays together in splits.
"""

import collections
import contextlib
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
from data_builders.affect_video.records import DTYPE, modalities, outcome, read_clip, record
from data_builders.affect_video.source import EMOTIONS, LABELS, Clip
from data_builders.common import about, card, local, shards, splits
from data_builders.common.local import FORMAT, write_corpus
from mmpsy_jax.io import InputError

_ABOUT = (
    "clip of a speaker",
    "Clips with log-mel sound and faces of the speaker, with emotion, valence and arousal, one record per clip.",
    "Labels of emotion are judgements of those who watched (of a demo those of its generator), and no diagnoses.",
)
# A shard is held in memory once while it is written: about 25 MB with clips of 6 s.
CLIPS_PER_SHARD = 32


@dataclasses.dataclass(eq=False)
class AffectVideoConfig(tfds.core.BuilderConfig):
    """One way of building the corpus.

    Attributes:
      cluster: name of the feature that says who stays together.
      source: folder of the clips; None for the demo.
      window_seconds: longer clips become several windows.
      fractions: shares of speakers in train, validation and test.
      split_file: CSV `participant,split` instead, whose participants are speakers.
      skip_bad: leave out clips that cannot be used, listed in `corpus.json`, instead of failing at the first.
      strict: refuse a clip of which something would be noted.
      workers: processes that read clips; None decides by their number, 0 is this process alone.
      speakers, seed: of the demo.
      seconds: shortest and longest clip of the demo.
    """

    cluster: str = "speaker"
    source: str | None = None
    window_seconds: float = 4.0
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_file: str | None = None
    skip_bad: bool = False
    strict: bool = False
    workers: int | None = None
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
        return kept | {"skip_bad": self.skip_bad} | ({"strict": True} if self.strict else {})


CONFIGS = {
    config.name: config
    for config in (
        AffectVideoConfig(
            name="demo", description="Synthetic: drawn faces and a synthetic voice.", fractions=(0.5, 0.2, 0.3)
        ),
        AffectVideoConfig(name="clips", description="Video files and a table."),
        AffectVideoConfig(name="meld", description="MELD as published.", cluster="dialogue"),
    )
}


class Builder(local.LocalBuilder):
    """Clips with log-mel sound and faces of the speaker, labelled with emotion, valence and arousal."""

    name = "affect_video"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First layout: one clip per record, clustered by speaker."}
    BUILDER_CONFIGS: Sequence[AffectVideoConfig] = list(CONFIGS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = local.record_features(
            config.labels,
            modalities(config.window_seconds),
            dtype=DTYPE,
            label_dtype=np.float32,
            cluster=config.cluster,
        )
        return local.LocalInfo(
            builder=self,
            description="Clips with sound and faces, labelled with emotion, valence and arousal.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://affective-meld.github.io/" if config.name == "meld" else None,
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        config = self.builder_config
        self._written = dict.fromkeys(splits.SPLITS, 0)
        self._with_face = 0
        self._skipped: list[dict[str, str]] = []
        self._notes: list[dict[str, str]] = []
        self._open()
        workers = config.workers
        if workers is None:
            workers = 0 if config.name == "demo" else shards.default_workers(len(self._clips), few=50)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(shards.make_pool(workers)) if workers else None
            self._map = pool.map if pool else map
            self._progress = stack.enter_context(
                tqdm(
                    total=len(self._clips),
                    desc=f"{self.name}/{config.name}",
                    unit=" clips",
                    mininterval=1 if sys.stderr.isatty() else 10,
                    leave=False,
                )
            )
            super()._download_and_prepare(dl_manager, download_config)
        self._require_all_splits(self._written)
        if not self._with_face:
            raise InputError(
                f"{config.source}: no clip shows a face that is found: frontal faces of at least a tenth of the height "
                "are needed; look at the clips, and at how they are turned"
            )
        corpus = self._card()
        corpus = write_corpus(self.data_path, corpus)
        card.write_card(self.data_path, corpus, about.about(corpus, *_ABOUT))

    def _open(self) -> None:
        """The clips with their splits, and what makes their contents."""
        config = self.builder_config
        assign = functools.partial(
            splits.assign, fractions=config.fractions, split_file=config.split_file, may_rank=True
        )
        if config.name == "demo":
            self._clips, self._tested = demo.draw(assign(demo.speakers(config.speakers)), config.seed)
            self._read = functools.partial(
                demo.content, window_seconds=config.window_seconds, seconds=tuple(config.seconds)
            )
            return
        clips, self._skipped = source_lib.read(config.name, Path(config.source), config.skip_bad)
        if config.name == "clips":
            split_of = assign(dict.fromkeys(clip.cluster for clip in clips))
            clips = [dataclasses.replace(clip, split=split_of[clip.cluster]) for clip in clips]
        self._clips = clips
        self._require_all_splits(collections.Counter(clip.split for clip in clips))
        self._read = functools.partial(read_clip, window_seconds=config.window_seconds)

    def _require_all_splits(self, count: Mapping[str, int]) -> None:
        empty = [name for name in splits.SPLITS if not count[name]]
        if empty:
            raise InputError(f"{self.builder_config.source}: no clip is in {', '.join(empty)}: every split needs one")

    def _shard_iterators_per_split(self, dl_manager):
        planned = {}
        for name in splits.SPLITS:
            own = [clip for clip in self._clips if clip.split == name]
            starts = range(0, len(own), CLIPS_PER_SHARD)
            planned[name] = [functools.partial(self._records, own[i : i + CLIPS_PER_SHARD]) for i in starts]
        return planned

    def _records(self, clips: Sequence[Clip]) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        outcomes = self._map(functools.partial(outcome, self._read), clips)
        for clip, content in zip(clips, outcomes, strict=True):
            self._progress.update()
            if config.strict and not isinstance(content, InputError) and content.notes:
                notes = "; ".join(content.notes)
                content = InputError(f"{clip.path}: {notes}: mend this, or build without --strict")
            if isinstance(content, InputError):
                if not config.skip_bad:
                    raise content
                self._skipped.append({"participant": clip.name, "reason": str(content)})
                continue
            self._notes += [{"participant": clip.name, "note": note} for note in content.notes]
            self._written[clip.split] += 1
            self._with_face += content.faces is not None
            yield clip.name, record(clip, content, config.cluster, config.window_seconds)

    def _card(self) -> dict[str, Any]:
        config = self.builder_config
        corpus = {
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
            "cluster": config.cluster,
            "modalities": modalities(config.window_seconds),
            "window_seconds": config.window_seconds,
            "participants": self._written,
            "skipped": self._skipped,
            "notes": self._notes,
            "options": config.options(),
        }
        if config.name == "meld":
            corpus["split_rule"] = "as published: train, dev and test of MELD; leading actors are in all three"
        if config.name == "demo":
            corpus["optimum"] = demo_truth.optimum(self._tested, config.seed)
        return corpus

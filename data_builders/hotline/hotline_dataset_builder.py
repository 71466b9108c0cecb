"""TFDS builder of hotline segments: `calls` in the published layout (`source.py`), or the synthetic `demo`.

A record is one segment; its feature `caller` names the cluster that stays together in splits and folds.
"""

import dataclasses
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.common import about, card, local, splits
from data_builders.common.local import FORMAT, write_corpus
from data_builders.hotline import demo
from data_builders.hotline import source as source_lib
from data_builders.hotline.source import CLUSTER_FEATURE, LABELS, Segment
from mmpsy_jax import tasks
from mmpsy_jax.features import interview
from mmpsy_jax.features.recording import header_seconds
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.waveform import Waveform, WaveformSettings
from mmpsy_jax.io import InputError

_ABOUT = (
    "turn of a caller",
    "Turns of hotline callers with labels of emotion, one record per turn.",
    "Labels of emotion are judgements of listeners, and no diagnoses.",
)
# A shard is held in memory once while it is written: about 40 MB with windows of 10 s.
SEGMENTS_PER_SHARD = 128


@dataclasses.dataclass(eq=False)
class HotlineConfig(tfds.core.BuilderConfig):
    """One way of building the corpus.

    Attributes:
      source: folder of the tables; None for the demo.
      columns: of emotions, where their names do not say so.
      labels: their names; the tables must agree.
      window_seconds: longer segments become several windows.
      fractions: shares of callers in train, validation and test.
      split_file: CSV `participant,split` instead, whose participants are callers.
      skip_bad: leave out segments whose recording cannot be used, listed in `corpus.json`.
      callers, seed: of the demo.
      seconds: shortest and longest segment of the demo.
    """

    source: str | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = LABELS
    window_seconds: float = 10.0
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_file: str | None = None
    skip_bad: bool = False
    callers: int = demo.CALLERS
    seed: int = 0
    seconds: tuple[float, float] = demo.SECONDS

    @property
    def extractor(self) -> Waveform:
        """What makes windows of segments."""
        return Waveform(WaveformSettings(window_seconds=self.window_seconds))

    def options(self) -> dict[str, Any]:
        """What decides the content of the records beside the source; kept in `corpus.json`."""
        kept: dict[str, Any] = {
            "window_seconds": self.window_seconds,
            "fractions": None if self.split_file else list(self.fractions),
            "splits": splits.read_split_file(self.split_file) if self.split_file else None,
            "skip_bad": self.skip_bad,
        }
        if self.columns:
            kept["labels"] = list(self.columns)
        if self.name == "demo":
            kept |= {"callers": self.callers, "seed": self.seed, "seconds": list(self.seconds)}
        return kept


CONFIGS = {
    config.name: config
    for config in (
        HotlineConfig(
            name="demo",
            description="Synthetic: emotions are tones.",
            window_seconds=demo.SECONDS[1],
            fractions=(0.5, 0.2, 0.3),
        ),
        HotlineConfig(name="calls", description="Callers' turns from tables and wav files."),
    )
}


class Builder(local.LocalBuilder):
    """Turns of hotline callers with binary labels of emotion; one segment per record."""

    name = "hotline"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First layout: one segment per record, clustered by caller."}
    BUILDER_CONFIGS: Sequence[HotlineConfig] = list(CONFIGS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        features = local.record_features(
            self.builder_config.labels, modalities(self.builder_config), dtype=np.float16, cluster=CLUSTER_FEATURE
        )
        return local.LocalInfo(
            builder=self,
            description="Turns of hotline callers with emotion labels.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://arxiv.org/abs/2405.04128",
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        with tempfile.TemporaryDirectory() as made:
            self._folder = Path(self.builder_config.source or made)
            if self.builder_config.name == "demo":
                demo.write_source(
                    self._folder, self.builder_config.callers, self.builder_config.seed, self.builder_config.seconds
                )
            found = source_lib.read_calls(self._folder, self.builder_config.columns)
            if found.labels != self.builder_config.labels:
                raise InputError(
                    f"{self._folder}: the labels are {', '.join(found.labels)}, this config says "
                    f"{', '.join(self.builder_config.labels)}: build with `launch.py build`, which reads the tables"
                )
            self._calls = found.segments
            self._skipped = []
            self._notes = [{"participant": who, "note": self._without_folder(note)} for who, note in found.notes]
            super()._download_and_prepare(dl_manager, download_config)
            corpus = self._card()
            corpus = write_corpus(self.data_path, corpus)
            card.write_card(self.data_path, corpus, about.about(corpus, *_ABOUT))

    def _shard_iterators_per_split(self, dl_manager):
        config = self.builder_config
        self._split_of = splits.assign(self._calls, config.fractions, split_file=config.split_file)
        planned = {}
        for name in splits.SPLITS:
            segments = [one for caller, call in self._calls.items() if self._split_of[caller] == name for one in call]
            starts = range(0, len(segments), SEGMENTS_PER_SHARD)
            planned[name] = [functools.partial(self._records, segments[i : i + SEGMENTS_PER_SHARD]) for i in starts]
        return planned

    def _records(self, segments: Sequence[Segment]) -> Iterator[tuple[str, dict[str, Any]]]:
        for segment in segments:
            try:
                made, notes = record(segment, self._starts(segment.caller)[segment.index], self.builder_config)
            except InputError as error:
                if not self.builder_config.skip_bad:
                    raise
                self._skipped.append({"participant": segment.name, "reason": self._without_folder(str(error))})
                continue
            self._notes += [{"participant": segment.name, "note": self._without_folder(note)} for note in notes]
            yield segment.name, made

    def _without_folder(self, message: str) -> str:
        return message.replace(f"{self._folder}{os.sep}", "")

    @functools.cache  # noqa: B019  a builder lives as long as a build
    def _starts(self, caller: str) -> dict[int, float]:
        """Start of each segment of a call in seconds."""
        starts, clock = {}, 0.0
        for segment in self._calls[caller]:
            starts[segment.index] = clock if segment.start_s is None else segment.start_s
            if segment.start_s is None:
                clock += header_seconds(segment.recording)
        return starts

    def _card(self) -> dict[str, Any]:
        config, counts = self.builder_config, dict.fromkeys(splits.SPLITS, 0)
        skipped = {one["participant"] for one in self._skipped}
        for caller, call in self._calls.items():
            counts[self._split_of[caller]] += sum(segment.name not in skipped for segment in call)
        return {
            "format": FORMAT,
            "dataset": self.name,
            "config": config.name,
            "version": str(self.version),
            "synthetic": config.name == "demo",
            "source": config.source or "",
            "source_sha256": digest(self._calls),
            "labels": list(config.labels),
            "label_ranges": local.ranges_entry(dict.fromkeys(config.labels, tasks.Range(0.0, 1.0, "known"))),
            "cluster": CLUSTER_FEATURE,
            "modalities": modalities(config),
            "window_seconds": config.window_seconds,
            "participants": counts,
            "skipped": self._skipped,
            "notes": self._notes,
            "options": config.options(),
        }


def modalities(config: HotlineConfig) -> dict[str, dict[str, Any]]:
    """The entry of `corpus.json`."""
    return {"audio": config.extractor.card()}


def digest(calls: Mapping[str, Sequence[Segment]]) -> str:
    """Changes with any label, start, segment, or size of a recording."""
    made = hashlib.sha256()
    for call in calls.values():
        for one in call:
            made.update(f"{one.name} {one.labels} {one.start_s} {one.recording.stat().st_size}\n".encode())
    return made.hexdigest()


def record(segment: Segment, start_s: float, config: HotlineConfig) -> tuple[dict[str, Any], list[str]]:
    """The record of a segment (docs/architecture.md, "A record"), and notes about what is odd but no error.

    Raises:
      InputError: its recording cannot be used.
    """
    extractors = {"audio": config.extractor}
    dtypes = {name: interview.dtype_of(one.card(), None) for name, one in extractors.items()}
    made, notes = interview.record([segment.recording], Transcript(), extractors, dtypes)
    return {
        "participant": segment.name,
        CLUSTER_FEATURE: segment.caller,
        **segment.labels,
        "n_answers": 1,
        "n_characters": 0,
        **made,
        "window_start_s": np.float32(start_s) + made["window_start_s"],
    }, notes

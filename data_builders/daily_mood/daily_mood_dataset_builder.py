"""TFDS builder of daily mood ratings: a table (`source.py`) or the synthetic demo, divided by time or by person.

A record is one day; its feature `cluster` is the person. The number of the person, from 1 in natural order, is the
modality `person` of kind "ids" (first of two columns, as everything that reads ids expects at least two): whoever gives
a person layers of their own finds them by it. The numbers belong to this corpus and mean nothing in another.
"""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.common import about, card, local, splits
from data_builders.common.local import FORMAT, write_corpus
from data_builders.daily_mood import demo, divide, source
from data_builders.daily_mood.source import CLUSTER_FEATURE, LABELS, PERSON, Day, Layout
from mmpsy_jax import tasks
from mmpsy_jax.io import InputError

SECONDS_PER_DAY = 86_400.0
DAYS_PER_SHARD = 4096
_ABOUT = (
    "day of a person",
    "Days of people with what sensors recorded and ratings of moods, one record per day.",
    "Ratings of moods are no diagnoses. Days of one person are not independent of each other.",
)


@dataclasses.dataclass(eq=False)
class DailyMoodConfig(tfds.core.BuilderConfig):
    """One way of building the corpus.

    Attributes:
      rule: one of `divide.RULES`.
      source: the table; None for the demo.
      layout: columns of the table that are read, where their names do not say so.
      labels, label_dtype: names of the ratings, "int32" (-1 where missing) or "float32" (NaN); the table must agree.
      ranges: ends of the scale of ratings, where they are known.
      sizes: columns by modality; the table must agree.
      persons: how many the table has.
      fractions: shares of train, validation and test: of each person's days, or of the persons.
      split_file: CSV `participant,split` of persons instead (`by_person`).
      people, days, seed: of the demo.
    """

    rule: str = "by_time"
    source: str | None = None
    layout: Layout = dataclasses.field(default_factory=Layout)
    labels: tuple[str, ...] = LABELS
    label_dtype: str = "int32"
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(demo.SIZES))
    persons: int = demo.PEOPLE
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    split_file: str | None = None
    people: int = demo.PEOPLE
    days: int = demo.DAYS
    seed: int = 0

    @property
    def is_demo(self) -> bool:
        """Whether it writes its own table."""
        return self.name.startswith("demo_")

    def options(self) -> dict[str, Any]:
        """What decides the content of the records beside the source; kept in `corpus.json`."""
        listed = splits.read_split_file(self.split_file) if self.split_file else None
        kept: dict[str, Any] = {"fractions": None if listed else list(self.fractions), "splits": listed}
        asked = {"labels": self.layout.labels, "sensors": self.layout.sensors, "ranges": self.ranges}
        kept |= {name: value for name, value in asked.items() if value and not self.is_demo}
        return kept | ({"people": self.people, "days": self.days, "seed": self.seed} if self.is_demo else {})


CONFIGS = {
    name: DailyMoodConfig(
        name=name,
        description=f"{'Synthetic d' if demo_table else 'D'}ays, {said}.",
        rule=rule,
        ranges=dict.fromkeys(LABELS, (0.0, demo.HIGHEST)) if demo_table else {},
    )
    for rule, said in divide.RULES.items()
    for name, demo_table in ((f"demo_{rule}", True), (f"table_{rule}", False))
}


class Builder(local.LocalBuilder):
    """Days with what sensors recorded and mood ratings; one day per record."""

    name = "daily_mood"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: Mapping[str, str] = {
        "1.0.0": "First layout: one day per record, clustered by person.",
        "1.1.0": "Any ratings and sensors; the scale of each rating.",
    }
    BUILDER_CONFIGS: Sequence[DailyMoodConfig] = list(CONFIGS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        label_dtype = np.dtype(config.label_dtype).type
        features = local.record_features(
            config.labels, modalities(config), dtype=np.float32, label_dtype=label_dtype, cluster=CLUSTER_FEATURE
        )
        return local.LocalInfo(
            builder=self,
            description="Days with what sensors recorded and mood ratings.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://doi.org/10.2196/59512",
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        config, truth = self.builder_config, None
        with tempfile.TemporaryDirectory() as made:
            path = Path(config.source or Path(made) / "demo.csv")
            if config.is_demo:
                truth = demo.write_table(path, config.people, config.days, config.seed)
            self._table = source.read(path, config.layout)
            found = of_table(self._table)
            differing = [name for name, value in found.items() if getattr(config, name) != value]
            if differing:
                raise InputError(
                    f"{path}: {differing[0]} of the table is {found[differing[0]]}, this config says "
                    f"{getattr(config, differing[0])}: build with `launch.py build`, which reads the table"
                )
            super()._download_and_prepare(dl_manager, download_config)
            corpus = self._card(truth)
            corpus = write_corpus(self.data_path, corpus)
            card.write_card(self.data_path, corpus, about.about(corpus, *_ABOUT))

    def _shard_iterators_per_split(self, dl_manager):
        config, days = self.builder_config, self._table.days
        self._split_of = divide.assign(days, config.rule, config.fractions, config.split_file)
        number = {person: i for i, person in enumerate(self._table.people, 1)}
        planned = {}
        for name in splits.SPLITS:
            own = [day for day in days if self._split_of[day.name] == name]
            starts = range(0, len(own), DAYS_PER_SHARD)
            planned[name] = [functools.partial(_records, own[i : i + DAYS_PER_SHARD], number, config) for i in starts]
        return planned

    def _card(self, truth: Mapping[str, Any] | None) -> dict[str, Any]:
        config, of_split = self.builder_config, list(self._split_of.values())
        ranges = self._ranges()
        made = {
            "format": FORMAT,
            "dataset": self.name,
            "config": config.name,
            "version": str(self.version),
            "synthetic": config.is_demo,
            "source": config.source or "",
            "source_sha256": self._table.sha256,
            "labels": list(config.labels),
            "label_dtype": config.label_dtype,
            "label_ranges": local.ranges_entry(ranges),
            "cluster": CLUSTER_FEATURE,
            "within_clusters": config.rule == "by_time",
            "split_rule": divide.RULES[config.rule],
            "modalities": modalities(config),
            "window_seconds": SECONDS_PER_DAY,
            "participants": {name: of_split.count(name) for name in splits.SPLITS},
            "skipped": [],
            "notes": [*self._table_notes(), *local.range_notes(ranges)],
            "options": config.options(),
        }
        if truth is not None:
            tested = [name for name, split in self._split_of.items() if split == "test"]
            made["optimum"] = demo.optimum(truth, tested, config.seed)
        return made

    def _table_notes(self) -> list[dict[str, str]]:
        folder = f"{Path(self.builder_config.source or '').parent}{os.sep}"
        return [{"participant": "", "note": note.replace(folder, "")} for note in self._table.notes]

    def _ranges(self) -> dict[str, tasks.Range]:
        """Scales of the ratings, of what is not given as the days that train show it."""
        config, seen = self.builder_config, {}
        for label in config.labels:
            values = [day.ratings[label] for day in self._table.days if self._split_of[day.name] == "train"]
            known = [value for value in values if not np.isnan(value)]
            seen[label] = (min(known), max(known)) if known else None
        if config.labels == LABELS and all(seen.values()):  # moods of one questionnaire have one scale
            lows, highs = zip(*seen.values(), strict=True)
            seen = dict.fromkeys(LABELS, (min(lows), max(highs)))
        return tasks.label_ranges(seen, config.ranges)


def of_table(table: source.Table) -> dict[str, Any]:
    """The fields of a config that follow from its table."""
    return {
        "labels": table.labels,
        "label_dtype": table.label_dtype,
        "sizes": table.sizes,
        "persons": len(table.people),
    }


def modalities(config: DailyMoodConfig) -> dict[str, dict[str, Any]]:
    """The entry of `corpus.json`."""
    made: dict[str, dict[str, Any]] = {
        name: {"kind": "features", "shape": [1, size], "time_axis": 0, "dtype": "float32"}
        for name, size in config.sizes.items()
    }
    return made | {PERSON: {"kind": "ids", "shape": [1, 2], "time_axis": 0, "vocabulary": config.persons + 1}}


def _records(
    days: Sequence[Day], number: Mapping[str, int], config: DailyMoodConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    for day in days:
        yield day.name, record(day, number[day.person], config)


def record(day: Day, number: int, config: DailyMoodConfig) -> dict[str, Any]:
    """The record of a day (docs/architecture.md, "A record").

    Args:
      day: of the table.
      number: of its person.
      config: of its table.
    """
    missing = -1 if config.label_dtype == "int32" else np.nan
    made: dict[str, Any] = {
        "participant": day.name,
        CLUSTER_FEATURE: day.person,
        **{
            label: np.dtype(config.label_dtype).type(missing if np.isnan(rating) else rating)
            for label, rating in day.ratings.items()
        },
        "n_answers": int(day.values.get("speech") is not None),
        "n_characters": 0,
        "duration_s": 0.0,
        "n_windows": 1,
        "window_start_s": np.array([day.day * SECONDS_PER_DAY], np.float32),
        f"has_{PERSON}": True,
        PERSON: np.array([[[number, 0]]], np.int32),
        f"{PERSON}_length": np.ones(1, np.int32),
    }
    for name, values in day.values.items():
        made[f"has_{name}"] = values is not None
        made[name] = np.zeros((1, 1, config.sizes[name]), np.float32) if values is None else values[None, None]
        made[f"{name}_length"] = np.array([values is not None], np.int32)
    return made

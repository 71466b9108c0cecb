"""Opening a corpus on disk: what is in it, who is in it, and random access to its records."""

import collections
import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from mmpsy_jax.data import index
from mmpsy_jax.data.reader import REBUILD, Field, RecordReader, Shard
from mmpsy_jax.io import InputError, one_of, read_json, upgrade_card, with_places
from mmpsy_jax.modality import Modality
from mmpsy_jax.tasks import Range, label_ranges

CARD = "corpus.json"
CARD_FORMAT = 1
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """An opened corpus of N participants, in the order train, validation, test and, inside a split, of the shards.

    Pooled corpora have one such order behind the other.

    Attributes:
      path: its folder.
      card: `corpus.json`.
      participants: ids.
      split: of each participant.
      cluster: of each participant: who stays together in resamples and, unless the splits are `within_clusters`, in
        splits and folds. The text feature that the card names as `cluster` (the caller of a segment), or the
        participants themselves.
      labels: score columns, NaN where missing.
      columns: size of each interview: `n_answers`, `n_characters`, `n_windows` (i32 [N]), `duration_s` (f32 [N]), and
        `n_turns` and `n_interviewer_characters` (i32 [N]), 0 where nobody knows who speaks.
      modalities: by name, in the order of the card.
      has: per modality, whether the participant has it.
      window_lengths: per modality, valid frames or tokens of every window, one participant after the other: i32 [sum of
        `n_windows`].
      reader: random access; what Grain's workers get.
      finite: per modality, whether all numbers of each participant are finite.
      pooled: of pooled corpora (`data/pooled.py`) each of them by its name, one behind the other; else empty.
    """

    path: Path
    card: dict[str, Any]
    participants: tuple[str, ...]
    split: tuple[str, ...]
    cluster: tuple[str, ...]
    labels: dict[str, Float32[np.ndarray, " n"]]
    columns: dict[str, Int32[np.ndarray, " n"] | Float32[np.ndarray, " n"]]
    modalities: dict[str, Modality]
    has: dict[str, np.ndarray]
    window_lengths: dict[str, Int32[np.ndarray, " w"]]
    reader: RecordReader
    finite: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pooled: Mapping[str, "Corpus"] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.participants)

    @functools.cached_property
    def ranges(self) -> dict[str, Range]:
        """Scale of every label: of the card, or, where an older builder left it out, as seen on its training split."""
        known = {name: Range(**entry) for name, entry in self.card.get("label_ranges", {}).items()}
        trains = np.array(self.split) == "train"
        seen = {}
        for name, values in self.labels.items():
            values = values[trains & np.isfinite(values)]
            seen[name] = (float(values.min()), float(values.max())) if len(values) else None
        return {**label_ranges(seen), **known}

    @property
    def origin(self) -> tuple[str, ...]:
        """Name of the corpus of each participant of pooled corpora; empty where there is one corpus."""
        return tuple(name for name, part in self.pooled.items() for _ in range(len(part)))

    @property
    def within_clusters(self) -> bool:
        """Whether the splits divide the records of each cluster (days of a person, by time) instead of the clusters."""
        return bool(self.card.get("within_clusters"))

    @property
    def n_windows(self) -> Int32[np.ndarray, " n"]:
        """Number of windows of each participant, at least 1."""
        return self.columns["n_windows"]

    def read(self, i: int) -> dict[str, Any]:
        """Record of participant `i`: Python scalars, bytes for text, read-only numpy views.

        Raises:
          InputError: the shard is damaged.
        """
        return self.reader.read(i)

    def start_times(self, participants: Collection[str]) -> dict[str, float]:
        """Where some participants begin in seconds: segments in their call, parts in their day."""
        return {
            name: float(self.reader.read(i, ["window_start_s"])["window_start_s"][0])
            for i, name in enumerate(self.participants)
            if name in participants
        }


def open_corpus(path: str | Path) -> Corpus:
    """Opens `DATA_DIR/<dataset>/<config>/<version>`, or a folder above it that holds one corpus only.

    Raises:
      InputError: nothing there, a half-made or foreign dataset, several to choose from, a damaged shard.
    """
    folder = _find(Path(path))
    info = read_json(folder / "dataset_info.json", REBUILD)
    if info.get("fileFormat") != "array_record":
        raise InputError(
            f"{folder}: file format is {info.get('fileFormat')!r}, but only 'array_record' can be read at random: "
            f"{REBUILD}, or with stock TFDS pass --file_format=array_record"
        )
    card = _card(folder)
    read_json(folder / "features.json", REBUILD)  # TFDS would take the dataset for one of an old version
    builder = _tfds_builder(folder)
    fields = _fields(folder, builder.info.features)
    modalities = _modalities(folder, card, fields)
    shards, split = _shards(folder, builder.info.splits, card)
    columns = index.load(folder, RecordReader(shards, fields), card["labels"], modalities, card.get("cluster"))
    participants = tuple(columns["participant"].tolist())
    _check_participants(folder, participants, split)
    labels = {name: columns[f"label_{name}"].astype(np.float32) for name in card["labels"]}
    for name, values in labels.items():
        if columns[f"label_{name}"].dtype.kind == "i":  # ratings are float, NaN where missing, and may be negative
            values[values < 0] = np.nan
    return Corpus(
        path=folder,
        card=card,
        participants=participants,
        split=split,
        cluster=tuple(columns["cluster"].tolist()) if "cluster" in columns else participants,
        labels=labels,
        columns={name: columns[name] for name in (*index.COUNTS, *index.TURNS)},
        modalities=modalities,
        has={name: columns[f"has_{name}"] for name in modalities},
        window_lengths={name: columns[f"lengths_{name}"] for name in modalities},
        reader=RecordReader(shards, fields, participants),
        finite={name: columns[f"finite_{name}"] for name in modalities},
    )


def choose(what: str, chosen: Sequence[str] | None, known: Any) -> list[str]:
    """The wanted names in the order of the known ones; None means all of them.

    Raises:
      InputError: an unknown name.
    """
    if chosen is None:
        return list(known)
    for name in chosen:
        if name not in known:
            raise one_of(what, name, known)
    return [name for name in known if name in chosen]


def _tfds_builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds  # half a second, and not needed by workers

    try:
        builder = tfds.builder_from_directory(folder)
        for split in builder.info.splits.values():
            _ = split.filepaths  # names of shards are made when they are first asked for
        return builder
    except Exception as error:  # whatever a foreign or damaged description makes it raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder}: TFDS cannot open this dataset ({reason}): {REBUILD}") from error


def _find(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder: build a corpus first (python launch.py build --dataset=mmpsy/demo), or give the "
            "folder DATA_DIR/<dataset>/<config>/<version>"
        )
    if (path / "dataset_info.json").exists():
        return path
    if any(path.glob("*.array_record*")) or path.name.startswith("incomplete."):
        raise InputError(f"{path}: a half-made dataset (dataset_info.json is missing): {REBUILD}")
    below = sorted({place.parent for depth in range(1, 4) for place in path.glob("*/" * depth + "dataset_info.json")})
    below = [place for place in below if not place.name.startswith("incomplete.")]
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(str(place.relative_to(path)) for place in below)
        raise InputError(f"{path}: holds several datasets: choose one of: {names}")
    half_made = [place.name for depth in range(1, 4) for place in path.glob("*/" * (depth - 1) + "incomplete.*")]
    if half_made:
        raise InputError(f"{path}: holds only a half-made dataset ({half_made[0]}), a build was interrupted: {REBUILD}")
    raise InputError(f"{path}: holds no dataset (dataset_info.json is missing): {REBUILD}")


def _card(folder: Path) -> dict[str, Any]:
    card = read_json(folder / CARD, REBUILD)
    if card.get("format") != CARD_FORMAT:
        raise InputError(f"{folder / CARD}: format {card.get('format')!r}, this version reads {CARD_FORMAT}: {REBUILD}")
    missing = [name for name in ("labels", "modalities", "participants", "window_seconds") if not card.get(name)]
    if missing:
        raise InputError(f"{folder / CARD}: {', '.join(missing)} missing or empty: {REBUILD}")
    return upgrade_card(with_places(folder, card))


def _fields(folder: Path, features: Any) -> dict[str, Field]:
    import tensorflow_datasets as tfds

    fields = {}
    for name, feature in features.items():
        if isinstance(feature, tfds.features.Text):
            fields[name] = Field(None)
            continue
        if not isinstance(feature, tfds.features.Tensor):
            raise InputError(f"{folder}: feature {name!r} is a {type(feature).__name__}, only Tensor and Text are read")
        encoding = feature.to_json_content().encoding
        if encoding not in ("none", "bytes") or list(feature.shape).count(None) > 1:
            raise InputError(
                f"{folder}: feature {name!r} has encoding {encoding!r} and shape {feature.shape}: build it with "
                "encoding 'bytes' and at most one unknown dimension"
            )
        fields[name] = Field(np.dtype(feature.np_dtype), tuple(feature.shape), packed=encoding == "bytes")
    return fields


def _modalities(folder: Path, card: dict[str, Any], fields: dict[str, Field]) -> dict[str, Modality]:
    needed = ["participant", *card["labels"], *index.COUNTS, "window_start_s"]
    needed += [card["cluster"]] if card.get("cluster") else []
    for name in card["modalities"]:
        needed += [name, f"{name}_length", f"has_{name}"]
    missing = [name for name in needed if name not in fields]
    if missing:
        raise InputError(f"{folder}: its records lack {', '.join(missing)}, which {CARD} promises: {REBUILD}")
    modalities = {}
    for name, entry in card["modalities"].items():
        modalities[name] = Modality.of_card(name, entry, fields[name].dtype)
        stored = (None, *modalities[name].shape)
        if fields[name].shape != stored:
            raise InputError(f"{folder}: {name} is stored as {fields[name].shape}, but {CARD} says {stored}: {REBUILD}")
    return modalities


def _shards(folder: Path, splits: Any, card: dict[str, Any]) -> tuple[list[Shard], tuple[str, ...]]:
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InputError(f"{folder}: unknown split {unknown[0]!r}: a corpus has {', '.join(SPLITS)}: {REBUILD}")
    shards: list[Shard] = []
    split: list[str] = []
    for name in SPLITS:
        count = splits[name].num_examples if name in splits else 0
        if count != card["participants"].get(name, 0):
            raise InputError(
                f"{folder}: dataset_info.json counts {count} participants in {name}, {CARD} "
                f"{card['participants'].get(name, 0)}: {REBUILD}"
            )
        split += [name] * count
        for part in splits[name].file_instructions if count else ():
            if not Path(part.filename).is_file():
                raise InputError(f"{part.filename}: this shard is missing: {REBUILD}")
            shards.append(Shard(part.filename, part.skip, part.take, part.examples_in_shard))
    if not shards:
        raise InputError(f"{folder}: has no participants: {REBUILD}")
    return shards, tuple(split)


def _check_participants(folder: Path, participants: tuple[str, ...], split: tuple[str, ...]) -> None:
    repeated = [name for name, count in collections.Counter(participants).items() if count > 1]
    if repeated:
        where = sorted({split[i] for i, name in enumerate(participants) if name == repeated[0]})
        raise InputError(
            f"{folder}: participant {repeated[0]!r} occurs more than once (split {', '.join(where)}), {len(repeated)} "
            f"such in all: one record per participant, splits must be disjoint: {REBUILD}"
        )

"""Several built corpora as one: participants one behind the other, read where they lie; nothing is copied.

    corpus = open_corpora("data/interviews/siteA/1.0.0,data/interviews/siteB/1.0.0")

A participant is called `<corpus>/<id>`, and clusters likewise, so that those of two corpora stay apart.
"""

import bisect
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mmpsy_jax.data.reader import RecordReader
from mmpsy_jax.data.records import SPLITS, Corpus, choose, open_corpus
from mmpsy_jax.io import InputError, flatten, public, unit_of
from mmpsy_jax.modality import INTERVIEWER
from mmpsy_jax.tasks import Range, seen_range

CLUSTER = "cluster"
_SHOWN = 5


class PooledReader:
    """Random access to the records of several corpora by their position in all of them, as `RecordReader` gives it.

    Args:
      readers: of each corpus.
      names: of each corpus.
    """

    def __init__(self, readers: Sequence[RecordReader], names: Sequence[str]):
        self.readers, self.names = tuple(readers), tuple(names)
        first, *others = (reader.fields for reader in self.readers)
        self.fields = {name: field for name, field in first.items() if all(name in fields for fields in others)}
        self._ends = list(itertools.accumulate(map(len, self.readers)))

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The record of participant `i`; by default the features that all corpora have.

        Raises:
          InputError: a damaged shard.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        part = bisect.bisect_right(self._ends, i)
        position = i - (self._ends[part - 1] if part else 0)
        record = self.readers[part].read(position, self.fields if names is None else names)
        if "participant" in record:
            record["participant"] = pooled_name(self.names[part], record["participant"].decode()).encode()
        return record


def pooled_name(corpus: str, name: str) -> str:
    """What a participant or cluster of a corpus is called among pooled ones."""
    return f"{corpus}/{name}"


def folders_of(text: str | Path) -> list[str]:
    """The folders of a list with commas; a folder whose own name has commas is one."""
    text = str(text)
    if Path(text).exists():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def open_corpora(folders: str | Path, modalities: Sequence[str] = ()) -> Corpus:
    """Opens one corpus, or pools several.

    Splits are those of each corpus. Labels are those of all corpora together, NaN for the participants of a corpus
    without them; classes of a label are united by name.

    Args:
      folders: as `open_corpus` takes them, with commas between several.
      modalities: that are needed of pooled corpora; none for all that they have.

    Raises:
      InputError: as `open_corpus`; or corpora that cannot be pooled: other windows, scales or divisions, synthetic and
        real people, or the same people in two of them.
    """
    places = folders_of(folders)
    if len(places) == 1:
        return open_corpus(places[0])
    parts = [open_corpus(place) for place in places]
    if len({part.path.resolve() for part in parts}) < len(parts):
        raise InputError(f"{folders}: the same corpus twice: give each once")
    return pool(dict(zip(_names(parts), parts, strict=True)), modalities)


def pool(parts: Mapping[str, Corpus], modalities: Sequence[str] = ()) -> Corpus:
    """The corpora as one, by their names; arguments and errors as of `open_corpora`."""
    names = _common_modalities(parts, modalities)
    _check_alike(parts, names)
    for (first, a), (second, b) in itertools.combinations(parts.items(), 2):
        refuse_overlap(first, a, second, b, names)
    classes = _classes(parts)
    labels = {
        label: np.concatenate([_scores(part, label, classes.get(label)) for part in parts.values()])
        for label in dict.fromkeys(label for part in parts.values() for label in part.labels)
    }
    clustered = any(part.card.get("cluster") for part in parts.values())
    participants = tuple(pooled_name(name, one) for name, part in parts.items() for one in part.participants)
    clusters = tuple(pooled_name(name, one) for name, part in parts.items() for one in part.cluster)
    first, *others = parts.values()
    columns = [name for name in first.columns if all(name in part.columns for part in others)]
    joined = lambda column: np.concatenate([column(part) for part in parts.values()])  # noqa: E731
    return Corpus(
        path=Path(",".join(str(part.path) for part in parts.values())),
        card=_card(parts, names, list(labels), classes),
        participants=participants,
        split=tuple(one for part in parts.values() for one in part.split),
        cluster=clusters if clustered else participants,
        labels=labels,
        columns={name: joined(lambda part, name=name: part.columns[name]) for name in columns},
        modalities={name: first.modalities[name] for name in names},
        has={name: joined(lambda part, name=name: part.has[name]) for name in names},
        window_lengths={name: joined(lambda part, name=name: part.window_lengths[name]) for name in names},
        reader=PooledReader([part.reader for part in parts.values()], list(parts)),
        finite={name: joined(lambda part, name=name: part.finite[name]) for name in names},
        pooled=dict(parts),
    )


def dataset_of(card: Mapping[str, Any]) -> str:
    """Name of a dataset: "interviews/daic_woz"."""
    return f"{card.get('dataset')}/{card.get('config')}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between two entries of a modality in cards, as "extractor.bands 80, not 40"; paths do not count."""
    ours, theirs = (flatten({name: public(value) for name, value in one.items()}) for one in (ours, theirs))
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return [f"{name} {ours.get(name, 'absent')!s:.60}, not {theirs.get(name, 'absent')!s:.60}" for name in names]


def shared_people(first: Corpus, second: Corpus, modalities: Sequence[str]) -> list[str]:
    """Ids of people who are in both corpora.

    These are equal ids where a card says that the corpora are of the same people (`same_people_as`), and otherwise
    those equal ids under which both hold the same interview.
    """
    positions = {name: i for i, name in enumerate(second.participants)}
    pairs = [(name, i, positions[name]) for i, name in enumerate(first.participants) if name in positions]
    names = dataset_of(first.card), dataset_of(second.card)
    declared = names[1] in first.card.get("same_people_as", ()) or names[0] in second.card.get("same_people_as", ())
    return [name for name, i, j in pairs if declared or _same_interview(first, i, second, j, modalities)]


def refuse_overlap(first_name: str, first: Corpus, second_name: str, second: Corpus, modalities: Sequence[str]) -> None:
    """Raises InputError with the ids of people who are in both corpora."""
    people = shared_people(first, second, modalities)
    if people:
        shown = ", ".join(people[:_SHOWN]) + (", ..." if len(people) > _SHOWN else "")
        raise InputError(
            f"{first_name} and {second_name} hold the same {len(people)} people ({shown}): use one of the two, or "
            "build one of them without these people"
        )


def _same_interview(first: Corpus, i: int, second: Corpus, j: int, modalities: Sequence[str]) -> bool:
    """Whether two records have equal sizes and windows."""
    if any(first.columns[name][i] != second.columns[name][j] for name in first.columns if name in second.columns):
        return False
    present = [name for name in modalities if first.has[name][i] or second.has[name][j]]
    parts = [part for name in present for part in (name, f"{name}_length")]
    a, b = first.reader.read(i, parts), second.reader.read(j, parts)
    return bool(present) and all(np.array_equal(a[name], b[name]) for name in parts)


def _names(parts: Sequence[Corpus]) -> list[str]:
    """What each corpus is called: its config, with its dataset or a number where that is not unique."""
    for of in (lambda card: str(card.get("config")), dataset_of):
        names = [of(part.card).replace("/", "_") for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}_{number}" for number, name in enumerate(names, 1)]


def _common_modalities(parts: Mapping[str, Corpus], asked: Sequence[str]) -> list[str]:
    """The modalities that are read, which all corpora must have; and those of the interviewer that all have."""
    for name, part in parts.items():
        choose(f"modality of corpus {name}", asked, part.modalities)
    cards = [part.card["modalities"] for part in parts.values()]
    every = list(dict.fromkeys(one for part in parts.values() for one in part.modalities))
    common = [one for one in every if all(one in part.modalities for part in parts.values())]
    aside = [one for one in every if any(card.get(one, {}).get("role") == INTERVIEWER for card in cards)]
    lacking = next((one for one in every if one not in common and one not in aside), None)
    if not asked and lacking is not None:
        have = {name: lacking in part.modalities for name, part in parts.items()}
        remedy = f"give --config.data.modalities={','.join(common)}" if common else "build them with the same inputs"
        first, other = (next(name for name in have if have[name] is there) for there in (True, False))
        raise InputError(f"corpus {first} has modality {lacking!r}, {other} does not: {remedy}")
    return [one for one in common if not asked or one in asked or one in aside]


def _check_alike(parts: Mapping[str, Corpus], names: Sequence[str]) -> None:
    """Raises InputError where windows, division into splits, or people of two corpora are not of one kind."""
    (first_name, first), *others = parts.items()
    for other_name, other in others:
        differing = [
            f"{name}: {one}"
            for name in names
            for one in differences(
                {"stored as": str(first.modalities[name].dtype), **first.card["modalities"][name]},
                {"stored as": str(other.modalities[name].dtype), **other.card["modalities"][name]},
            )
        ]
        if first.card["window_seconds"] != other.card["window_seconds"]:
            seconds = (part.card["window_seconds"] for part in (first, other))
            differing.append("window_seconds {:g}, not {:g}".format(*seconds))
        if differing:
            raise InputError(
                f"{first_name} and {other_name} have other windows ({'; '.join(differing)}): build one of them with "
                "the settings of the other (launch.py build --settings=FILE.json --dtype=TYPE), or leave the modality "
                "out (--config.data.modalities)"
            )
        for what, of in (
            ("synthetic", lambda part: bool(part.card["synthetic"])),
            ("divided within clusters", lambda part: part.within_clusters),
        ):
            if of(first) != of(other):
                one, rest = (first_name, other_name) if of(first) else (other_name, first_name)
                raise InputError(f"{one} is {what}, {rest} is not: pool like with like")


def _classes(parts: Mapping[str, Corpus]) -> dict[str, list[str]]:
    """Names of the classes of each label that has some, united in the order of the corpora."""
    united: dict[str, list[str]] = {}
    for name, part in parts.items():
        for label, classes in (part.card.get("classes") or {}).items():
            united[label] = list(dict.fromkeys([*united.get(label, ()), *classes]))
            for other, one in parts.items():
                if label in one.labels and label not in (one.card.get("classes") or {}):
                    raise InputError(f"label {label!r} is one of classes in {name} and a number in {other}: rename one")
    return united


def _scores(part: Corpus, label: str, classes: Sequence[str] | None) -> Float32[np.ndarray, " n"]:
    """Scores of a label, or indices of the united classes; NaN where missing."""
    if label not in part.labels:
        return np.full(len(part), np.nan, np.float32)
    scores = part.labels[label]
    if classes is None:
        return scores
    index = np.array([classes.index(name) for name in part.card["classes"][label]], np.float32)
    known = np.isfinite(scores)
    united = np.full(len(part), np.nan, np.float32)
    united[known] = index[scores[known].astype(int)]
    return united


def _ranges(parts: Mapping[str, Corpus], labels: Iterable[str]) -> dict[str, Range]:
    """The scale of each label: the one that is known or was given, else what all corpora have seen of it."""
    ranges = {}
    for label in labels:
        scales = {name: part.ranges[label] for name, part in parts.items() if label in part.ranges}
        fixed = {name: scale for name, scale in scales.items() if scale.source != "seen"}
        if not scales:
            continue
        if not fixed:
            ends = [(scale.low, scale.high) for scale in scales.values()]
            ranges[label] = seen_range(min(low for low, _ in ends), max(high for _, high in ends))
            continue
        name, ranges[label] = next(iter(fixed.items()))
        for other, scale in scales.items():
            within = ranges[label].low <= scale.low and scale.high <= ranges[label].high
            if not ((scale.low, scale.high) == (ranges[label].low, ranges[label].high) if other in fixed else within):
                raise InputError(
                    f"label {label!r} goes from {ranges[label].low:g} to {ranges[label].high:g} in {name} and from "
                    f"{scale.low:g} to {scale.high:g} in {other}: build one of them with another name or scale of it "
                    "(launch.py build --ranges=NAME:LOW:HIGH)"
                )
    return ranges


def _alike(cards: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    """Whether all cards have an entry, and the same."""
    first, *others = (card.get(key) for card in cards.values())
    return first is not None and all(other == first for other in others)


def _card(
    parts: Mapping[str, Corpus], names: Sequence[str], labels: Sequence[str], classes: Mapping[str, list[str]]
) -> dict[str, Any]:
    """What `corpus.json` of the pooled corpora would say."""
    cards = {name: part.card for name, part in parts.items()}
    first = next(iter(cards.values()))
    clusters = list(dict.fromkeys(card["cluster"] for card in cards.values() if card.get("cluster")))
    rules = [f"{name}: {card['split_rule']}" for name, card in cards.items() if card.get("split_rule")]
    ranges = _ranges(parts, [label for label in labels if label not in classes])
    sums = "".join(str(card.get("source_sha256", "")) for card in cards.values())
    about = ("dataset", "config", "version", "synthetic", "source_sha256", "participants")
    return {
        **{name: first.get(name) for name in ("format", "synthetic", "window_seconds", "within_clusters")},
        "dataset": "pooled",
        "config": "+".join(cards),
        "version": "+".join(dict.fromkeys(str(card.get("version")) for card in cards.values())),
        "source": "",
        "source_sha256": hashlib.sha256(sums.encode()).hexdigest(),
        "labels": list(labels),
        "label_ranges": {name: dataclasses.asdict(one) for name, one in ranges.items()},
        "classes": dict(classes),
        "modalities": {name: first["modalities"][name] for name in names},
        "participants": {split: sum(card["participants"].get(split, 0) for card in cards.values()) for split in SPLITS},
        "skipped": [one for card in cards.values() for one in card.get("skipped", ())],
        "notes": [one for card in cards.values() for one in card.get("notes", ())],
        "cluster": None if not clusters else clusters[0] if len(clusters) == 1 else CLUSTER,
        **({"reading": first["reading"]} if _alike(cards, "reading") else {}),
        **({"split_rule": "; ".join(rules)} if rules else {}),
        "same_people_as": sorted({one for card in cards.values() for one in card.get("same_people_as", ())}),
        "unit": units.pop() if len(units := {unit_of(card) for card in cards.values()}) == 1 else "records",
        "pooled": [{"name": name, **{key: card.get(key) for key in about}} for name, card in cards.items()],
    }

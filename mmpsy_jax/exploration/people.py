"""Everybody of a corpus as columns of numbers, from built records or from a source before it is built."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import near_duplicates, subgroups
from mmpsy_jax.exploration.measures import MEASURES, Described, describe
from mmpsy_jax.io import InputError, unit_of

CORPUS = "corpus"
_AHEAD = 64  # participants that worker processes are asked for


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """N rows of a corpus: participants, or their clips, days or segments.

    Attributes:
      title: name of the corpus.
      synthetic: whether a generator made some of them.
      unit: what a row is, in the plural.
      participants: ids of the rows.
      cluster: the person of each row, who is drawn and left out as a whole; the row itself where there is nobody else.
      split: of each row; "" where nobody divided the corpus yet.
      scores: of each label, NaN where missing.
      classes: names of the values of labels that are indices.
      groups: categories of each row by column: the corpus, where several are pooled, and subgroups; "" where unknown.
      numbers: by measure, NaN where nothing is known.
      means: means of embeddings, NaN where there are none.
      has: whether each row has each modality.
      duplicates: group of near-duplicates of each row, by "transcripts" and "windows"; absent where none are at hand.
      texts: transcripts, None where they are not at hand; they are written nowhere unless asked for.
      left_out: reasons of those who could not be read, without names.
    """

    title: str
    synthetic: bool
    unit: str
    participants: tuple[str, ...]
    cluster: tuple[str, ...]
    split: tuple[str, ...]
    scores: Mapping[str, Float[np.ndarray, " n"]]
    classes: Mapping[str, Sequence[str]]
    groups: Mapping[str, Sequence[str]]
    numbers: Mapping[str, Float[np.ndarray, " n"]]
    means: Mapping[str, Float[np.ndarray, "n d"]]
    has: Mapping[str, np.ndarray]
    duplicates: Mapping[str, Int[np.ndarray, " n"]]
    texts: Sequence[str] | None
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.participants)

    @functools.cached_property
    def persons(self) -> Int[np.ndarray, " n"]:
        """Number of the person of each row."""
        return np.unique(self.cluster, return_inverse=True)[1]

    @property
    def n_persons(self) -> int:
        """How many there are."""
        return int(self.persons.max(initial=-1)) + 1


def of_corpus(corpus: Corpus, texts: Mapping[str, str] | None = None) -> People:
    """Everybody of built records, of one corpus or of several that are pooled.

    Args:
      corpus: opened.
      texts: transcript of each participant, where they are at hand beside the records.

    Raises:
      InputError: a damaged shard or table of subgroups.
    """
    card, rows = corpus.card, []
    for i, participant in _progress(enumerate(corpus.participants), len(corpus)):
        record = corpus.read(i)
        stored = record.get("transcript", b"").decode()
        text = stored or (texts or {}).get(participant, "")
        rows.append(describe(record, card["modalities"], card["window_seconds"], text))
    groups = {CORPUS: corpus.origin} if corpus.pooled else {}
    return _people(
        rows,
        title="/".join(filter(None, (card.get("dataset"), card.get("config")))) or corpus.path.name,
        synthetic=bool(card.get("synthetic")),
        unit=unit_of(card),
        participants=corpus.participants,
        cluster=corpus.cluster,
        split=corpus.split,
        scores={name: values.astype(np.float64) for name, values in corpus.labels.items()},
        classes=card.get("classes", {}),
        groups=groups | _subgroups(corpus),
        left_out=collections.Counter("could not be read at build" for _ in card.get("skipped", ())),
    )


def _subgroups(corpus: Corpus) -> dict[str, list[str]]:
    parts = {part.path: part.participants for part in corpus.pooled.values() or [corpus]}
    table = subgroups.beside(parts, corpus.participants)
    return {} if table is None else {name: groups.tolist() for name, groups in table.columns.items()}


def of_source(
    source: Any, title: str, *, synthetic: bool = False, skip_bad: bool = False, workers: Callable[[int], Any]
) -> People:
    """Everybody of a source that is not built yet.

    Args:
      source: `data_builders.common.source.Source`.
      title: name of the corpus.
      synthetic: no person stands behind it, whatever the source knows.
      skip_bad: leave out whom the source cannot read.
      workers: gives a pool of processes for so many participants, or None for none.

    Raises:
      InputError: somebody who cannot be read, or nobody is left.
    """
    names, rows, reasons = [], [], []
    lacking = dict(source.lacking)
    if lacking and not skip_bad:
        raise InputError(f"{next(iter(lacking.values()))} (leave out whom nobody can read with --skip_bad)")
    reasons += ["files are missing"] * len(lacking)
    present = [name for name in source.participants if name not in lacking]
    described = functools.partial(_describe_one, source)
    with contextlib.ExitStack() as stack:
        pool = workers(len(present))
        each = map(described, present)
        if pool is not None:
            stack.enter_context(pool)
            each = _ahead(pool, described, present)
        for name, one in _progress(zip(present, each, strict=True), len(present)):
            if isinstance(one, Described):
                names.append(name)
                rows.append(one)
            elif skip_bad:
                reasons.append("could not be read")
            else:
                raise InputError(one)
    if not rows:
        raise InputError(f"{source.path}: nobody is left who can be read: see `check`")
    scores = [source.scores(name) for name in names]
    groups = zip(*(source.subgroup_row(name) for name in names), strict=True)
    return _people(
        rows,
        title=title,
        synthetic=synthetic or source.synthetic,
        unit=source.unit,
        participants=tuple(names),
        cluster=tuple(source.clusters.get(name, name) for name in names),
        split=tuple((source.listed_splits or {}).get(name, "") for name in names),
        scores={
            label: np.array([np.nan if row[label] is None else row[label] for row in scores], np.float64)
            for label in source.labels
        },
        classes=source.classes,
        groups=dict(zip(source.subgroups, groups, strict=False)),
        left_out=collections.Counter(reasons),
    )


def _ahead(pool: concurrent.futures.Executor, call: Callable, names: Sequence[str]) -> Iterator[Any]:
    """What `pool.map` gives, without asking for all of it at once."""
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    for name in names:
        waiting.append(pool.submit(call, name))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _describe_one(source: Any, participant: str) -> Described | str:
    """One participant of a source; the message where it cannot be read."""
    try:
        record, _ = source.read(participant)
        recordings = source.recordings(participant)
        text = str(record.get("transcript") or "")
        return describe(record, source.modalities, source.window_seconds, text, recordings)
    except InputError as error:
        return str(error)


def _people(rows: Sequence[Described], **about: Any) -> People:
    n = len(rows)
    numbers = {
        name: np.array([row.numbers.get(name, np.nan) for row in rows], np.float64)
        for name in sorted({name for row in rows for name in row.numbers}, key=_place)
    }
    means = {}
    for name in dict.fromkeys(name for row in rows for name in row.means):
        width = next(len(row.means[name]) for row in rows if name in row.means)
        means[name] = np.stack([row.means.get(name, np.full(width, np.nan)) for row in rows])
    duplicates = {}
    texts = [row.text for row in rows]
    if any(texts):
        duplicates["transcripts"] = near_duplicates.of_texts(texts)
    prints = np.concatenate([row.prints for row in rows]) if rows else np.zeros((0, 2), np.uint64)
    if len(prints):
        owner = np.repeat(np.arange(n), [len(row.prints) for row in rows])
        duplicates["windows"] = near_duplicates.of_windows(prints, owner, n)
    return People(
        **about,
        numbers={name: values for name, values in numbers.items() if np.isfinite(values).any()},
        means=means,
        has={name: np.array([row.has[name] for row in rows]) for name in (rows[0].has if rows else ())},
        duplicates=duplicates,
        texts=texts if any(texts) else None,
    )


def _place(name: str) -> tuple[int, str]:
    """The order of `MEASURES`, then that of names."""
    return (list(MEASURES).index(name) if name in MEASURES else len(MEASURES), name)


def _progress(each: Iterable[Any], n: int) -> Iterator[Any]:
    """The same, with a line on a terminal about every tenth; it names nobody."""
    step = -(-n // 10)
    for k, one in enumerate(each, 1):
        yield one
        if k % step == 0 and k < n:
            print(f"read {k:,} of {n:,}", file=sys.stderr)

"""The table that everything after training reads: one row per participant, split, fold, seed and task.

A prediction file may come from our runs or from any other tool; `read_csv` says precisely what a malformed one lacks.
Messages name lines and columns, never a participant id together with a score.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mmpsy_jax.io import OTHER, InputError, number, read_table, unescape, write_table
from mmpsy_jax.tasks import kind_of

COLUMNS = ("participant_id", "split", "fold", "seed", "task", "y_true", "y_prob", "y_pred")
NUMBERS = {"fold": np.int64, "seed": np.int64, "y_true": np.float64, "y_prob": np.float64, "y_pred": np.float64}
SPLITS = ("train", "validation", "test")
# Written only where it says something: who of the participants belong together; and, by `predict`, that the model knows
# synthetic people alone.
CLUSTER = "cluster"
SYNTHETIC = "synthetic"
# Read, and combined with the fold: number of the cross-validation that a row belongs to.
REPEAT = "repeat"
# Rounding takes a probability this far beyond 0 or 1.
ROUNDING = 1e-6
# More tasks than this are the cells of another column.
MOST_TASKS = 200

# What a row without the column means: one split, one model.
DEFAULTS = {"split": "test", "fold": "0", "seed": "0"}
REQUIRED = ("participant_id", "task", "y_true", ("y_prob", "y_pred"))


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Columns of equal length; NaN stands for an empty cell.

    Attributes:
      participant_id: ids, the unit of splitting and of resampling where there are no clusters.
      split: "train", "validation" or "test".
      fold: number of the cross-validation fold, 0 without one.
      seed: seed of the run; -1 after `over_seeds`.
      task: name of the task.
      y_true: target: 0 or 1 (binary), band (ordinal), score (regression), class (nominal); NaN where it is missing.
      y_prob: probability of class 1, binary tasks only.
      y_pred: expected band, score or index of the class, the other tasks.
      cluster: of the participant: who stays together in splits and resamples (the caller of a segment); None makes
        everybody a cluster of their own.

    Raises:
      InputError: columns of different lengths, or a row that breaks a rule of the table.
    """

    participant_id: Shaped[np.ndarray, " n"]
    split: Shaped[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    seed: Int[np.ndarray, " n"]
    task: Shaped[np.ndarray, " n"]
    y_true: Float[np.ndarray, " n"]
    y_prob: Float[np.ndarray, " n"]
    y_pred: Float[np.ndarray, " n"]
    cluster: Shaped[np.ndarray, " n"] = None

    def __post_init__(self):
        if self.cluster is None:
            object.__setattr__(self, CLUSTER, self.participant_id)
        for name in _FIELDS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), NUMBERS.get(name, np.str_)))
        object.__setattr__(self, "y_prob", _without_rounding(self.y_prob))
        lengths = {name: getattr(self, name).shape for name in _FIELDS}
        if len(set(lengths.values())) != 1 or len(self.participant_id.shape) != 1:
            raise InputError(f"predictions: columns have the shapes {lengths}: give one-dimensional ones of one length")
        fault = _fault(self)
        if fault is not None:
            rows, message = fault
            raise InputError(f"predictions: {_name_rows('row', rows)}: {message}")

    def __len__(self) -> int:
        return len(self.participant_id)

    @classmethod
    def build(
        cls, participant_id, task, y_true, *, split="test", fold=0, seed=0, y_prob=np.nan, y_pred=np.nan, cluster=None
    ):
        """A table of len(participant_id) rows; the other columns but `cluster` may be single values."""
        n = (len(participant_id),)
        columns = {"split": split, "fold": fold, "seed": seed, "task": task}
        columns |= {"y_true": y_true, "y_prob": y_prob, "y_pred": y_pred}
        wide = {k: np.broadcast_to(np.asarray(v), n) for k, v in columns.items()}
        return cls(participant_id=participant_id, cluster=cluster, **wide)

    @classmethod
    def concatenate(cls, parts: Iterable["Predictions"]) -> "Predictions":
        """All rows of several tables, for example of the folds of a cross-validation."""
        parts = list(parts)
        if not parts:
            raise InputError("predictions: nothing to concatenate: give at least one table")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS})

    def select(self, *, split=None, task=None, fold=None, seed=None) -> "Predictions":
        """Rows whose columns equal the given values; None takes every value."""
        keep = np.ones(len(self), bool)
        for name, value in (("split", split), ("task", task), ("fold", fold), ("seed", seed)):
            if value is not None:
                keep &= getattr(self, name) == value
        return self.take(keep)

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "Predictions":
        """Rows by a mask or by their indices."""
        return self._unchecked({name: getattr(self, name)[rows] for name in _FIELDS})

    def known(self) -> "Predictions":
        """Rows whose truth is known."""
        return self.take(~np.isnan(self.y_true))

    def over_seeds(self, kind: str) -> "Predictions":
        """One row for all seeds of a participant, split, fold and task; `seed` becomes -1.

        The mean of probabilities, or scores, is the usual ensemble of several runs. Of classes without an order the
        one that most seeds name counts; of several such the one that comes first in the table (our choice).

        Args:
          kind: of the tasks.
        """
        if not len(self):
            return self
        group, first = number_groups(self.participant_id, self.split, self.fold, self.task)
        columns = {name: getattr(self, name)[first] for name in _FIELDS}
        counts = np.bincount(group)
        for name in ("y_prob", "y_pred"):
            columns[name] = np.bincount(group, weights=getattr(self, name)) / counts
        if kind_of(kind).votes:
            votes, _ = number_groups(group, self.y_pred)
            of_row = np.bincount(votes)[votes]
            most = np.zeros(len(first), np.int64)
            np.maximum.at(most, group, of_row)
            winning = np.flatnonzero(of_row == most[group])
            columns["y_pred"] = self.y_pred[winning[np.unique(group[winning], return_index=True)[1]]]
        columns["seed"] = np.full(len(first), -1)
        # In the order of first appearance, so that the result does not depend on how ids sort.
        order = np.argsort(first, kind="stable")
        return self._unchecked({name: column[order] for name, column in columns.items()})

    @classmethod
    def _unchecked(cls, columns) -> "Predictions":
        """Without the checks of `__post_init__`: rows of a checked table obey its rules too."""
        table = object.__new__(cls)
        for name in _FIELDS:
            object.__setattr__(table, name, columns[name])
        return table


_FIELDS = tuple(Predictions.__dataclass_fields__)


def _without_rounding(probabilities: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What lies beyond 0 or 1 by no more than rounding is set to the end."""
    ends = np.clip(probabilities, 0.0, 1.0)
    return np.where(np.abs(probabilities - ends) <= ROUNDING, ends, probabilities)


def number_groups(*columns: np.ndarray) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " g"]]:
    """Number of the group of equal values that each row belongs to, and the first row of each group."""
    group = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(0, np.int64)
    for column in columns:
        codes = np.unique(column, return_inverse=True)[1]
        _, first, group = np.unique(group * (codes.max(initial=0) + 1) + codes, return_index=True, return_inverse=True)
    return group, first


def _fault(table: Predictions) -> tuple[np.ndarray, str] | None:
    """The first rule of the table that is broken: rows (at most two) and what is wrong with them."""

    prob, pred = ~np.isnan(table.y_prob), ~np.isnan(table.y_pred)
    infinite = np.isinf(table.y_true) | np.isinf(table.y_prob) | np.isinf(table.y_pred)
    outside = prob & ((table.y_prob < 0) | (table.y_prob > 1))
    foreign = prob & ~np.isnan(table.y_true) & ~np.isin(table.y_true, (0, 1))
    for bad, message in (
        (table.participant_id == "", "participant_id is empty: every row needs one"),
        (table.task == "", "task is empty: every row needs the name of its task"),
        (~np.isin(table.split, SPLITS), f"split is none of {', '.join(SPLITS)}: write one of them"),
        (infinite, "a value is infinite: y_true, y_prob and y_pred must be finite or empty"),
        (prob & pred, "both y_prob and y_pred are filled: fill y_prob for a binary task, else y_pred only"),
        (~prob & ~pred, "y_prob and y_pred are both empty: fill y_prob for a binary task, else y_pred"),
        (outside, "y_prob is outside [0, 1]: give probabilities, not logits or percentages"),
        (foreign, "y_true of a row with y_prob must be 0 or 1 (class, not score), or empty"),
    ):
        if bad.any():
            return np.flatnonzero(bad)[:1], message
    return _fault_between_rows(table, prob)


def _fault_between_rows(table: Predictions, prob: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, str] | None:
    """Rules that need two rows to break."""
    if not len(table):
        return None
    task, first = number_groups(table.task)
    if (rows := _differing(prob, task, first)) is not None:
        return rows, "the same task has y_prob in one row and y_pred in another: give one of the two"
    if len(first) > MOST_TASKS:
        message = f"the column task holds {len(first)} names, at most {MOST_TASKS} can be: give names of tasks there"
        return np.array([0]), message
    key, first = number_groups(table.participant_id, table.task, table.split, table.fold, table.seed)
    if len(first) < len(table):
        again = np.setdiff1d(np.arange(len(table)), first)[0]
        rows = np.array([first[key[again]], again])
        return rows, (
            "the same participant, task, split, fold and seed twice: keep one row (average windows beforehand; number "
            f"repeated cross-validations in a column {REPEAT})"
        )
    key, first = number_groups(table.participant_id, table.task)
    if (rows := _differing(np.nan_to_num(table.y_true, nan=-1e300), key, first)) is not None:
        return rows, "the same participant and task with two different y_true: a label does not depend on fold or seed"
    return None


def _differing(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray | None:
    """The first row of a group and another one of it with another value; None where there are none."""
    differs = np.flatnonzero(values != values[first][group])[:1]
    return np.append(first[group[differs]], differs) if len(differs) else None


def combine_repeats(repeat: Int[np.ndarray, " n"], fold: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], str]:
    """One number for the fold of a repeated cross-validation, as `config.cv.repeats` numbers them, and how it is made.

    Folds of the second of two times 5 are 5 to 9. Where no fold occurs in two repeats they are numbered so already.

    Args:
      repeat, fold: as in the table, counted from any number.
    """
    n_repeats, n_folds = len(np.unique(repeat)), len(np.unique(fold))
    if n_repeats == 1:
        return fold, ""
    _, first = number_groups(fold, repeat)
    if len(first) == n_folds:
        return fold, f"{n_repeats} repeats of a cross-validation: no fold occurs in two of them, so {n_folds} folds"
    first_fold, size = fold.min(), fold.max() - fold.min() + 1
    combined = (repeat - repeat.min()) * size + fold - first_fold
    return combined, (
        f"{n_repeats} repeats of {n_folds} folds are read as {len(np.unique(combined))} folds: each has thresholds of "
        "its own, and all rows of a participant are resampled together"
    )


def _name_rows(word: str, rows: np.ndarray) -> str:
    return f"{word} {rows[0]}" if len(rows) == 1 else f"{word}s {rows[0]} and {rows[1]}"


def write_csv(path: str | os.PathLike, predictions: Predictions) -> None:
    """Writes `predictions.csv` atomically; numbers round-trip exactly, formula-like ids are quoted."""
    alone = np.array_equal(predictions.cluster, predictions.participant_id)
    names = COLUMNS if alone else (*COLUMNS, CLUSTER)
    write_table(path, names, zip(*(getattr(predictions, name).tolist() for name in names), strict=True))


def read_csv(path: str | os.PathLike, notes: list[str] | None = None) -> Predictions:
    """Reads a table of predictions with the columns `participant_id, task, y_true, y_prob | y_pred`.

    `split`, `fold` and `seed` may be absent: then "test", 0 and 0. So may `cluster`: then every participant is one.
    A column `repeat` is combined with `fold`, see `combine_repeats`. Other columns are not read.

    Args:
      path: the table.
      notes: what is odd about the table but no error is added here.

    Raises:
      InputError: the file cannot be read as such a table; the message names the file, the line and the remedy.
    """
    path = Path(path)
    notes = [] if notes is None else notes
    table = read_table(path, REQUIRED, (*DEFAULTS, CLUSTER, REPEAT, SYNTHETIC), extra="ignore")
    cells, lines = table.columns, table.lines
    if not lines:
        raise InputError(f"{path}: only a header, no rows: give at least one prediction")
    notes += table.notes
    unread = [name for name in table.others if not name.startswith(OTHER)]
    if unread:
        notes.append(f"{path}: columns that are not read: {', '.join(unread)}")
    columns = {}
    for name in (*COLUMNS, *(one for one in (CLUSTER, REPEAT) if one in cells)):
        texts = cells.get(name, [DEFAULTS.get(name, "")] * len(lines))
        if name in NUMBERS or name == REPEAT:
            columns[name] = _numbers(path, name, texts, lines)
        else:
            columns[name] = np.asarray([unescape(text) for text in texts], np.str_)
    columns.setdefault(CLUSTER, columns["participant_id"])
    columns["y_prob"] = _without_rounding(columns["y_prob"])
    if REPEAT in columns:
        columns["fold"], note = combine_repeats(columns.pop(REPEAT), columns["fold"])
        notes += [f"{path}: {note}"] * bool(note)
    predictions = Predictions._unchecked(columns)
    fault = _fault(predictions)
    if fault is not None:
        rows, message = fault
        raise InputError(f"{path}: {_name_rows('line', np.asarray(lines)[rows])}: {message}")
    return predictions


def says_synthetic(path: str | os.PathLike) -> bool:
    """Whether a table says of itself that a generator made the people behind it.

    Raises:
      InputError: as of `read_csv`.
    """
    table = read_table(Path(path), REQUIRED, (SYNTHETIC,), extra="ignore")
    return any(table.columns.get(SYNTHETIC, []))


def _numbers(path: Path, name: str, texts: list[str], lines: list[int]) -> np.ndarray:
    """Text cells to float64 (empty: NaN) or, for fold, seed and repeat, int64 (empty is an error)."""
    integer = name in ("fold", "seed", REPEAT)
    try:
        values = np.asarray([text or "nan" for text in texts], np.float64)
    except ValueError:
        values = None  # the loop below finds the cell
    empty = np.asarray([not text for text in texts])
    odd = values is None or not np.isfinite(values[~empty]).all() or (integer and not _whole(values))
    if odd or any("_" in text for text in texts):  # Python reads 1_2 as 12
        for text, line in zip(texts, lines, strict=True):
            value = number(f"{path}: line {line}", name, text) if text or integer else np.nan
            if integer and not _whole(np.asarray(value)):
                raise InputError(f"{path}: line {line}: {name} is no whole number: mend the cell")
    return values.astype(np.int64) if integer else values


def _whole(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) < 2**53).all())

"""Tasks of a table that nobody described: from its columns, and from what a user says about them."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.tasks import Task

# More classes or bands than this are scores.
MOST_CLASSES = 100
# Whole numbers of so few values may be classes.
FEW_VALUES = 10


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What a user says about tasks.

    Attributes:
      nominal: tasks whose values are indices of classes without an order; decisions 0 and 1 are such, too.
      ordinal: tasks whose values are bands from 0.
      maximum: highest possible score, or highest band, by task.
    """

    nominal: tuple[str, ...] = ()
    ordinal: tuple[str, ...] = ()
    maximum: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """All tasks that something is said about."""
        return {*self.nominal, *self.ordinal, *self.maximum}


def read_kinds(nominal: Iterable[str] = (), ordinal: Iterable[str] = (), maximum: Iterable[str] = ()) -> Kinds:
    """From the options of a command line: names, several with commas between them, and TASK:N for a maximum.

    Raises:
      InputError: a maximum that is not of that form, or a task that is said to be of two kinds.
    """

    def names(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())

    highest = {}
    for text in names(maximum):
        name, _, number = text.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not name or not 0 < value < np.inf or name in highest:
            raise InputError(f"--maximum={text}: write TASK:N with a number N above 0, each task once")
        highest[name] = value
    made = Kinds(names(nominal), names(ordinal), highest)
    both = sorted(set(made.nominal) & {*made.ordinal, *made.maximum})
    if both:
        raise InputError(
            f"task {both[0]!r} is said to be nominal and more: classes without an order have no --ordinal and no "
            "--maximum, give one of them"
        )
    return made


def infer_tasks(
    predictions: Predictions,
    kinds: Kinds | None = None,
    defined: Mapping[str, Task] | None = None,
    notes: list[str] | None = None,
) -> tuple[Task, ...]:
    """A task for each name in the table; its label is its own name.

    What `kinds` says of it, else as `defined`, else binary where `y_prob` is filled (cut-off 1 on 0 and 1), else a
    score whose scale ends where its labels do.

    Args:
      predictions: the table.
      kinds: what a user says of some tasks.
      defined: tasks by name, of a run of ours.
      notes: what may be meant otherwise is added here.

    Raises:
      InputError: `kinds` names a task that is not in the table or does not fit it; labels that are 0 or 1 beside
        `y_pred`, since only the user can know what that is.
    """
    kinds = kinds or Kinds()
    there = list(dict.fromkeys(predictions.task.tolist()))
    for name in sorted(kinds.names - set(there)):
        raise one_of("task", name, there)
    defined, notes = defined or {}, [] if notes is None else notes
    return tuple(
        defined[name]
        if name in defined and name not in kinds.names
        else _infer(name, predictions.select(task=name), kinds, notes)
        for name in there
    )


def _infer(name: str, rows: Predictions, kinds: Kinds, notes: list[str]) -> Task:
    if not np.isnan(rows.y_prob[0]):
        if name in kinds.names:
            raise InputError(
                f"task {name!r} fills y_prob, hence is binary: leave it out of --nominal, --ordinal and --maximum, or "
                "give its classes or scores in y_pred"
            )
        return Task(name, name, "binary", (1.0,))
    known = rows.y_true[~np.isnan(rows.y_true)]
    if name in kinds.nominal:
        classes = range(_highest(name, "nominal", np.concatenate([known, rows.y_pred])) + 1)
        return Task(name, name, "nominal", classes=tuple(map(str, classes)))
    if name in kinds.ordinal:
        bands = _highest(name, "ordinal", known, kinds.maximum.get(name))
        return Task(name, name, "ordinal", tuple(float(band) for band in range(1, bands + 1)))
    if name not in kinds.maximum:
        ask_about_decisions(name, known, rows.y_pred)
        if _whole(known) and _whole(rows.y_pred) and len(np.unique(known)) <= FEW_VALUES:
            notes.append(
                f"task {name!r} holds whole numbers of few values and is scored as a number: say --nominal={name} "
                f"where they are classes without an order, --ordinal={name} where they are bands"
            )
    highest = kinds.maximum.get(name, max(1.0, float(known.max(initial=0.0))))
    if (known > highest).any():
        n = int((known > highest).sum())
        raise InputError(f"task {name!r}: {n} labels are above its --maximum, {highest:g}: raise it")
    return Task(name, name, "regression", maximum=highest, minimum=min(0.0, float(known.min(initial=0.0))))


def ask_about_decisions(name: str, y_true: np.ndarray, y_pred: np.ndarray) -> None:
    """Labels that are 0 or 1 are those of a binary task, which has probabilities; numbers say other things of them.

    Raises:
      InputError: such labels, with both remedies.
    """
    if not len(y_true) or not np.isin(y_true, (0, 1)).all():
        return
    if np.isin(y_pred, (0, 1)).all():
        raise InputError(
            f"task {name!r}: y_true and y_pred are 0 or 1 throughout, so y_pred holds decisions: give the probability "
            f"of class 1 in y_prob instead, or score the decisions as they are with --nominal={name}"
        )
    if len(np.unique(y_true)) == 2:
        raise InputError(
            f"task {name!r}: y_true is 0 or 1 throughout, as of a binary task, but y_pred is filled: give the "
            f"probability of class 1 in y_prob instead, or score y_pred as a number with --maximum={name}:1"
        )


def _whole(values: np.ndarray) -> bool:
    return bool(np.all(values == np.floor(values)))


def _highest(name: str, kind: str, values: np.ndarray, limit: float | None = None) -> int:
    """The highest class or band, at least 1."""
    if not len(values) or not _whole(values) or values.min() < 0 or max(values.max(), limit or 0) >= MOST_CLASSES:
        what = "y_true and y_pred" if kind == "nominal" else "y_true"
        raise InputError(
            f"task {name!r} is said to be {kind}: {what} must be whole numbers from 0, below {MOST_CLASSES}: number "
            f"the {'classes' if kind == 'nominal' else 'bands'} so, or leave the task out of --{kind}"
        )
    least = 1 if kind == "nominal" else 2
    return max(least, int(values.max() if limit is None else limit))

"""Tasks of a table that nobody described: from its columns, and from what a user says about them."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from mmpsy_jax import registry
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.tasks import Task, kind_of

# Whole numbers of so few values may be classes.
FEW_VALUES = 10


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What a user says about tasks.

    Attributes:
      kinds: kind by task.
      maximum: highest possible score, or highest band, by task.
    """

    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    maximum: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """All tasks that something is said about."""
        return {*self.kinds, *self.maximum}


def options() -> dict[str, str]:
    """What the option of each kind that the columns of a table do not tell means, by kind."""
    return {kind: kind_of(kind).option for kind in registry.names("kinds") if kind_of(kind).option}


def read_kinds(maximum: Iterable[str] = (), **named: Iterable[str]) -> Kinds:
    """From the options of a command line: names, several with commas between them, and TASK:N for a maximum.

    Args:
      maximum: such texts.
      named: names of tasks by kind, of `options`.

    Raises:
      InputError: a maximum that is not of that form, or a task that is said to be of two kinds.
    """
    highest: dict[str, float] = {}
    for text in _names(maximum):
        name, _, number = text.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not name or not 0 < value < np.inf or name in highest:
            raise InputError(f"--maximum={text}: write TASK:N with a number N above 0, each task once")
        highest[name] = value
    kinds: dict[str, str] = {}
    for kind, texts in named.items():
        for name in _names(texts):
            if name in kinds or (name in highest and not kind_of(kind).bounded):
                first = kinds.get(name, kind)
                raise InputError(
                    f"task {name!r} is said to be {first} and more: give it one kind, and --maximum only to scores and "
                    "bands"
                )
            kinds[name] = kind
    return Kinds(kinds, highest)


def _names(texts: Iterable[str]) -> list[str]:
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


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
    kinds, defined, notes = kinds or Kinds(), defined or {}, [] if notes is None else notes
    there = list(dict.fromkeys(predictions.task.tolist()))
    for name in sorted(kinds.names - set(there)):
        raise one_of("task", name, there)
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
                f"task {name!r} fills y_prob, hence is binary: leave it out of {_listed()} and --maximum, or give its "
                "classes or scores in y_pred"
            )
        return Task(name, name, "binary", (1.0,))
    known = rows.y_true[~np.isnan(rows.y_true)]
    if name not in kinds.names:
        ask_about_decisions(name, known, rows.y_pred)
        whole = all(np.all(values == np.floor(values)) for values in (known, rows.y_pred))
        if whole and len(np.unique(known)) <= FEW_VALUES:
            notes.append(
                f"task {name!r} holds whole numbers of few values and is scored as a number: say --nominal={name} "
                f"where they are classes without an order, --ordinal={name} where they are bands"
            )
    kind = kind_of(kinds.kinds.get(name, "regression"))
    return kind.infer(name, known, rows.y_pred, kinds.maximum.get(name))


def _listed() -> str:
    return ", ".join(f"--{kind}" for kind in options())


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

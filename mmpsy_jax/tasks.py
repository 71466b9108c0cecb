"""What is predicted: a task is a label column, a kind, and the cut-offs that turn scores into classes.

Heads, losses and metrics follow `kind`; nothing else in the code base asks which questionnaire a task is about.
Bands are always derived from scores by the cut-offs given here, never from the `level` strings of a corpus, which
disagree with its own documentation (`docs/mmpsy.md`).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError, one_of

EVERY = "*"  # instead of the name of a label: all of them
Kind = Literal["binary", "ordinal", "regression", "nominal"]
KINDS: tuple[Kind, ...] = ("binary", "ordinal", "regression", "nominal")
LOGITS: tuple[Kind, ...] = ("binary", "nominal")  # a logit per class and a softmax over them

# Highest possible total of each questionnaire: nine and seven items, each 0 to 3.
SCORE_MAXIMUM = {"phq9": 27.0, "gad7": 21.0}

# The same of further questionnaires that a label may be named after.
KNOWN_MAXIMUM = SCORE_MAXIMUM | {"phq2": 6.0, "phq4": 12.0, "phq8": 24.0, "gad2": 6.0, "bdi": 63.0, "cesd": 60.0}

# Severity bands. PHQ-9: Kroenke, Spitzer and Williams 2001; GAD-7: Spitzer et al. 2006.
BANDS = {"phq9": (5, 10, 15, 20), "gad7": (5, 10, 15)}


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of a participant.

    Attributes:
      name: unique name; column `task` of `predictions.csv`.
      label: name of the score column of the records.
      kind: "binary" (score >= cut-off), "ordinal" (band between ascending cut-offs), "regression" (the score) or
        "nominal" (one of several classes without an order; the score is the index of the class).
      cutoffs: one for binary, ascending for ordinal, none for the others.
      maximum: highest possible score; regression predicts `score / maximum` inside the network. None: what the corpus
        says of the label, see `with_ranges`.
      minimum: lowest possible score, below zero for a rating of sentiment; None as above.
      classes: names of the classes 0, 1, ... of a nominal task, two or more; none for the others.
    """

    name: str
    label: str
    kind: Kind
    cutoffs: tuple[float, ...] = ()
    maximum: float | None = None
    minimum: float | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.kind not in KINDS:
            raise one_of(f"kind of task {self.name!r}", self.kind, KINDS)
        ascending = all(a < b for a, b in zip(self.cutoffs, self.cutoffs[1:], strict=False))
        wanted = {"binary": len(self.cutoffs) == 1, "ordinal": len(self.cutoffs) >= 2}
        if not wanted.get(self.kind, not self.cutoffs) or not ascending:
            raise InputError(
                f"task {self.name!r}: cut-offs {self.cutoffs} do not fit kind {self.kind!r}: give one for binary, two "
                "or more in ascending order for ordinal, none for regression and nominal"
            )
        fitting = len(self.classes) >= 2 if self.kind == "nominal" else not self.classes
        if not fitting or len(set(self.classes)) != len(self.classes):
            raise InputError(
                f"task {self.name!r}: classes {self.classes} do not fit kind {self.kind!r}: give two or more different "
                "names for nominal, none for the others"
            )
        if self.kind != "regression":  # ends of a scale matter to scores alone
            object.__setattr__(self, "maximum", 1.0 if self.maximum is None else self.maximum)
        if self.minimum is None and self.maximum is not None:  # a maximum alone is that of a scale from 0
            object.__setattr__(self, "minimum", 0.0)
        if self.maximum is not None and not 0 < self.maximum < math.inf:
            raise InputError(f"task {self.name!r}: maximum {self.maximum} must be positive")
        if self.minimum is not None and not -math.inf < self.minimum < (self.maximum or math.inf):
            raise InputError(f"task {self.name!r}: minimum {self.minimum} must be below the maximum, {self.maximum}")

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        if self.kind == "nominal":
            return len(self.classes)
        return 0 if self.kind == "regression" else len(self.cutoffs) + 1

    def targets(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Scores to targets: class index for binary and ordinal, the score itself for the others; NaN stays NaN.

        Raises:
          InputError: a score of a nominal task that is neither the index of a class nor -1, which means missing.
        """
        scores = np.asarray(scores, np.float32)
        if self.kind == "nominal":
            scores = np.where(scores == -1, np.float32(np.nan), scores)
            if not np.isin(scores[~np.isnan(scores)], np.arange(self.n_classes)).all():
                raise InputError(
                    f"task {self.name!r}: a value of {self.label!r} is not the index of a class: give whole numbers "
                    f"from 0 to {self.n_classes - 1}, -1 where it is missing"
                )
            return scores
        if self.kind == "regression":
            return scores
        classes = np.digitize(np.nan_to_num(scores), self.cutoffs).astype(np.float32)
        return np.where(np.isnan(scores), np.float32(np.nan), classes)


@dataclasses.dataclass(frozen=True)
class Range:
    """The scale of a label, as `corpus.json` keeps it.

    Attributes:
      low, high: its ends.
      source: "given" by whoever built the corpus, "known" of a questionnaire or corpus of that name, or "seen" on the
        training split.
    """

    low: float
    high: float
    source: Literal["given", "known", "seen"]


def seen_range(low: float, high: float) -> Range:
    """The scale that labels between two ends are taken to have: it holds 0, and something above it."""
    low, high = min(0.0, float(low)), float(high)
    return Range(low, high if high > 0 else -low or 1.0, "seen")


def label_ranges(
    seen: Mapping[str, Sequence[float] | None],
    given: Mapping[str, tuple[float, float]] | None = None,
    known: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Range]:
    """The scale of every label: as given, else as known of its name where its values fit, else as seen.

    Args:
      seen: least and largest training label by name; None where none is known.
      given: ends by name; those of `EVERY` are of all that are not named.
      known: the same of a published corpus; questionnaires are known besides.

    Raises:
      InputError: ends of an unknown label, or labels outside of the ends that were given.
    """
    given, made = dict(given or {}), {}
    known = {**{name: (0.0, highest) for name, highest in KNOWN_MAXIMUM.items()}, **(known or {})}
    everyone = given.pop(EVERY, None)
    for name in given:
        if name not in seen:
            raise one_of("label in the ranges", name, seen)
    given = {**(dict.fromkeys(seen, everyone) if everyone else {}), **given}
    for name, ends in seen.items():
        if name in given:
            made[name] = Range(*map(float, given[name]), "given")
        elif ends is None:
            continue
        elif name in known and known[name][0] <= ends[0] <= ends[1] <= known[name][1]:
            made[name] = Range(*known[name], "known")
        else:
            made[name] = seen_range(*ends)
        if name in given and ends is not None and not made[name].low <= ends[0] <= ends[1] <= made[name].high:
            raise InputError(
                f"label {name!r}: some values lie outside of {made[name].low:g} to {made[name].high:g}, the range that "
                "was given: correct the range, or the table"
            )
    return made


def read_ranges(text: str) -> dict[str, tuple[float, float]]:
    """Ends of scales from `NAME:LOW:HIGH,...`, as command lines have them; `*` stands for all labels.

    Raises:
      InputError: not of that form, a label twice, or ends in the wrong order.
    """
    made: dict[str, tuple[float, float]] = {}
    for part in filter(None, text.split(",")):
        name, *ends = part.strip().rsplit(":", 2)
        try:
            low, high = map(float, ends)
        except ValueError:
            low = high = math.nan
        if not -math.inf < low < high < math.inf or high <= 0 or name in made:
            raise InputError(
                f"range {part.strip()[:80]!r}: write NAME:LOW:HIGH, with commas between labels, each once, such as "
                "stress:0:3,valence:-3:3; HIGH is above LOW and above 0"
            )
        made[name] = (low, high)
    return made


def with_ranges(tasks: Iterable[Task], ranges: Mapping[str, Range]) -> tuple[Task, ...]:
    """The tasks, with the ends of their label's scale where they name none of their own.

    Raises:
      InputError: a score without a maximum, of a label whose scale is not known.
    """
    made = []
    for task in tasks:
        known = ranges.get(task.label)
        if task.maximum is None and known is None:
            raise InputError(
                f"task {task.name!r}: neither the task nor the corpus says how high {task.label!r} can be: give the "
                "task a maximum"
            )
        high = known.high if task.maximum is None else task.maximum
        low = known.low if task.minimum is None else task.minimum
        made.append(dataclasses.replace(task, maximum=float(high), minimum=float(low)))
    return tuple(made)


def questionnaire(label: str, name: str, cutoff: float = 10, kinds: Iterable[Kind] = KINDS[:3]) -> tuple[Task, ...]:
    """The usual tasks of one questionnaire: `<name>_screen`, `<name>_bands`, `<name>_score`."""
    if label not in SCORE_MAXIMUM:
        raise one_of("questionnaire", label, SCORE_MAXIMUM)
    made = {
        "binary": Task(f"{name}_screen", label, "binary", (cutoff,), SCORE_MAXIMUM[label]),
        "ordinal": Task(f"{name}_bands", label, "ordinal", BANDS[label], SCORE_MAXIMUM[label]),
        "regression": Task(f"{name}_score", label, "regression", (), SCORE_MAXIMUM[label]),
    }
    return tuple(made[kind] for kind in kinds)


def from_config(entries: Iterable[Mapping[str, Any]]) -> tuple[Task, ...]:
    """Tasks from a config's list of plain dictionaries, as `to_config` writes them."""
    lists = ("cutoffs", "classes")
    tasks = tuple(Task(**{**entry, **{name: tuple(entry.get(name, ())) for name in lists}}) for entry in entries)
    names = [task.name for task in tasks]
    if not tasks:
        raise InputError("config.tasks is empty: give at least one task")
    if len(set(names)) != len(names):
        raise InputError(f"config.tasks repeats a name: {names}: give every task its own")
    return tasks


def to_config(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Plain dictionaries for a ConfigDict or a JSON file."""
    return [{**dataclasses.asdict(task), "cutoffs": tuple(task.cutoffs)} for task in tasks]

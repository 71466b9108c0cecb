"""What is predicted: a task is a label column, a kind, and the cut-offs that turn scores into classes.

Heads, losses and metrics follow the kind, a file of `kinds/`; nothing else asks which questionnaire a task is about.
Bands are always derived from scores by the cut-offs given here, never from the `level` strings of a corpus, which
disagree with its own documentation (`docs/mmpsy.md`).
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from mmpsy_jax import registry
from mmpsy_jax.io import InputError, one_of

EVERY = "*"  # instead of the name of a label: all of them
MOST_CLASSES = 100  # more classes or bands than this are scores

# Highest possible total of each questionnaire: nine and seven items, each 0 to 3.
SCORE_MAXIMUM = {"phq9": 27.0, "gad7": 21.0}

# The same of further questionnaires that a label may be named after.
KNOWN_MAXIMUM = SCORE_MAXIMUM | {"phq2": 6.0, "phq4": 12.0, "phq8": 24.0, "gad2": 6.0, "bdi": 63.0, "cesd": 60.0}

# Severity bands. PHQ-9: Kroenke, Spitzer and Williams 2001; GAD-7: Spitzer et al. 2006.
BANDS = {"phq9": (5, 10, 15, 20), "gad7": (5, 10, 15)}


@functools.cache
def kind_of(name: str) -> type["Task"]:
    """The class of a kind of task; raises InputError where there is none of that name."""
    return registry.load("kinds", name).Kind


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of a participant. An instance is of the class of its kind (`kinds/<kind>.py`).

    Attributes:
      name: unique name; column `task` of `predictions.csv`.
      label: name of the score column of the records.
      kind: a file of `kinds/`, such as "binary" (score >= cut-off), "ordinal" (band between ascending cut-offs),
        "regression" (the score) or "nominal" (one of several classes without an order, whose index the score is).
      cutoffs: one for binary, ascending for ordinal, none for the others.
      maximum: highest possible score; regression predicts `score / maximum` inside the network. None: what the corpus
        says of the label, see `with_ranges`.
      minimum: lowest possible score, below zero for a rating of sentiment; None as above.
      classes: names of the classes 0, 1, ... of a nominal task, two or more, or `EVERY` for all that occur in the
        corpus, see `with_classes`; none for the others.
      codes: value of the label in each class; () for the number of the class. Other values are missing labels.

    What a kind states (class attributes; here those of most):
      n_cutoffs: how many cut-offs there may be.
      named: its classes have names (`classes`).
      event: target 1 is an event whose probability is predicted (`y_prob`), with thresholds for decisions.
      scaled: it is a score between two ends that must be known.
      logits: the network has one logit per class; otherwise one number.
      cut_points: cut points are subtracted from that number.
      votes: of several seeds the most frequent prediction counts, not the mean.
      conformal: there are intervals or sets of it.
      bounded: a user may say what the highest value is (`evaluate --maximum`).
      option: what the option of `evaluate` that is called like the kind means; "" for no such option.
      output: what is predicted, in words.
      entries: what a report has of it beside metrics (`evaluation/scoring.py`).
      subgroup_metrics, tuned_by: metrics shown of subgroups, and the one by which a sweep chooses.
    """

    name: str
    label: str
    kind: str
    cutoffs: tuple[float, ...] = ()
    maximum: float | None = None
    minimum: float | None = None
    classes: tuple[str, ...] = ()
    codes: tuple[float, ...] = ()

    n_cutoffs: ClassVar[range] = range(1)
    named: ClassVar[bool] = False
    event: ClassVar[bool] = False
    scaled: ClassVar[bool] = False
    logits: ClassVar[bool] = False
    cut_points: ClassVar[bool] = False
    votes: ClassVar[bool] = False
    conformal: ClassVar[bool] = True
    bounded: ClassVar[bool] = False
    option: ClassVar[str] = ""
    output: ClassVar[str]
    entries: ClassVar[tuple[str, ...]]
    subgroup_metrics: ClassVar[tuple[str, ...]]
    tuned_by: ClassVar[str]

    def __new__(cls, name: str = "", label: str = "", kind: str = "", *_rest: Any, **_named: Any) -> "Task":
        """An empty instance of the class of the kind."""
        return object.__new__(kind_of(kind) if cls is Task else cls)

    def __post_init__(self):
        ascending = all(a < b for a, b in zip(self.cutoffs, self.cutoffs[1:], strict=False))
        if len(self.cutoffs) not in self.n_cutoffs or not ascending:
            rule = {0: "none", 1: "one"}.get(self.n_cutoffs[0], "two or more in ascending order")
            raise InputError(f"task {self.name!r}: cut-offs {self.cutoffs} do not fit kind {self.kind!r}: give {rule}")
        fitting = len(self.classes) >= 2 or self.classes == (EVERY,) if self.named else not self.classes
        if not fitting or len(set(self.classes)) != len(self.classes):
            rule = "two or more different names" if self.named else "none"
            raise InputError(f"task {self.name!r}: classes {self.classes} do not fit kind {self.kind!r}: give {rule}")
        if not self.scaled:  # ends of a scale matter to scores alone
            object.__setattr__(self, "maximum", 1.0 if self.maximum is None else self.maximum)
        if self.minimum is None and self.maximum is not None:  # a maximum alone is that of a scale from 0
            object.__setattr__(self, "minimum", 0.0)
        if self.maximum is not None and not 0 < self.maximum < math.inf:
            raise InputError(f"task {self.name!r}: maximum {self.maximum} must be positive")
        if self.minimum is not None and not -math.inf < self.minimum < (self.maximum or math.inf):
            raise InputError(f"task {self.name!r}: minimum {self.minimum} must be below the maximum, {self.maximum}")

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a number."""
        return len(self.classes) or (len(self.cutoffs) + 1 if self.cutoffs else 0)

    @property
    def column(self) -> str:
        """The column of `predictions.csv` that it fills."""
        return "y_prob" if self.event else "y_pred"

    @property
    def ends(self) -> tuple[float, float]:
        """Between which numbers a prediction lies."""
        return (self.minimum, self.maximum) if self.scaled else (-math.inf, math.inf)

    def targets(self, scores: Float[Any, " n"], xp: Any = np) -> Float[Any, " n"]:
        """Scores to targets, in float32; NaN stays NaN. Here the score itself.

        Args:
          scores: of the label.
          xp: numpy, or jax.numpy inside a program.
        """
        return xp.asarray(scores, np.float32)

    def shares(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " c"]:
        """Share of each class among known targets; one is added to each, so that all have a finite logarithm."""
        counts = np.bincount(targets.astype(int), minlength=self.n_classes) + 1.0
        return counts / counts.sum()

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """Where the output biases start, from the known targets of the training participants."""
        raise NotImplementedError

    def losses(self, output: Float[Any, "b o"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """Loss of each participant, with jax.

        Args:
          output: of the network.
          targets: without NaN.
          delta: points at which the loss of a score turns linear.
        """
        raise NotImplementedError

    def unclipped(self, output: Float[Any, "n o"], xp: Any = np) -> Float[Any, " n"]:
        """`predictions`, of a score that is not cut to its scale."""
        return self.predictions(output, xp)

    def predictions(self, output: Float[Any, "n o"], xp: Any = np) -> Float[Any, " n"]:
        """What is written to `predictions.csv`.

        Args:
          output: of the network for this task.
          xp: numpy, which computes in float64, or jax.numpy, inside a program and in its precision.
        """
        raise NotImplementedError

    def averageable(self, output: Float[Any, "n o"], xp: Any = np) -> Float[Any, "n ..."]:
        """What trainings are averaged in [n] or [n classes]; arguments as of `predictions`."""
        return self.predictions(output, xp)

    def average(self, values: Float[np.ndarray, "t n ..."]) -> Float[np.ndarray, " n"]:
        """Predictions of t trainings together, from their `averageable`."""
        return values.mean(axis=0)

    def constant(self, targets: Float[np.ndarray, " n"]) -> float:
        """The best prediction without knowing anything but the known training targets."""
        return float(targets.mean())

    def linear_model(self, penalty: float, n: int) -> Any:
        """What a baseline fits to n numbers; the penalty is that of a ridge regression, 0 for none."""
        from sklearn.linear_model import LinearRegression, RidgeCV

        del n
        # With a single alpha nothing is selected, but there are leave-one-out residuals in closed form.
        return RidgeCV(alphas=[penalty], store_cv_results=True) if penalty else LinearRegression()

    def check(self, y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " m"]) -> None:
        """Raises InputError for known truths or predictions that the kind cannot have."""

    def describe(self) -> str:
        """What is asked, in words."""
        return f"{self.output} of {self.label}"

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> "Task":
        """The task of a table that nobody described but for its kind; its label is its own name.

        Args:
          name: of the task.
          y_true, y_pred: known labels, and predictions.
          maximum: highest possible score, or band; None where nothing is said.

        Raises:
          InputError: they do not fit.
        """
        raise NotImplementedError


def between(scores: Float[Any, " n"], cutoffs: Sequence[float], xp: Any) -> Float[Any, " n"]:
    """Number of ascending cut-offs that each score reaches; NaN stays NaN."""
    scores = xp.asarray(scores, np.float32)
    bands = xp.digitize(xp.nan_to_num(scores), xp.asarray(cutoffs, np.float32)).astype(np.float32)
    return xp.where(xp.isnan(scores), np.float32(np.nan), bands)


def whole(name: str, kind: str, what: str, values: np.ndarray, limit: float | None = None) -> int:
    """The highest of classes or bands that a table holds.

    Raises:
      InputError: they are no whole numbers from 0, or too many.
    """
    fitting = len(values) and np.all(values == np.floor(values)) and values.min() >= 0
    if not fitting or max(values.max(), limit or 0) >= MOST_CLASSES:
        raise InputError(
            f"task {name!r} is said to be {kind}: {what} must be whole numbers from 0, below {MOST_CLASSES}: number "
            f"its values so, or leave the task out of --{kind}"
        )
    return int(values.max())


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
    stated: Mapping[str, tuple[float, float]] | None = None,
    known: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Range]:
    """The scale of every label: as given, else as known of its name where its values fit, else as seen.

    Args:
      seen: least and largest training label by name; None where none is known.
      stated: ends by name; those of `EVERY` are of all that are not named.
      known: the same of a published corpus; questionnaires are known besides.

    Raises:
      InputError: ends of an unknown label, or labels outside of the ends that were given.
    """
    stated, ranges = dict(stated or {}), {}
    known = {**{name: (0.0, highest) for name, highest in KNOWN_MAXIMUM.items()}, **(known or {})}
    everyone = stated.pop(EVERY, None)
    for name in stated:
        if name not in seen:
            raise one_of("label in the ranges", name, seen)
    stated = {**(dict.fromkeys(seen, everyone) if everyone else {}), **stated}
    for name, ends in seen.items():
        if name in stated:
            ranges[name] = Range(*map(float, stated[name]), "given")
        elif ends is None:
            continue
        elif name in known and known[name][0] <= ends[0] <= ends[1] <= known[name][1]:
            ranges[name] = Range(*known[name], "known")
        else:
            ranges[name] = seen_range(*ends)
        if name in stated and ends is not None and not ranges[name].low <= ends[0] <= ends[1] <= ranges[name].high:
            raise InputError(
                f"label {name!r}: some values lie outside of {ranges[name].low:g} to {ranges[name].high:g}, the range "
                "that was given: correct the range, or the table"
            )
    return ranges


def read_ranges(text: str) -> dict[str, tuple[float, float]]:
    """Ends of scales from `NAME:LOW:HIGH,...`, as command lines have them; `*` stands for all labels.

    Raises:
      InputError: not of that form, a label twice, or ends in the wrong order.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for part in filter(None, text.split(",")):
        name, *ends = part.strip().rsplit(":", 2)
        try:
            low, high = map(float, ends)
        except ValueError:
            low = high = math.nan
        if not -math.inf < low < high < math.inf or high <= 0 or name in ranges:
            raise InputError(
                f"range {part.strip()[:80]!r}: write NAME:LOW:HIGH, with commas between labels, each once, such as "
                "stress:0:3,valence:-3:3; HIGH is above LOW and above 0"
            )
        ranges[name] = (low, high)
    return ranges


def with_ranges(tasks: Iterable[Task], ranges: Mapping[str, Range]) -> tuple[Task, ...]:
    """The tasks, with the ends of their label's scale where they name none of their own.

    Raises:
      InputError: a score without a maximum, of a label whose scale is not known.
    """
    scaled = []
    for task in tasks:
        known = ranges.get(task.label)
        if task.maximum is None and known is None:
            raise InputError(
                f"task {task.name!r}: neither the task nor the corpus says how high {task.label!r} can be: give the "
                "task a maximum"
            )
        high = known.high if task.maximum is None else task.maximum
        low = known.low if task.minimum is None else task.minimum
        scaled.append(dataclasses.replace(task, maximum=float(high), minimum=float(low)))
    return tuple(scaled)


def with_classes(
    tasks: Iterable[Task], classes: Mapping[str, Sequence[str]], labels: Mapping[str, Float[np.ndarray, " n"]]
) -> tuple[Task, ...]:
    """The tasks, with the values that their classes have in a corpus.

    Args:
      tasks: what is asked.
      classes: names of the values 0, 1, ... by label, of `corpus.json`.
      labels: of all participants, NaN where missing.

    Raises:
      InputError: a class that the label has not, a label without names of which all classes are asked, fewer than two
        classes, or another question about classes.
    """
    named = []
    for task in tasks:
        names, asked = tuple(classes.get(task.label, ())), task.classes
        if names and not task.named:
            raise InputError(
                f"task {task.name!r}: {task.label!r} holds classes ({', '.join(names)}), not scores: ask which of them "
                f"it is, in configs/interviews.py with {task.label}={EVERY}"
            )
        if not names and asked == (EVERY,):
            raise InputError(
                f"task {task.name!r}: the corpus names no classes of {task.label!r}: ask for the score or a cut-off, "
                "or give the classes in the order of their values"
            )
        if names:
            there = set(labels[task.label].tolist())
            asked = tuple(name for i, name in enumerate(names) if i in there) if asked == (EVERY,) else asked
            unknown = [name for name in asked if name not in names]
            if unknown:
                raise one_of(f"class of {task.label!r}", unknown[0], names)
            codes = () if asked == names else tuple(float(names.index(name)) for name in asked)
            task = dataclasses.replace(task, classes=asked, codes=codes)
        named.append(task)
    return tuple(named)


def questionnaire(label: str, name: str, cutoff: float = 10, kinds: Iterable[str] | None = None) -> tuple[Task, ...]:
    """The usual tasks of one questionnaire: `<name>_screen`, `<name>_bands`, `<name>_score`."""
    if label not in SCORE_MAXIMUM:
        raise one_of("questionnaire", label, SCORE_MAXIMUM)
    tasks = {
        "binary": Task(f"{name}_screen", label, "binary", (cutoff,), SCORE_MAXIMUM[label]),
        "ordinal": Task(f"{name}_bands", label, "ordinal", BANDS[label], SCORE_MAXIMUM[label]),
        "regression": Task(f"{name}_score", label, "regression", (), SCORE_MAXIMUM[label]),
    }
    return tuple(tasks[kind] for kind in kinds or tasks)


def from_config(entries: Iterable[Mapping[str, Any]]) -> tuple[Task, ...]:
    """Tasks from a config's list of plain dictionaries, as `to_config` writes them."""
    lists = ("cutoffs", "classes", "codes")
    tasks = tuple(Task(**{**entry, **{name: tuple(entry.get(name, ())) for name in lists}}) for entry in entries)
    names = [task.name for task in tasks]
    if not tasks:
        raise InputError("config.tasks is empty: give at least one task")
    if len(set(names)) != len(names):
        raise InputError(f"config.tasks repeats a name: {names}: give every task its own")
    return tasks


def to_config(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Plain dictionaries for a ConfigDict or a JSON file."""
    entries = [{**dataclasses.asdict(task), "cutoffs": tuple(task.cutoffs)} for task in tasks]
    return [{name: value for name, value in entry.items() if value or name != "codes"} for entry in entries]

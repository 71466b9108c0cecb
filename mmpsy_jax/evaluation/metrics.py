"""Every metric, once: its name for people, which way is better, when it is undefined, and its value for many samples.

A metric is a function under `metric`; the tables, the page, the bootstrap and the selection of epochs follow. It gets
the sums of r samples (`rows.py`) and returns a number each, NaN where it is undefined. Tests hold all of them against
scikit-learn and scipy, sample by sample.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import xlogy

from mmpsy_jax.evaluation.logistic import ratio
from mmpsy_jax.evaluation.rows import (
    BinaryRows,
    BinarySums,
    ClassRows,
    ConfusionSums,
    Counts,
    Rows,
    ScoreRows,
    ScoreSums,
    Statistic,
    dot,
    variance,
)
from mmpsy_jax.tasks import Task

# Equal-mass bins of the expected calibration error.
ECE_BINS = 10

ONE_CLASS = "all participants belong to one class"
CONSTANT = "the prediction or the truth is the same for everybody"
EMPTY = "no participant with a known label"
SEPARATED = "no finite slope: the predictions separate the classes or are the same for everybody"
NONE_POSITIVE = "nobody is predicted positive"
NONE_NEGATIVE = "nobody is predicted negative"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of a kind of task.

    Attributes:
      name: in files.
      label: for people.
      better: 1 where more is better, -1 where less is, 0 for a best value in the middle (slope 1, intercept 0).
      values: from the sums of r samples to [r].
      undefined: why it is NaN, or a function of the sums of the table that says it.
      headline: stands in summaries.
      at_threshold: is one of a decision; then `values` takes `Counts`, and else sums of the kind.
    """

    name: str
    label: str
    better: int
    values: Callable[[Any], Float[np.ndarray, " r"]]
    undefined: str | Callable[[Any], str]
    headline: bool = False
    at_threshold: bool = False

    def of(self, sums: Any) -> Float[np.ndarray, " r"]:
        """Values of r samples."""
        return self.values(sums.decided if self.at_threshold else sums)

    def reason(self, sums: Any) -> str:
        """Why it is undefined for the table."""
        if isinstance(self.undefined, str):
            return self.undefined
        return self.undefined(sums.decided if self.at_threshold else sums)


# By kind of task; the first of each is the one by which models are compared.
METRICS: dict[str, dict[str, Metric]] = {}


def metric(kind: str, label: str, better: int, undefined: str | Callable[[Any], str], **options: Any) -> Callable:
    """Makes a metric of a function; its name is that of the function, or `name`. Arguments as of `Metric`."""

    def register(values: Callable) -> Callable:
        name = options.pop("name", values.__name__)
        METRICS.setdefault(kind, {})[name] = Metric(name, label, better, values, undefined, **options)
        return values

    return register


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics by name, and the reason for each that is NaN."""

    values: dict[str, float]
    reasons: dict[str, str]


def rows_of(
    task: Task,
    y_true: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"] | None = None,
) -> Rows:
    """The rows of a task: `y` are probabilities of an event, else predictions; `positive` are decisions."""
    if task.event:
        return BinaryRows(y_true, y, positive, task.kind)
    return ClassRows(y_true, y, task.n_classes, task.kind) if task.n_classes else ScoreRows(y_true, y, task.kind)


def point(rows: Rows, names: Sequence[str] | None = None) -> Scores:
    """Metrics of the table itself, with the reason for each that is undefined; all of them, or those named."""
    chosen = _chosen(rows, names)
    if not len(rows):
        return Scores({m.name: math.nan for m in chosen}, {m.name: EMPTY for m in chosen})
    sums = rows.sums(np.ones((1, len(rows))))
    values = {m.name: float(m.of(sums)[0]) for m in chosen}
    return Scores(values, {m.name: m.reason(sums) for m in chosen if math.isnan(values[m.name])})


def statistic(rows: Rows, names: Sequence[str] | None = None) -> Statistic:
    """Weights of r samples [r n] to their metrics [r k]: all of the kind in the order of `METRICS`, or those named."""
    chosen = _chosen(rows, names)

    def values(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
        sums = rows.sums(weights)
        return np.stack([m.of(sums) for m in chosen], axis=1)

    return values


def _chosen(rows: Rows, names: Sequence[str] | None) -> list[Metric]:
    of_kind = METRICS[rows.kind]
    return [of_kind[name] for name in names] if names is not None else list(of_kind.values())


def decisions(y_true: Float[np.ndarray, " n"], positive: Bool[np.ndarray, "n m"], names: Sequence[str]) -> Statistic:
    """Statistic of m decisions on the same rows: the metrics `names` of the first, then of the next."""
    columns = np.concatenate([BinaryRows(y_true, y_true, called).cells for called in positive.T], axis=1)

    def values(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
        counts = Counts(*np.moveaxis((weights @ columns).reshape(len(weights), -1, 4), 2, 0))
        columns_of = [METRICS["binary"][name].values(counts) for name in names]
        return np.stack(columns_of, axis=2).reshape(len(weights), -1)

    return values


# Binary tasks: ranking.


@metric("binary", "AUROC", 1, ONE_CLASS, headline=True)
def auroc(s: BinarySums) -> np.ndarray:
    """Share of pairs in which the positive has the higher value, ties counting half (Mann-Whitney)."""
    at_positive, at_negative = s.at
    won = dot(at_positive, s.to[1]) - dot(at_positive, at_negative) / 2
    return ratio(won, s.positives * s.negatives)


@metric("binary", "AUPRC", 1, ONE_CLASS, headline=True)
def auprc(s: BinarySums) -> np.ndarray:
    """Mean precision over the positives, the thresholds from high to low, as scikit-learn's average precision."""
    (at_positive, at_negative), (to_positive, to_negative) = s.at, s.to
    hits = s.positives[:, None] - to_positive + at_positive
    called = s.negatives[:, None] - to_negative + at_negative + hits
    np.divide(hits, called, out=hits, where=called > 0)  # no hits where nobody is called
    return np.where(s.negatives > 0, ratio(dot(at_positive, hits), s.positives), np.nan)


# Binary tasks: probabilities.


@metric("binary", "Brier score", -1, EMPTY)
def brier(s: BinarySums) -> np.ndarray:
    """Mean squared error of the probability (Brier 1950)."""
    return s.losses[0]


@metric("binary", "Brier skill", 1, ONE_CLASS)
def brier_skill(s: BinarySums) -> np.ndarray:
    """1 - Brier score / that of the prevalence."""
    return 1 - ratio(s.losses[0], s.positives * s.negatives / (s.positives + s.negatives) ** 2)


@metric("binary", "log loss", -1, EMPTY)
def log_loss(s: BinarySums) -> np.ndarray:
    """Mean negative logarithm of the probability of the truth, probabilities kept `MARGIN` from the ends."""
    return s.losses[1]


@metric("binary", "ECE (10 bins of equal mass)", -1, EMPTY)
def ece(s: BinarySums) -> np.ndarray:
    """Expected calibration error: mean distance of probability and share of positives over bins of equal mass.

    A bin is the tenth in which the middle of the ranks lies (`label_tables.calibration_bins`), cut anew in each sample.
    """
    (at_positive, at_negative), (to_positive, to_negative) = s.at, s.to
    mass, reached = at_positive + at_negative, to_positive + to_negative
    total = reached[:, -1:].copy()  # `reached` is reused below
    # Every bin but the first begins with the first value whose middle rank reaches its edge. That is the first value
    # whose last rank does, or the next one.
    edges = total * np.arange(1, ECE_BINS) / ECE_BINS
    cuts = np.stack([np.searchsorted(row, edge) for row, edge in zip(reached, edges, strict=True)])
    middle = np.take_along_axis(reached, cuts, axis=1) - np.take_along_axis(mass, cuts, axis=1) / 2
    cuts += ECE_BINS * middle < total * np.arange(1, ECE_BINS)
    mass *= s.rows.ties.values
    gaps = np.subtract(to_positive, np.cumsum(mass, axis=1, out=reached), out=reached)
    before = np.where(cuts > 0, np.take_along_axis(gaps, np.maximum(cuts - 1, 0), axis=1), 0.0)
    ends = np.zeros_like(total)
    return np.abs(np.diff(np.concatenate([ends, before, gaps[:, -1:]], axis=1), axis=1)).sum(1) / total[:, 0]


@metric("binary", "calibration slope", 0, lambda s: SEPARATED if s.both[0] else ONE_CLASS)
def calibration_slope(s: BinarySums) -> np.ndarray:
    """Slope of a logistic regression of the outcome on the log odds (`logistic.py`)."""
    return s.rows.calibration_line(slope=True).fit(s.weights, s.both & s.overlap)[:, 1]


@metric("binary", "calibration intercept", 0, ONE_CLASS)
def calibration_intercept(s: BinarySums) -> np.ndarray:
    """Calibration in the large (`logistic.py`)."""
    return s.rows.calibration_line(slope=False).fit(s.weights, s.both)[:, 0]


# Binary tasks: a decision.


@metric("binary", "sensitivity", 1, ONE_CLASS, at_threshold=True)
def sensitivity(c: Counts) -> np.ndarray:
    """Share of the positives who are called."""
    return ratio(c.tp, c.positives)


@metric("binary", "specificity", 1, ONE_CLASS, at_threshold=True)
def specificity(c: Counts) -> np.ndarray:
    """Share of the negatives who are not called."""
    return ratio(c.tn, c.negatives)


@metric("binary", "PPV", 1, NONE_POSITIVE, at_threshold=True)
def ppv(c: Counts) -> np.ndarray:
    """Share of positives among those who are called."""
    return ratio(c.tp, c.tp + c.fp)


@metric("binary", "NPV", 1, NONE_NEGATIVE, at_threshold=True)
def npv(c: Counts) -> np.ndarray:
    """Share of negatives among those who are not called."""
    return ratio(c.tn, c.tn + c.fn)


@metric("binary", "F1 of the positive class", 1, ONE_CLASS, at_threshold=True)
def f1(c: Counts) -> np.ndarray:
    """Harmonic mean of PPV and sensitivity."""
    return c.f1[0]


@metric("binary", "macro F1", 1, ONE_CLASS, at_threshold=True)
def f1_macro(c: Counts) -> np.ndarray:
    """Mean of the F1 of both classes."""
    return sum(c.f1) / 2


@metric("binary", "weighted F1", 1, ONE_CLASS, at_threshold=True)
def f1_weighted(c: Counts) -> np.ndarray:
    """Mean of the F1 of both classes, by their shares."""
    return ratio(c.positives * c.f1[0] + c.negatives * c.f1[1], c.positives + c.negatives)


@metric("binary", "balanced accuracy (UAR)", 1, ONE_CLASS, at_threshold=True)
def balanced_accuracy(c: Counts) -> np.ndarray:
    """Mean of sensitivity and specificity."""
    return (sensitivity(c) + specificity(c)) / 2


def _no_correlation(c: Counts) -> str:
    if not (c.positives.all() and c.negatives.all()):
        return ONE_CLASS
    return NONE_NEGATIVE if (c.tp + c.fp).any() else NONE_POSITIVE


@metric("binary", "MCC", 1, _no_correlation, at_threshold=True)
def mcc(c: Counts) -> np.ndarray:
    """Matthews' correlation coefficient (1975), NaN where one side is constant."""
    spread = np.sqrt(1.0 * c.positives * c.negatives) * np.sqrt(1.0 * (c.tp + c.fp) * (c.tn + c.fn))
    return ratio(c.tp * c.tn - c.fp * c.fn, spread)


# Bands.


@metric("ordinal", "quadratic weighted kappa", 1, CONSTANT, headline=True)
def qwk(s: ConfusionSums) -> np.ndarray:
    """Cohen's kappa with quadratic weights (1968)."""
    expected = np.einsum("ri,rj,ij->r", s.occur, s.called, s.distance**2) / s.total
    return 1 - ratio(np.einsum("rij,ij->r", s.counts, s.distance**2), expected)


@metric("ordinal", "macro MAE (bands)", -1, EMPTY, headline=True)
def macro_mae(s: ConfusionSums) -> np.ndarray:
    """Mean over the bands that occur of the mean distance in bands (Baccianella et al. 2009).

    Rare severe bands count as much as the common mild one.
    """
    per_band = ratio(np.einsum("rij,ij->ri", s.counts, s.distance), s.occur)
    return np.nansum(per_band, axis=1) / (s.occur > 0).sum(1)


@metric("ordinal", "accuracy", 1, EMPTY)
def accuracy(s: ConfusionSums) -> np.ndarray:
    """Share of rows in their class."""
    return ratio(s.hits.sum(-1), s.total)


# Scores.


@metric("regression", "MAE", -1, EMPTY, headline=True)
def mae(s: ScoreSums) -> np.ndarray:
    """Mean absolute error in points."""
    return s.absolute


@metric("regression", "RMSE", -1, EMPTY)
def rmse(s: ScoreSums) -> np.ndarray:
    """Root of the mean squared error in points."""
    return np.sqrt(s.squared)


@metric("regression", "CCC", 1, CONSTANT, headline=True)
def ccc(s: ScoreSums) -> np.ndarray:
    """Lin's concordance (1989, population moments): 2 cov / (var_true + var_pred + (mean_true - mean_pred)^2)."""
    return ratio(2 * s.covariance, sum(s.variances) + (s.mean_t - s.mean_p) ** 2)


@metric("regression", "Pearson r", 1, CONSTANT)
def pearson(s: ScoreSums) -> np.ndarray:
    """Linear correlation."""
    return ratio(s.covariance, np.sqrt(s.variances[0] * s.variances[1]))


@metric("regression", "Spearman rho", 1, CONSTANT)
def spearman(s: ScoreSums) -> np.ndarray:
    """Correlation of ranks, from the sums at distinct values where these suffice."""
    x, y = s.rows.ties
    sums_x, sums_y = x.sums(s.weights), y.sums(s.weights)
    ranks_x, ranks_y = x.ranks(sums_x), y.ranks(sums_y)
    total = s.weights.sum(1)
    xy = dot(y.sums(s.weights * np.take(ranks_x, x.group, axis=1)), ranks_y) / total
    xx, yy = (variance(dot(sums * ranks, ranks) / total, 0.0) for sums, ranks in ((sums_x, ranks_x), (sums_y, ranks_y)))
    return ratio(xy, np.sqrt(xx * yy))


# Counts; y_pred is a rate.

NO_RATE = "a prediction is 0 or below"


def _unit_deviance(y_true: Float[np.ndarray, " n"], rate: Float[np.ndarray, " n"] | float) -> Float[np.ndarray, " n"]:
    with np.errstate(divide="ignore"):
        return 2 * (xlogy(y_true, y_true) - xlogy(y_true, rate) + rate - y_true)


@metric("count", "deviance explained", 1, lambda s: CONSTANT if (s.rows.y_pred > 0).all() else NO_RATE, headline=True)
def deviance_explained(s: ScoreSums) -> np.ndarray:
    """1 - Poisson deviance / that of the mean count (D^2, McCullagh and Nelder 1989)."""
    y, total = s.rows.y_true[s.rows.order], s.weights.sum(1)
    mean = s.weights @ y / total
    of_mean = 2 * (s.weights @ xlogy(y, y) / total - xlogy(mean, mean))
    # Rounding noise of equal counts is no deviance.
    return 1 - ratio(poisson_deviance(s), np.where(of_mean > 1e-12 * np.maximum(mean, 1e-300), of_mean, 0.0))


metric("count", "MAE", -1, EMPTY, headline=True)(mae)


@metric("count", "Poisson deviance", -1, NO_RATE)
def poisson_deviance(s: ScoreSums) -> np.ndarray:
    """Mean of 2 (y ln(y / rate) - y + rate), NaN where a rate is not positive."""
    deviance = _unit_deviance(s.rows.y_true, s.rows.y_pred)[s.rows.order]
    return s.weights @ deviance / s.weights.sum(1) if (s.rows.y_pred > 0).all() else np.full(len(s.weights), np.nan)


metric("count", "RMSE", -1, EMPTY)(rmse)
metric("count", "Spearman rho", 1, CONSTANT)(spearman)


# Numbers on another scale than the truth.

metric("ranking", "Spearman rho", 1, CONSTANT, headline=True)(spearman)
metric("ranking", "Pearson r", 1, CONSTANT, headline=True)(pearson)


# Classes without an order.


@metric("nominal", "balanced accuracy (UAR)", 1, CONSTANT, headline=True, name="balanced_accuracy")
def mean_recall(s: ConfusionSums) -> np.ndarray:
    """Mean recall of the classes that occur (in speech, unweighted average recall)."""
    return ratio(np.nansum(ratio(s.hits, s.occur), axis=-1), (s.occur > 0).sum(-1))


@metric("nominal", "macro F1", 1, CONSTANT, headline=True, name="f1_macro")
def class_f1_macro(s: ConfusionSums) -> np.ndarray:
    """Mean F1 of the classes that occur or are predicted."""
    return s.of_labels[1]["f1_macro"]


@metric("nominal", "weighted F1", 1, CONSTANT, name="f1_weighted")
def class_f1_weighted(s: ConfusionSums) -> np.ndarray:
    """Mean F1, by how often a class occurs."""
    return s.of_labels[1]["f1_weighted"]


metric("nominal", "accuracy", 1, EMPTY)(accuracy)


@metric("nominal", "Cohen's kappa", 1, CONSTANT)
def kappa(s: ConfusionSums) -> np.ndarray:
    """Cohen's (1960), NaN where truth and prediction are one and the same class."""
    by_chance = ratio((s.occur * s.called).sum(-1), s.total**2)
    return ratio(accuracy(s) - by_chance, 1 - by_chance)


# Derived names, so that a metric is written in one place.
NAMES = {kind: {m.name: m.better for m in of_kind.values()} for kind, of_kind in METRICS.items()}
HEADLINE = {kind: tuple(m.name for m in of_kind.values() if m.headline) for kind, of_kind in METRICS.items()}
LABELS = {m.name: m.label for of_kind in METRICS.values() for m in of_kind.values()}

"""Rows of one table, prepared once, and the sums over many reweighted samples of them that metrics are made of.

A resample of participants is a row of weights: how often each row of the table was drawn. A metric is then made of
matrix products (sums of errors, counts) or of cumulative sums along the sorted predictions (AUROC, AUPRC, ranks), so
that 2,000 resamples cost one pass over arrays instead of 2,000 calls. The table itself is the sample of weights one.
Sums are computed when a metric first asks for them, and once.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mmpsy_jax.evaluation import logistic
from mmpsy_jax.evaluation.logistic import MARGIN, ratio

# Columns are picked by np.take: indexing as in weights[:, order] would lay the samples out interleaved, which doubles
# the time of all that follows.

# Weights of r samples over n rows to k numbers of each sample.
Statistic = Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, "r k"]]


def where_drawn(statistic: Statistic, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
    """A statistic of part of the rows: NaN for resamples that drew none of them."""
    drawn = weights.any(1)
    if drawn.all():
        return statistic(weights)
    values = statistic(np.where(drawn[:, None], weights, 1.0))
    values[~drawn] = np.nan
    return values


class Ties:
    """Sorted distinct values of a column, and the sum of weights at each of them."""

    def __init__(self, column: Float[np.ndarray, " n"]):
        self.order = np.argsort(column, kind="stable")
        self.sorted = bool((np.diff(self.order) == 1).all())
        ordered = column[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.values = ordered[self.starts]
        self.group = np.empty(len(column), np.int64)
        self.group[self.order] = np.cumsum(np.isin(np.arange(len(column)), self.starts)) - 1

    def sums(self, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r g"]:
        """Weight at each distinct value, ascending."""
        return self._reduced(weights if self.sorted else np.take(weights, self.order, axis=1))

    def sums_by_class(
        self, weights: Float[np.ndarray, "r n"], y_true: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, "r g"], Float[np.ndarray, "r g"]]:
        """Weight of the positives and of the negatives at each distinct value, ascending."""
        ordered = np.take(weights, self.order, axis=1)  # the costly step: done once for both
        at_positive = ordered * y_true[self.order]
        return self._reduced(at_positive), self._reduced(ordered - at_positive)

    def _reduced(self, ordered: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r g"]:
        return ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)

    def ranks(self, sums: Float[np.ndarray, "r g"]) -> Float[np.ndarray, "r g"]:
        """Rank of each distinct value within each sample, less the mean rank; ties have the mean of theirs."""
        reached = np.cumsum(sums, axis=1)
        # Centred, so that the sums of squares keep their digits.
        return reached - (sums + reached[:, -1:]) / 2


@dataclasses.dataclass(frozen=True)
class BinaryRows:
    """Rows of a screening task.

    Attributes:
      y_true: 0 or 1.
      y_prob: probability of 1, or for AUROC and AUPRC any number that is meant to be larger for positives.
      positive: the decision, `y_prob` >= the threshold that was chosen on validation; per row, since every fold of a
        cross-validation has its own threshold. None where no metric at a threshold is asked for.
    """

    y_true: Float[np.ndarray, " n"]
    y_prob: Float[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"] | None = None
    kind: str = "binary"

    def __len__(self) -> int:
        return len(self.y_true)

    def sums(self, weights: Float[np.ndarray, "r n"]) -> "BinarySums":
        """What metrics are made of, for each sample."""
        return BinarySums(self, weights)

    @cached_property
    def ties(self) -> Ties:
        """Of the predictions."""
        return Ties(self.y_prob)

    @cached_property
    def cells(self) -> Float[np.ndarray, "n 4"]:
        """Indicators of true and false positives, false and true negatives."""
        called = self.positive
        return np.stack(
            [self.y_true * called, (1 - self.y_true) * called, self.y_true * ~called, (1 - self.y_true) * ~called], 1
        )

    @cached_property
    def losses(self) -> Float[np.ndarray, "n 2"]:
        """Squared error and logarithmic loss."""
        clipped = np.clip(self.y_prob, MARGIN, 1 - MARGIN)
        log_loss = -np.log(np.where(self.y_true == 1, clipped, 1 - clipped))
        return np.stack([(self.y_prob - self.y_true) ** 2, log_loss], axis=1)

    def calibration_line(self, *, slope: bool) -> logistic.Regression:
        """Regression of the outcome on the log odds, with or without a slope."""
        return self._line if slope else self._shift

    @cached_property
    def _line(self) -> logistic.Regression:
        return logistic.Regression(self.y_true, logistic.logit(self.y_prob), slope=True)

    @cached_property
    def _shift(self) -> logistic.Regression:
        return logistic.Regression(self.y_true, logistic.logit(self.y_prob), slope=False)


class Counts:
    """True and false positives, false and true negatives: [r] of r samples, or of any shape."""

    def __init__(self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray):
        self.tp, self.fp, self.fn, self.tn = tp, fp, fn, tn

    @cached_property
    def positives(self) -> np.ndarray:
        """Rows whose truth is 1."""
        return self.tp + self.fn

    @cached_property
    def negatives(self) -> np.ndarray:
        """Rows whose truth is 0."""
        return self.fp + self.tn

    @cached_property
    def f1(self) -> tuple[np.ndarray, np.ndarray]:
        """F1 of the positives and of the negatives."""
        wrong = self.fp + self.fn
        return ratio(2 * self.tp, 2 * self.tp + wrong), ratio(2 * self.tn, 2 * self.tn + wrong)


class BinarySums:
    """Sums over r samples of `BinaryRows`."""

    def __init__(self, rows: BinaryRows, weights: Float[np.ndarray, "r n"]):
        self.rows, self.weights = rows, weights

    @cached_property
    def decided(self) -> Counts:
        """Counts of the decisions."""
        return Counts(*(self.weights @ self.rows.cells).T)

    @cached_property
    def at(self) -> tuple[Float[np.ndarray, "r g"], Float[np.ndarray, "r g"]]:
        """Weight of the positives and of the negatives at each distinct prediction, ascending."""
        return self.rows.ties.sums_by_class(self.weights, self.rows.y_true)

    @cached_property
    def to(self) -> tuple[Float[np.ndarray, "r g"], Float[np.ndarray, "r g"]]:
        """The same up to and with each distinct prediction."""
        return np.cumsum(self.at[0], axis=1), np.cumsum(self.at[1], axis=1)

    @cached_property
    def positives(self) -> Float[np.ndarray, " r"]:
        """Weight of the positives."""
        return self.to[0][:, -1]

    @cached_property
    def negatives(self) -> Float[np.ndarray, " r"]:
        """Weight of the negatives."""
        return self.to[1][:, -1]

    @cached_property
    def both(self) -> Bool[np.ndarray, " r"]:
        """Whether both classes occur."""
        return (self.positives > 0) & (self.negatives > 0)

    @cached_property
    def losses(self) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        """Mean squared error and mean logarithmic loss."""
        return tuple((self.weights @ self.rows.losses).T / (self.positives + self.negatives))

    @cached_property
    def overlap(self) -> Bool[np.ndarray, " r"]:
        """Whether the predictions of the two classes overlap, not only touch: `not logistic.separated`."""
        (first, last), (first_negative, last_negative) = map(_range, self.at)
        return (first < last_negative) & (first_negative < last)


def _range(mass: Float[np.ndarray, "r g"]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first and the last value with mass."""
    there = mass > 0
    return there.argmax(1), there.shape[1] - 1 - there[:, ::-1].argmax(1)


@dataclasses.dataclass(frozen=True)
class ClassRows:
    """Rows of a task of classes.

    Attributes:
      y_true: 0, 1, ...
      y_pred: the predicted class, or an expected band (a float), which counts as the nearest one.
      classes: how many there are.
    """

    y_true: Float[np.ndarray, " n"]
    y_pred: Float[np.ndarray, " n"]
    classes: int
    kind: str = "nominal"

    def __len__(self) -> int:
        return len(self.y_true)

    def sums(self, weights: Float[np.ndarray, "r n"]) -> "ConfusionSums":
        """What metrics are made of, for each sample."""
        return ConfusionSums((weights @ self._cells).reshape(len(weights), self.classes, self.classes))

    @cached_property
    def _cells(self) -> Float[np.ndarray, "n cells"]:
        return np.eye(self.classes**2)[(self.y_true * self.classes + self._nearest).astype(int)]

    @cached_property
    def _nearest(self) -> Float[np.ndarray, " n"]:
        return rounded_band(self.y_pred, self.classes)

    def confusion(self) -> Int[np.ndarray, "k k"]:
        """Counts of participants, truth in rows and prediction in columns."""
        counts = np.zeros((self.classes, self.classes), np.int64)
        np.add.at(counts, (self.y_true.astype(int), self._nearest.astype(int)), 1)
        return counts


class ConfusionSums:
    """Confusion matrices [r k k] of r samples, truth in rows, and their margins [r k]."""

    def __init__(self, counts: Float[np.ndarray, "*r k k"] | Int[np.ndarray, "*r k k"]):
        self.counts = np.asarray(counts, np.float64)
        self.hits = np.diagonal(self.counts, axis1=-2, axis2=-1)
        self.occur, self.called = self.counts.sum(-1), self.counts.sum(-2)
        self.total = self.occur.sum(-1)

    @cached_property
    def distance(self) -> Float[np.ndarray, "k k"]:
        """Of bands."""
        bands = np.arange(self.counts.shape[-1])
        return np.abs(np.subtract.outer(bands, bands)).astype(float)

    @cached_property
    def of_labels(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Precision, recall and F1 of each class, and their means."""
        return of_labels(self.hits, self.called - self.hits, self.occur - self.hits)


def rounded_band(y_pred: Float[np.ndarray, " n"], classes: int) -> Float[np.ndarray, " n"]:
    """The expected band (a float) to the nearest band; halves go up, values beyond the ends to the last band."""
    return np.clip(np.floor(y_pred + 0.5), 0, classes - 1)


def of_labels(
    tp: Float[np.ndarray, "*r k"], fp: Float[np.ndarray, "*r k"], fn: Float[np.ndarray, "*r k"]
) -> tuple[dict[str, Float[np.ndarray, "*r k"]], dict[str, Float[np.ndarray, "*r"]]]:
    """Precision, recall and F1 of k labels from counts, and their micro, macro and weighted means.

    As scikit-learn's, a precision without predictions and a recall without cases are 0; unlike there, all three are
    NaN, and left out of the macro mean, for a label that has neither.
    """
    known = tp + fp + fn > 0

    def three(hits: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
        pairs = {
            "precision": (hits, hits + wrong),
            "recall": (hits, hits + missed),
            "f1": (2 * hits, 2 * hits + wrong + missed),
        }
        return {name: np.nan_to_num(ratio(*pair)) for name, pair in pairs.items()}

    each = {name: np.where(known, value, np.nan) for name, value in three(tp, fp, fn).items()}
    pooled = three(tp.sum(-1), fp.sum(-1), fn.sum(-1))
    weights = {"macro": known.astype(float), "weighted": tp + fn}
    means = {}
    for name, value in each.items():
        means[f"{name}_micro"] = np.where(known.any(-1), pooled[name], np.nan)
        for kind, weight in weights.items():
            means[f"{name}_{kind}"] = ratio((np.nan_to_num(value) * weight).sum(-1), weight.sum(-1))
    return each, means


@dataclasses.dataclass(frozen=True)
class ScoreRows:
    """Rows of a score, in points."""

    y_true: Float[np.ndarray, " n"]
    y_pred: Float[np.ndarray, " n"]
    kind: str = "regression"

    def __len__(self) -> int:
        return len(self.y_true)

    def sums(self, weights: Float[np.ndarray, "r n"]) -> "ScoreSums":
        """What metrics are made of, for each sample."""
        return ScoreSums(self, np.take(weights, self.order, axis=1))

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """That of the predictions, whose ranks are then cumulative sums of the weights as they stand."""
        return np.argsort(self.y_pred, kind="stable")

    @cached_property
    def columns(self) -> Float[np.ndarray, "n 8"]:
        """Powers of truth and prediction about the mean truth, so that differences of sums lose no digits; errors."""
        t, p = (column[self.order] - self.y_true.mean() for column in (self.y_true, self.y_pred))
        return np.stack([np.ones_like(t), t, p, t * t, p * p, t * p, np.abs(t - p), (t - p) ** 2], axis=1)

    @cached_property
    def ties(self) -> tuple[Ties, Ties]:
        """Of truth and prediction, in that order."""
        return Ties(self.y_true[self.order]), Ties(self.y_pred[self.order])


class ScoreSums:
    """Moments of r samples of `ScoreRows`; `absolute` and `squared` are mean errors."""

    def __init__(self, rows: ScoreRows, weights: Float[np.ndarray, "r n"]):
        self.rows, self.weights = rows, weights
        sums = (weights @ rows.columns).T
        _, self.mean_t, self.mean_p, self._tt, self._pp, self._tp, self.absolute, self.squared = sums / sums[0]

    @cached_property
    def variances(self) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        """Of truth and prediction."""
        return variance(self._tt, self.mean_t), variance(self._pp, self.mean_p)

    @cached_property
    def covariance(self) -> Float[np.ndarray, " r"]:
        """Of truth and prediction."""
        return self._tp - self.mean_t * self.mean_p


def variance(mean_square: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """Variance from the first two moments; rounding noise of a constant column counts as zero."""
    difference = mean_square - mean**2
    return np.where(difference > 1e-12 * np.maximum(mean_square, 1e-300), difference, 0.0)


def dot(a: Float[np.ndarray, "r n"], b: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    """Sum of products along each row."""
    return np.einsum("rn,rn->r", a, b)


Rows = BinaryRows | ClassRows | ScoreRows

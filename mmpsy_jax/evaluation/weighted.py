"""The metrics of `metrics.py` for many reweighted samples at once: what the bootstrap and the jackknife evaluate.

A resample of participants is a row of weights: how often each row of the table was drawn. A metric is then a matrix
product (sums of errors, counts) or a cumulative sum along the sorted predictions (AUROC, AUPRC, ranks), so that 2,000
resamples cost one pass over arrays instead of 2,000 calls. An undefined metric is NaN, never an error.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from mmpsy_jax.evaluation import logistic
from mmpsy_jax.evaluation.logistic import MARGIN, ratio
from mmpsy_jax.evaluation.metrics import AT_THRESHOLD, ECE_BINS, NAMES, from_confusion, from_counts, rounded_band

# Columns are picked by np.take: indexing as in weights[:, order] would lay the samples out interleaved, which doubles
# the time of all that follows.

# Weights of r samples over n rows to the metrics of each sample, in the order of `metrics.NAMES[kind]`.
Statistic = Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, "r k"]]


def where_drawn(statistic: Statistic, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
    """A statistic of part of the rows: NaN for resamples that drew none of them."""
    drawn = weights.any(1)
    if drawn.all():
        return statistic(weights)
    made = statistic(np.where(drawn[:, None], weights, 1.0))
    made[~drawn] = np.nan
    return made


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


def binary(
    y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> Statistic:
    """Statistic of `metrics.binary`."""
    ties, calibrated = Ties(y_prob), _Calibration(y_true, y_prob)
    cells = np.stack(_cells(y_true, positive), axis=1)

    def statistic(weights):
        tp, fp, fn, tn = (weights @ cells).T
        n_positive, n_negative = tp + fn, fp + tn
        at_positive, at_negative = ties.sums_by_class(weights, y_true)
        to_positive, to_negative = np.cumsum(at_positive, axis=1), np.cumsum(at_negative, axis=1)
        made = {
            "auroc": _auroc(at_positive, at_negative, to_negative),
            "auprc": _average_precision(at_positive, at_negative, to_positive, to_negative),
            **calibrated(weights, ties.values, at_positive, at_negative, to_positive, to_negative),
            **from_counts(tp, fp, fn, tn),
        }
        made["brier_skill"] = 1 - ratio(made["brier"], n_positive * n_negative / (n_positive + n_negative) ** 2)
        return np.stack([made[name] for name in NAMES["binary"]], axis=1)

    return statistic


def auroc(y_true: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> Statistic:
    """Statistic of the AUROC alone, of any number that is meant to be larger for positives."""
    ties = Ties(score)

    def statistic(weights):
        at_positive, at_negative = ties.sums_by_class(weights, y_true)
        return _auroc(at_positive, at_negative, np.cumsum(at_negative, axis=1))[:, None]

    return statistic


def calibration(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], names: Sequence[str]) -> Statistic:
    """Statistic of those metrics of `metrics.binary` that a map of the probabilities is meant to change.

    Args:
      y_true, y_prob: as there.
      names: of "brier", "log_loss", "ece", "calibration_slope" and "calibration_intercept", in the order wanted.
    """
    ties, calibrated = Ties(y_prob), _Calibration(y_true, y_prob)

    def statistic(weights):
        at_positive, at_negative = ties.sums_by_class(weights, y_true)
        reached = np.cumsum(at_positive, axis=1), np.cumsum(at_negative, axis=1)
        made = calibrated(weights, ties.values, at_positive, at_negative, *reached)
        return np.stack([made[name] for name in names], axis=1)

    return statistic


class _Calibration:
    """The metrics of `calibration` by name, from weights and from their sums at the distinct values."""

    def __init__(self, y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]):
        log_odds, clipped = logistic.logit(y_prob), np.clip(y_prob, MARGIN, 1 - MARGIN)
        self._line = logistic.Regression(y_true, log_odds, slope=True)
        self._shift = logistic.Regression(y_true, log_odds, slope=False)
        log_loss = -np.log(np.where(y_true == 1, clipped, 1 - clipped))
        self._columns = np.stack([(y_prob - y_true) ** 2, log_loss], axis=1)

    def __call__(self, weights, values, at_positive, at_negative, to_positive, to_negative) -> dict[str, np.ndarray]:
        n_positive, n_negative = to_positive[:, -1], to_negative[:, -1]
        both = (n_positive > 0) & (n_negative > 0)
        brier, loss = (weights @ self._columns).T / (n_positive + n_negative)
        return {
            "brier": brier,
            "log_loss": loss,
            "ece": _calibration_error(values, at_positive, at_negative, to_positive, to_negative),
            "calibration_slope": self._line.fit(weights, both & _overlap(at_positive, at_negative))[:, 1],
            "calibration_intercept": self._shift.fit(weights, both)[:, 0],
        }


def decisions(
    y_true: Float[np.ndarray, " n"], positive: Bool[np.ndarray, "n m"], names: Sequence[str] = AT_THRESHOLD
) -> Statistic:
    """Statistic of `metrics.decision` for m decisions on the same rows: the metrics `names` of the first, and so on."""
    columns = np.stack([cell for called in positive.T for cell in _cells(y_true, called)], axis=1)

    def statistic(weights):
        counts = (weights @ columns).reshape(len(weights), -1, 4)
        made = from_counts(*np.moveaxis(counts, 2, 0))
        return np.stack([made[name] for name in names], axis=2).reshape(len(weights), -1)

    return statistic


def _cells(y_true: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, ...]:
    """Indicators of true and false positives, false and true negatives."""
    return y_true * positive, (1 - y_true) * positive, y_true * ~positive, (1 - y_true) * ~positive


def _overlap(at_positive: Float[np.ndarray, "r g"], at_negative: Float[np.ndarray, "r g"]) -> Bool[np.ndarray, " r"]:
    """Whether the values of the two classes overlap, not only touch: `not logistic.separated`, for each sample."""
    (first, last), (first_negative, last_negative) = _range(at_positive), _range(at_negative)
    return (first < last_negative) & (first_negative < last)


def _range(mass: Float[np.ndarray, "r g"]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first and the last value with mass."""
    there = mass > 0
    return there.argmax(1), there.shape[1] - 1 - there[:, ::-1].argmax(1)


def _auroc(
    at_positive: Float[np.ndarray, "r g"], at_negative: Float[np.ndarray, "r g"], to_negative: Float[np.ndarray, "r g"]
) -> Float[np.ndarray, " r"]:
    """Share of pairs in which the positive has the higher value, ties counting half (Mann-Whitney)."""
    won = _dot(at_positive, to_negative) - _dot(at_positive, at_negative) / 2
    return ratio(won, at_positive.sum(1) * to_negative[:, -1])


def _average_precision(
    at_positive: Float[np.ndarray, "r g"],
    at_negative: Float[np.ndarray, "r g"],
    to_positive: Float[np.ndarray, "r g"],
    to_negative: Float[np.ndarray, "r g"],
) -> Float[np.ndarray, " r"]:
    """Mean precision over the positives, the thresholds from high to low, as scikit-learn defines it."""
    positives, negatives = to_positive[:, -1:], to_negative[:, -1:]
    hits = positives - to_positive + at_positive
    called = negatives - to_negative + at_negative + hits
    np.divide(hits, called, out=hits, where=called > 0)  # no hits where nobody is called
    area = ratio(_dot(at_positive, hits), positives[:, 0])
    return np.where(negatives[:, 0] > 0, area, np.nan)


def _calibration_error(
    values: Float[np.ndarray, " g"],
    at_positive: Float[np.ndarray, "r g"],
    at_negative: Float[np.ndarray, "r g"],
    to_positive: Float[np.ndarray, "r g"],
    to_negative: Float[np.ndarray, "r g"],
) -> Float[np.ndarray, " r"]:
    """`metrics.calibration_error`, the bins cut anew in each sample."""
    mass = at_positive + at_negative
    reached = to_positive + to_negative
    total = reached[:, -1:].copy()  # `reached` is reused below
    # Every bin but the first begins with the first value whose middle rank reaches its edge. That is the first value
    # whose last rank does, or the next one.
    edges = total * np.arange(1, ECE_BINS) / ECE_BINS
    cuts = np.stack([np.searchsorted(row, edge) for row, edge in zip(reached, edges, strict=True)])
    middle = np.take_along_axis(reached, cuts, axis=1) - np.take_along_axis(mass, cuts, axis=1) / 2
    cuts += ECE_BINS * middle < total * np.arange(1, ECE_BINS)
    mass *= values
    gaps = np.subtract(to_positive, np.cumsum(mass, axis=1, out=reached), out=reached)
    before = np.where(cuts > 0, np.take_along_axis(gaps, np.maximum(cuts - 1, 0), axis=1), 0.0)
    ends = np.zeros_like(total)
    return np.abs(np.diff(np.concatenate([ends, before, gaps[:, -1:]], axis=1), axis=1)).sum(1) / total[:, 0]


def _dot(a: Float[np.ndarray, "r n"], b: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    return np.einsum("rn,rn->r", a, b)


def ordinal(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], classes: int) -> Statistic:
    """Statistic of `metrics.ordinal`."""
    confusions = _confusions(y_true, rounded_band(y_pred, classes), classes)
    distance = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(float)

    def statistic(weights):
        counts = confusions(weights)
        total = counts.sum((1, 2))
        in_band, called = counts.sum(2), counts.sum(1)
        expected = np.einsum("ri,rj,ij->r", in_band, called, distance**2) / total
        kappa = 1 - ratio(np.einsum("rij,ij->r", counts, distance**2), expected)
        per_band = ratio(np.einsum("rij,ij->ri", counts, distance), in_band)
        present = (in_band > 0).sum(1)
        return np.stack(
            [kappa, np.nansum(per_band, axis=1) / present, np.einsum("rii->r", counts) / total],
            axis=1,
        )

    return statistic


def nominal(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], classes: int) -> Statistic:
    """Statistic of `metrics.nominal`."""
    confusions = _confusions(y_true, y_pred, classes)
    return lambda weights: np.stack(list(from_confusion(confusions(weights)).values()), axis=1)


def _confusions(
    y_true: Float[np.ndarray, " n"], y_class: Float[np.ndarray, " n"], classes: int
) -> Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, "r k k"]]:
    """Confusion matrices of weighted samples."""
    indicator = np.eye(classes**2)[(y_true * classes + y_class).astype(int)]
    return lambda weights: (weights @ indicator).reshape(len(weights), classes, classes)


def regression(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> Statistic:
    """Statistic of `metrics.regression`."""
    # In the order of the predictions, whose ranks are then cumulative sums of the weights as they stand.
    order = np.argsort(y_pred, kind="stable")
    y_true, y_pred = y_true[order], y_pred[order]
    # Moments about the means of the whole table, so that the differences of sums below lose no digits.
    t, p = y_true - y_true.mean(), y_pred - y_true.mean()
    columns = np.stack([np.ones_like(t), t, p, t * t, p * p, t * p, np.abs(t - p), (t - p) ** 2], axis=1)
    rank_correlation = _rank_correlation(Ties(y_true), Ties(y_pred))

    def statistic(weights):
        weights = np.take(weights, order, axis=1)
        sums = (weights @ columns).T
        _, mean_t, mean_p, tt, pp, tp, absolute, squared = sums / sums[0]
        return np.stack(
            [
                absolute,
                np.sqrt(squared),
                ratio(
                    2 * (tp - mean_t * mean_p), _variance(tt, mean_t) + _variance(pp, mean_p) + (mean_t - mean_p) ** 2
                ),
                _correlation(mean_t, mean_p, tt, pp, tp),
                rank_correlation(weights),
            ],
            axis=1,
        )

    return statistic


def _variance(mean_square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Variance from the first two moments; rounding noise of a constant column counts as zero."""
    variance = mean_square - mean**2
    return np.where(variance > 1e-12 * np.maximum(mean_square, 1e-300), variance, 0.0)


def _correlation(mean_x, mean_y, xx, yy, xy) -> np.ndarray:
    return ratio(xy - mean_x * mean_y, np.sqrt(_variance(xx, mean_x) * _variance(yy, mean_y)))


def _rank_correlation(x: Ties, y: Ties) -> Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, " r"]]:
    """Pearson's correlation of ranks, from the sums at distinct values where these suffice."""

    def correlation(weights):
        sums_x, sums_y = x.sums(weights), y.sums(weights)
        ranks_x, ranks_y = x.ranks(sums_x), y.ranks(sums_y)
        xy = _dot(y.sums(weights * np.take(ranks_x, x.group, axis=1)), ranks_y)
        xx, yy = (_dot(sums * ranks, ranks) for sums, ranks in ((sums_x, ranks_x), (sums_y, ranks_y)))
        total = weights.sum(1)
        return _correlation(0.0, 0.0, xx / total, yy / total, xy / total)

    return correlation

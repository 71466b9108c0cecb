"""Slope and intercept of calibration, for one table and for many reweighted samples of it at once.

They say how predicted log odds must be bent to fit the outcome (Cox 1958; Van Calster et al. 2019). The slope is that
of a logistic regression of the outcome on the log odds: below 1 the predictions are too extreme. The intercept "in the
large" is that of a regression into which the log odds enter with slope 1: below 0 the probabilities are too high.
"""

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

# Probabilities are kept this far from 0 and 1, where log odds and logarithmic loss are infinite.
MARGIN = 1e-7

# No step of Newton's method changes the log odds of a row by more than this. The loss then falls with every step,
# whatever the start: the curvature grows at most by the factor e^change on the way (Bach 2010, self-concordance).
_LARGEST_CHANGE = 1.0
# After a change as small as this the error is below its square, 4e-10.
_SMALLEST_CHANGE = 2e-5
_MAX_STEPS = 200
# Entries of the temporaries of a step: small enough for the cache.
_BLOCK = 1 << 16


def logit(prob: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Log odds, the probabilities kept `MARGIN` from 0 and 1."""
    return scipy.special.logit(np.clip(prob, MARGIN, 1 - MARGIN))


def ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    """Elementwise quotient, NaN for a denominator of zero."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator != 0)


class Regression:
    """Weighted logistic regression on x (intercept and slope), or of the intercept alone with x as offset.

    Args:
      y_true: 0 or 1.
      x: log odds.
      slope: whether the slope is fitted; else it is 1.

    Attributes:
      estimate: intercept and slope of the table itself; NaN where they do not exist.
    """

    def __init__(self, y_true: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"], *, slope: bool):
        self._slope = slope
        # In units of their spread about their mean, so that log odds that hardly differ (a prior of several folds) lose
        # no digits.
        self._mean, self._spread = x.mean(), x.std() or 1.0
        self._z = z = (x - self._mean) / self._spread
        # With p = (1 + tanh(odds / 2)) / 2 the gradient is that of y - 1/2 less half that of tanh, and the curvature
        # p (1 - p) a quarter of 1 - tanh^2: half of either sum does not depend on the coefficients.
        self._powers = np.stack([np.ones_like(z), z, z * z], axis=1)
        self._straight = np.concatenate([(y_true[:, None] - 0.5) * self._powers[:, :2], self._powers], axis=1)
        self._ends = np.array([z.min(), z.max()])
        self._begin(np.array([self._mean, self._spread]))  # intercept 0, slope 1
        exists = np.array([not separated(y_true, x) if slope else 0 < y_true.mean() < 1])
        everybody = self._maximum(np.ones((1, len(x))), exists)
        if exists[0]:
            self._begin(everybody[0])
        self.estimate = self._in_log_odds(everybody)[0]

    def _begin(self, start: Float[np.ndarray, " 2"]) -> None:
        """Samples start from one point, so that the sums of their first step are a matrix product."""
        self._start = start
        bend = np.tanh((start[0] + start[1] * self._z) / 2)[:, None]
        self._bent = np.concatenate([bend * self._powers[:, :2], bend**2 * self._powers], axis=1)

    def fit(self, weights: Float[np.ndarray, "r n"], exists: Bool[np.ndarray, " r"]) -> Float[np.ndarray, "r 2"]:
        """Intercept and slope of each sample; NaN where `exists` is False, which it must be where they are infinite."""
        return self._in_log_odds(self._maximum(weights, exists))

    def _in_log_odds(self, maximum: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, "r 2"]:
        slope = maximum[:, 1] / self._spread
        return np.stack([maximum[:, 0] - slope * self._mean, slope], axis=1)

    def _maximum(self, weights: Float[np.ndarray, "r n"], exists: Bool[np.ndarray, " r"]) -> Float[np.ndarray, "r 2"]:
        """Intercept and slope in z of the largest likelihood of each sample."""
        maximum = np.full((len(weights), 2), np.nan)
        maximum[exists] = self._start
        rows = np.flatnonzero(exists)
        straight, bent = (weights @ self._straight)[rows], (weights @ self._bent)[rows]
        for _ in range(_MAX_STEPS):
            change = self._step(straight, bent)
            maximum[rows] += change
            further = self._largest(change) > _SMALLEST_CHANGE
            rows, straight = rows[further], straight[further]
            if not len(rows):
                break
            bent = self._sums(weights if len(rows) == len(weights) else weights[rows], maximum[rows])
        maximum[rows] = np.nan
        return maximum

    def _sums(self, weights: Float[np.ndarray, "r n"], at: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, "r 5"]:
        """What `_bent` sums up, with the log odds of each sample's own coefficients."""
        sums = np.zeros((len(at), 5))
        width = max(1, _BLOCK // len(at))
        for start in range(0, len(self._z), width):
            part = slice(start, start + width)
            bend = np.tanh(at[:, :1] / 2 + at[:, 1:] / 2 * self._z[part])
            weighted = weights[:, part] * bend
            sums[:, :2] += weighted @ self._powers[part, :2]
            sums[:, 2:] += (weighted * bend) @ self._powers[part]
        return sums

    def _step(self, straight: Float[np.ndarray, "r 5"], bent: Float[np.ndarray, "r 5"]) -> Float[np.ndarray, "r 2"]:
        """Newton's step, shortened where it would change the log odds of a row by more than `_LARGEST_CHANGE`."""
        g0, g1 = (straight[:, :2] - bent[:, :2] / 2).T
        h00, h01, h11 = (straight[:, 2:] - bent[:, 2:]).T / 4
        if self._slope:
            determinant = h00 * h11 - h01**2
            step = np.stack([ratio(h11 * g0 - h01 * g1, determinant), ratio(h00 * g1 - h01 * g0, determinant)], axis=1)
        else:
            step = np.stack([ratio(g0, h00), np.zeros_like(g0)], axis=1)
        return step * (_LARGEST_CHANGE / np.maximum(self._largest(step), _LARGEST_CHANGE))[:, None]

    def _largest(self, change: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, " r"]:
        """Largest change of the log odds of a row."""
        return np.abs(change[:, :1] + change[:, 1:] * self._ends).max(axis=1)


def separated(y_true: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]) -> bool:
    """Whether no finite slope exists: x of the two classes does not overlap, or a class is missing."""
    if not 0 < y_true.mean() < 1:
        return True
    positive, negative = x[y_true == 1], x[y_true == 0]
    return not (positive.min() < negative.max() and negative.min() < positive.max())

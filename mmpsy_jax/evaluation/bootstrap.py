"""Intervals by resampling participants: BCa or percentile bootstrap, seeded, and paired across models.

The unit is the participant, so that several rows of one person (folds of a repeated cross-validation) are drawn
together. All columns of a statistic see the same resamples; a column that is the difference of two others is therefore
a paired comparison. BCa: Efron 1987, with the acceleration from a jackknife over at most 400 groups of participants.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.stats
from jaxtyping import Float, Shaped

from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation.weighted import Statistic

Method = Literal["bca", "percentile"]
METHODS: tuple[Method, ...] = ("bca", "percentile")
RESAMPLES = 2000
LEVEL = 0.95

# Entries of a matrix of weights held at once: 16 MB in float64.
_CHUNK = 2_000_000
# Groups of the jackknife. Leaving out groups estimates the same acceleration as leaving out single participants, since
# the skewness of a sum of m independent influences is that of one divided by sqrt(m), and there are m times fewer.
_JACKKNIFE_GROUPS = 400
# Below this share of resamples in which the metric is defined there is no interval.
_DEFINED = 0.5


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Bounds of k columns.

    Attributes:
      value: the statistic of the whole sample.
      low, high: bounds; NaN where the statistic is undefined in the sample or in more than half of the resamples,
        and for a single participant.
      method: "bca" or "percentile" per column; BCa falls back where its correction is undefined (the value lies beyond
        all resamples, or no participant changes it).
      undefined: share of resamples in which the column is NaN; they are left out.
    """

    value: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    method: tuple[str, ...]
    undefined: Float[np.ndarray, " k"]


def bootstrap(
    participants: Shaped[np.ndarray, " n"],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "bca",
    level: float = LEVEL,
) -> Intervals:
    """Intervals of every column of a statistic of weighted rows.

    Args:
      participants: who each of the n rows belongs to.
      statistic: weights [r, n] to columns [r, k], as `weighted.py` makes them.
      resamples: number of resamples of participants.
      seed: same seed, same intervals.
      method: "bca" or "percentile".
      level: coverage of the two-sided interval.

    Raises:
      InputError: no rows, fewer than two resamples, an unknown method, or a level outside (0, 1).
    """
    if method not in METHODS:
        raise one_of("bootstrap method", method, METHODS)
    if not len(participants) or resamples < 2 or not 0 < level < 1:
        raise InputError(
            f"bootstrap of {len(participants)} rows with {resamples} resamples at level {level}: "
            "give at least one row, two resamples and a level between 0 and 1"
        )
    owner = np.unique(participants, return_inverse=True)[1]
    value = statistic(np.ones((1, len(owner))))[0]
    if not owner.any():  # a single participant: nothing varies, and none can be left out
        unknown = np.full(len(value), np.nan)
        return Intervals(value, unknown, unknown, ("undefined",) * len(value), np.isnan(value).astype(float))
    samples = np.concatenate([statistic(weights) for weights in resample(owner, resamples, seed)])
    left_out = None
    if method == "bca":
        left_out = np.concatenate([statistic(weights) for weights in _jackknife(owner, seed)])
    bounds = [
        _bounds(value[k], samples[:, k], None if left_out is None else left_out[:, k], level) for k in range(len(value))
    ]
    low, high, methods = zip(*bounds, strict=True)
    return Intervals(value, np.array(low), np.array(high), methods, np.isnan(samples).mean(0))


def resample(owner: np.ndarray, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "r n"]]:
    """Weights of rows: how often the participant of each was drawn, with replacement."""
    rng = np.random.default_rng(seed)
    n = int(owner.max()) + 1
    step = max(1, _CHUNK // len(owner))
    for start in range(0, resamples, step):
        r = min(step, resamples - start)
        drawn = rng.integers(0, n, (r, n)) + n * np.arange(r)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)
        yield counts[:, owner]


def _jackknife(owner: np.ndarray, seed: int) -> Iterator[Float[np.ndarray, "r n"]]:
    """Weights of rows with one group of participants left out; single participants while there are at most 400."""
    n = int(owner.max()) + 1
    group = np.arange(n)
    if n > _JACKKNIFE_GROUPS:
        group = np.random.default_rng(seed).permutation(n) % _JACKKNIFE_GROUPS
    group = group[owner]
    groups = min(n, _JACKKNIFE_GROUPS)
    step = max(1, _CHUNK // len(owner))
    for start in range(0, groups, step):
        yield (group != np.arange(start, min(start + step, groups))[:, None]).astype(np.float64)


def _bounds(value: float, samples: np.ndarray, left_out: np.ndarray | None, level: float) -> tuple[float, float, str]:
    """Lower and upper bound of one column, and the method that gave them."""
    defined = samples[np.isfinite(samples)]
    if not np.isfinite(value) or len(defined) < _DEFINED * len(samples):
        return np.nan, np.nan, "undefined"
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    corrected = None if left_out is None else _corrected_tails(value, defined, left_out, tails)
    low, high = np.quantile(defined, tails if corrected is None else corrected)
    return float(low), float(high), "percentile" if corrected is None else "bca"


def _corrected_tails(value: float, samples: np.ndarray, left_out: np.ndarray, tails: np.ndarray) -> np.ndarray | None:
    """Quantiles that correct for bias and skewness (Efron 1987); None where a correction is undefined."""
    # Resamples equal to the value count half, as scipy does for discrete statistics; an interval of counts needs it.
    below = np.mean((samples < value) + 0.5 * (samples == value))
    influence = left_out[np.isfinite(left_out)]
    influence = influence.mean() - influence if len(influence) else influence
    spread = float(np.sum(influence**2))
    if not 0 < below < 1 or spread <= 1e-24 * max(1.0, value**2):
        return None
    acceleration = float(np.sum(influence**3)) / (6 * spread**1.5)
    bias = scipy.stats.norm.ppf(below)
    shifted = bias + scipy.stats.norm.ppf(tails)
    return scipy.stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))

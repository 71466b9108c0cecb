"""Intervals by resampling participants: BCa or percentile bootstrap, seeded, and paired across models.

The unit is the participant, so that several rows of one person (folds of a repeated cross-validation) are drawn
together. All columns of a statistic see the same resamples; a column that is the difference of two others is therefore
a paired comparison. BCa: Efron 1987, with the acceleration from a jackknife over at most 400 groups of participants.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import scipy.stats
import threadpoolctl
from jaxtyping import Float, Shaped

from mmpsy_jax.evaluation.metrics import Scores
from mmpsy_jax.evaluation.rows import Statistic
from mmpsy_jax.io import InputError, one_of

Method = Literal["bca", "percentile"]
METHODS: tuple[Method, ...] = ("bca", "percentile")
RESAMPLES = 2000
LEVEL = 0.95
SPARSE_REASON = "undefined in most resamples of participants"
NO_CORRECTION = "percentile interval: the correction of BCa is undefined here"
ONE_SIDED = "percentile interval, widened to the estimate: nearly all resamples lie {where} it"

# Entries of a matrix of weights held at once: 8 MB in float64.
_CHUNK = 1_000_000
# Groups of the jackknife. Leaving out groups estimates the same acceleration as leaving out single participants, since
# the skewness of a sum of m independent influences is that of one divided by sqrt(m), and there are m times fewer.
_JACKKNIFE_GROUPS = 400
_MAX_THREADS = 4
# Below this share of resamples in which the metric is defined there is no interval.
_DEFINED = 0.5


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Bounds of k columns.

    Attributes:
      value: the statistic of the whole sample.
      low, high: bounds; NaN where the statistic is undefined in the sample or in more than half of the resamples,
        and for a single participant.
      method: per column the one that gave the bounds: "bca", "percentile", "widened" (percentile, as far as the value)
        or "undefined".
      reasons: per column why another method took over from the one that was asked for; "" where none did.
      undefined: share of resamples in which the column is NaN; they are left out.
      p: two-sided p-value of the hypothesis that a column is 0 in the population: 1 minus the level at which its
        interval would end at 0, hence below 0.05 where the interval of level 0.95 holds no 0, and never below 2
        divided by the number of resamples.
    """

    value: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    method: tuple[str, ...]
    reasons: tuple[str, ...]
    undefined: Float[np.ndarray, " k"]
    p: Float[np.ndarray, " k"]

    def part(self, columns: slice) -> "Intervals":
        """Some of the columns."""
        return Intervals(*(getattr(self, field.name)[columns] for field in dataclasses.fields(self)))


def bootstrap(
    participants: Shaped[np.ndarray, " n"],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "bca",
    level: float = LEVEL,
    threads: int | None = None,
) -> Intervals:
    """Intervals of every column of a statistic of weighted rows.

    Args:
      participants: who each of the n rows belongs to.
      statistic: weights [r, n] to columns [r, k], as `metrics.statistic` makes them.
      resamples: number of resamples of participants.
      seed: same seed, same intervals.
      method: "bca" or "percentile". Where the correction of BCa is undefined (the value lies beyond all resamples, or
        no participant changes it) percentiles take over. Where the value itself lies outside its interval, since nearly
        all resamples lie on one side of it, percentiles take over too, and the interval is widened as far as the value.
      level: coverage of the two-sided interval.
      threads: that evaluate the statistic; by default one per core, four at most, since each holds a few matrices of
        weights. The result does not depend on it.

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
        words = (("undefined",) * len(value), ("",) * len(value))
        return Intervals(value, unknown, unknown, *words, np.isnan(value).astype(float), unknown)
    threads = min(os.cpu_count() or 1, _MAX_THREADS) if threads is None else threads
    samples = _of_all(statistic, resample(owner, resamples, seed), threads)
    left_out = _of_all(statistic, _jackknife(owner, seed), threads) if method == "bca" else [None] * len(value)
    bounds = [_bounds(*columns, level) for columns in zip(value, samples, left_out, strict=True)]
    low, high, methods, reasons, p = zip(*bounds, strict=True)
    return Intervals(value, np.array(low), np.array(high), methods, reasons, np.isnan(samples).mean(1), np.array(p))


def _of_all(statistic: Statistic, chunks: Iterable[np.ndarray], threads: int) -> Float[np.ndarray, "k r"]:
    """The statistic of chunks of samples, evaluated by threads, drawn by this one no further ahead than they need."""
    values, running = [], collections.deque()
    # Threads of the linear algebra beside ours would wait for each other, spinning: twice the processor time.
    with threadpoolctl.threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for weights in chunks:
            running.append(pool.submit(statistic, weights))
            if len(running) > threads:
                values.append(running.popleft().result())
        values += [future.result() for future in running]
    return np.concatenate(values).T


def with_intervals(scores: Scores, intervals: Intervals | None) -> dict[str, dict[str, Any]]:
    """Metrics as they stand in `report.json`: value, low, high, interval, and a reason where something is undefined."""
    cells = {}
    for k, (name, value) in enumerate(scores.values.items()):
        low, high, method, why = math.nan, math.nan, None, ""
        if intervals is not None:
            low, high, method, why = intervals.low[k], intervals.high[k], intervals.method[k], intervals.reasons[k]
        cells[name] = {"value": value, "low": low, "high": high, "interval": method}
        reason = scores.reasons.get(name) or (SPARSE_REASON if method == "undefined" else why)
        if reason:
            cells[name]["reason"] = reason
    return cells


def resample(owner: np.ndarray, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "r n"]]:
    """Weights of rows: how often the participant of each was drawn, with replacement."""
    rng = np.random.default_rng(seed)
    n = int(owner.max()) + 1
    step = max(1, _CHUNK // len(owner))
    for start in range(0, resamples, step):
        r = min(step, resamples - start)
        drawn = rng.integers(0, n, (r, n)) + n * np.arange(r)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)
        yield np.take(counts, owner, axis=1)


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


def _bounds(
    value: float, samples: np.ndarray, left_out: np.ndarray | None, level: float
) -> tuple[float, float, str, str, float]:
    """Lower and upper bound of one column, the method that gave them, why another one took over, the p-value of 0."""
    defined = samples[np.isfinite(samples)]
    if not np.isfinite(value) or len(defined) < _DEFINED * len(samples):
        return np.nan, np.nan, "undefined", "", np.nan
    correction = None if left_out is None else _correction(value, defined, left_out)
    low, high, p = _corrected(defined, correction or (0.0, 0.0), level)
    rounding = 1e-12 * max(1.0, abs(value))
    if low - rounding <= value <= high + rounding:
        method = "percentile" if correction is None else "bca"
        silent = left_out is None or correction is not None or low == high
        return min(low, value), max(high, value), method, "" if silent else NO_CORRECTION, p
    low, high, p = _corrected(defined, (0.0, 0.0), level)
    where = "above" if value < np.median(defined) else "below"
    low, high = min(low, value), max(high, value)
    return low, high, "widened", ONE_SIDED.format(where=where), 1.0 if low <= 0 <= high else p


def _corrected(samples: np.ndarray, correction: tuple[float, float], level: float) -> tuple[float, float, float]:
    """Bounds for a bias and an acceleration, (0, 0) for percentiles, and the p-value of 0."""
    bias, acceleration = correction
    shifted = bias + scipy.stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(samples, scipy.stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    # The same equations solved for the level at which a bound is 0.
    least = 1 / len(samples)
    distance = scipy.stats.norm.ppf(np.clip(_share_below(0.0, samples), least, 1 - least)) - bias
    tail = scipy.stats.norm.cdf(distance / (1 + acceleration * distance) - bias)
    return float(low), float(high), float(np.clip(2 * min(tail, 1 - tail), 2 * least, 1.0))


def _share_below(value: float, samples: np.ndarray) -> float:
    # Samples equal to the value count half, as scipy does for discrete statistics; an interval of counts needs it.
    return float(np.mean((samples < value) + 0.5 * (samples == value)))


def _correction(value: float, samples: np.ndarray, left_out: np.ndarray) -> tuple[float, float] | None:
    """Bias and acceleration (Efron 1987); None where one is undefined."""
    below = _share_below(value, samples)
    influence = left_out[np.isfinite(left_out)]
    influence = influence.mean() - influence if len(influence) else influence
    spread = float(np.sum(influence**2))
    if not 0 < below < 1 or spread <= 1e-24 * max(1.0, value**2):
        return None
    return float(scipy.stats.norm.ppf(below)), float(np.sum(influence**3)) / (6 * spread**1.5)

"""Two models on the same participants: DeLong's test of AUROCs, p-values by the bootstrap, and Holm's adjustment.

DeLong's variance is that of independent rows. Where a participant has several (repeats of a cross-validation) the
bootstrap over participants gives interval and p-value instead: averaging the rows of a participant first would test
another difference than the one that the report shows.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from mmpsy_jax.evaluation.bootstrap import LEVEL

NO_VARIANCE = "no variance: neither ranking varies between participants"


@dataclasses.dataclass(frozen=True)
class DeLong:
    """Difference of two AUROCs, its interval and its two-sided p-value.

    Without any variance p is 1 where the difference is 0, else NaN.
    """

    difference: float
    low: float
    high: float
    p: float


def delong(
    y_true: Float[np.ndarray, " n"],
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    level: float = LEVEL,
) -> DeLong:
    """AUROC of `first` minus that of `second` (DeLong et al. 1988), by mid-ranks in n log n (Sun and Xu 2014).

    Args:
      y_true: 0 or 1, both must occur; one row per participant.
      first, second: predictions that rank the rows.
      level: coverage of the interval, which is symmetric and normal.
    """
    parts = [_placements(y_true, prediction) for prediction in (first, second)]
    of_positives, of_negatives = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    difference = float(of_positives.mean())
    # The variance of a difference of two correlated areas is that of the differences of their placements.
    variance = sum(part.var(ddof=1) / len(part) for part in (of_positives, of_negatives) if len(part) > 1)
    reach = float(scipy.stats.norm.ppf((1 + level) / 2) * np.sqrt(variance))
    if variance > 0:
        p = float(2 * scipy.stats.norm.sf(abs(difference) / np.sqrt(variance)))
    else:
        p = 1.0 if difference == 0 else np.nan
    return DeLong(difference, difference - reach, difference + reach, p)


def _placements(y_true: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the share of negatives below it, for each negative that of positives above; ties are halves."""
    positive, negative = prediction[y_true == 1], prediction[y_true == 0]
    ranks = scipy.stats.rankdata(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    return (
        (ranks[:m] - scipy.stats.rankdata(positive)) / n,
        1 - (ranks[m:] - scipy.stats.rankdata(negative)) / m,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for a family of tests (Holm 1979); NaN stays NaN and does not count."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)  # NaN last
    size = int(np.isfinite(p).sum())
    adjusted = np.full(len(p), np.nan)
    ascending = p[order[:size]] * np.arange(size, 0, -1)
    adjusted[order[:size]] = np.minimum(np.maximum.accumulate(ascending), 1.0)
    return adjusted.tolist()


def adjust(entries: Sequence[Mapping[str, Any]]) -> None:
    """Adds `p_holm` to every comparison of a family, for a report all tasks and baselines on one split."""
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = p

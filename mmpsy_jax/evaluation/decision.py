"""Decision curves: what acting on the predictions is worth, at every exchange rate of harms (Vickers and Elkin 2006).

Net benefit at the threshold t is the share of true positives less that of false positives times t / (1 - t), per
participant. Treating nobody has net benefit 0, treating everybody prevalence - (1 - prevalence) t / (1 - t).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.evaluation.bootstrap import Intervals
from mmpsy_jax.evaluation.rows import Statistic

THRESHOLDS = np.round(np.arange(0.01, 0.505, 0.01), 2)


def _benefits(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n t"]:
    """Net benefit of each participant's decision at each of `THRESHOLDS`."""
    worth = np.where(y_true[:, None] == 1, 1.0, -THRESHOLDS / (1 - THRESHOLDS))
    return worth * (y_prob[:, None] >= THRESHOLDS)


def net_benefit(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Net benefit at `THRESHOLDS` of acting where `y_prob` reaches the threshold, for at least one participant."""
    return _benefits(y_true, y_prob).mean(0)


def weighted_net_benefit(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Statistic:
    """Statistic of `net_benefit`."""
    benefits = _benefits(y_true, y_prob)
    return lambda weights: weights @ benefits / weights.sum(1, keepdims=True)


def entry(
    y_true: Float[np.ndarray, " n"],
    y_prob: Float[np.ndarray, " n"],
    intervals: Intervals,
    baselines: Mapping[str, tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]],
) -> dict[str, Any]:
    """The entry "decision_curve" of a report.

    Args:
      y_true: 0 or 1.
      y_prob: probability of 1.
      intervals: of `weighted_net_benefit`.
      baselines: y_true and y_prob of each baseline, on the rows that it has.
    """
    return {
        "thresholds": THRESHOLDS,
        "model": net_benefit(y_true, y_prob),
        "low": intervals.low,
        "high": intervals.high,
        "treat_all": net_benefit(y_true, np.ones_like(y_prob)),
        "baselines": {name: net_benefit(*columns) for name, columns in baselines.items()},
    }

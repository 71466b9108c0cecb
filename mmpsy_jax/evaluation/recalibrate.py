"""Predictions brought to a new place by a few people of it: an intercept, and with enough of them a slope.

Of probabilities they are those of a logistic regression of the outcome on the log odds (Cox 1958), of scores and bands
those of a regression of the score on the prediction. A slope from few people does harm, and one that is not positive
would turn the ranking around: then the intercept alone is fitted.
"""

from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float

from mmpsy_jax.evaluation import logistic
from mmpsy_jax.evaluation.calibration import Map
from mmpsy_jax.tasks import Task

FEWEST_FOR_SLOPE = 20  # our choice


def fit(task: Task, y_true: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[Map | None, str]:
    """The map of predictions to recalibrated ones, and what was fitted; no map and the reason where nothing can be.

    Args:
      task: what is predicted.
      y_true: known truths of people of the new place.
      y: predictions of them, as `predictions.csv` has them.
    """
    if task.event:
        return _of_probabilities(y_true, y)
    if not (task.scaled or task.cut_points or task.cutoffs):
        return None, f"{task.output}: only probabilities, bands and scores are"
    if not len(y):
        return None, "none of them has a label"
    low, high = task.ends if task.scaled else (0.0, task.n_classes - 1.0)
    slope = float(np.polyfit(y, y_true, 1)[0]) if len(y) >= FEWEST_FOR_SLOPE and np.ptp(y) > 0 else 0.0
    fitted, slope = ("intercept and slope", slope) if slope > 0 else ("intercept", 1.0)
    shift = float(y_true.mean() - slope * y.mean())
    return lambda new: np.clip(shift + slope * new, low, high), f"{fitted} ({shift:+.2f}, {slope:.2f})"


def _of_probabilities(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> tuple[Map | None, str]:
    if len(np.unique(y_true)) < 2:
        return None, f"the {len(y_true)} people with a label are of one class"
    odds = logistic.logit(y_prob)
    line: Any = np.array([np.nan, np.nan])
    if len(y_true) >= FEWEST_FOR_SLOPE:
        line = logistic.Regression(y_true, odds, slope=True).estimate
    fitted = "intercept and slope"
    if not (np.isfinite(line).all() and line[1] > 0):
        fitted, line = "intercept", (logistic.Regression(y_true, odds, slope=False).estimate[0], 1.0)
    shift, slope = float(line[0]), float(line[1])
    what = f"{fitted} of the log odds ({shift:+.2f}, {slope:.2f}) and the threshold"
    return lambda new: scipy.special.expit(shift + slope * logistic.logit(new)), what

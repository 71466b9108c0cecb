"""Thresholds chosen on the validation rows of each fold by every rule, and carried to the rows of that fold.

A cross-validation without validation rows chooses those of each fold on the tested rows of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_curve

from mmpsy_jax.evaluation import metrics, out_of_fold
from mmpsy_jax.evaluation.bootstrap import Intervals, with_intervals
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import BinaryRows
from mmpsy_jax.io import InputError, one_of

DEFAULT_THRESHOLD = 0.5
ARGMAX = "argmax"  # the rule that chooses nothing: the likelier class
# What is reported of each operating point.
METRICS = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc")


def choose_threshold(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], rule: str = "youden") -> float:
    """The threshold t of the decision `y_prob >= t`, chosen on the rows given: never those of a test split.

    Args:
      y_true: 0 or 1, both must occur.
      y_prob: probability of 1; the candidates are its values.
      rule: "youden" (largest sensitivity + specificity), "f1", "sensitivity_80" or "sensitivity_90" (largest
        threshold that still finds 80 or 90 % of the positives). Ties go to the largest threshold.

    Raises:
      InputError: an unknown rule, or rows of one class only.
    """
    if rule not in RULES:
        raise one_of("threshold rule", rule, RULES)
    if len(np.unique(y_true)) != 2:
        raise InputError(f"threshold by {rule!r}: {metrics.ONE_CLASS}: choose it on rows of both classes")
    false_rate, sensitivity, thresholds = roc_curve(y_true, y_prob, drop_intermediate=False)
    positives, negatives = y_true.sum(), len(y_true) - y_true.sum()
    # The first candidate of scikit-learn is infinity, "nobody": no screening.
    gain = RULES[rule](sensitivity * positives, false_rate * negatives, positives, negatives)[1:]
    return float(thresholds[1:][np.argmax(gain)])


def _at_sensitivity(least: float) -> Callable:
    # A rate that rounding leaves just below the wanted one still counts as reaching it.
    return lambda tp, fp, p, n: (tp >= least * p - 1e-9).astype(float)


# Gain of each candidate from its true and false positives and the numbers of positives and negatives.
RULES: Mapping[str, Callable] = {
    "youden": lambda tp, fp, p, n: tp / p - fp / n,
    "f1": lambda tp, fp, p, n: 2 * tp / (tp + fp + p),
    "sensitivity_80": _at_sensitivity(0.8),
    "sensitivity_90": _at_sensitivity(0.9),
}


def choose_thresholds(rows: Predictions, rule: str) -> list[dict[str, Any]]:
    """A threshold per fold, never from the people whom the fold tests (`out_of_fold.calibrating`).

    Returns:
      {"fold", "value", "source", "n"} per fold; source is "validation", "out_of_fold", "argmax", or "default" where
      there are no rows of both classes.
    """
    folds = np.unique(rows.fold).tolist()
    fitted_on, source = out_of_fold.calibrating(rows.known(), folds)
    thresholds = []
    for fold, part in zip(folds, fitted_on, strict=True):
        entry = {"fold": fold, "value": DEFAULT_THRESHOLD, "source": "default", "n": len(part)}
        if rule == ARGMAX:
            entry["source"] = ARGMAX
        elif len(np.unique(part.y_true)) == 2:
            entry |= {"value": choose_threshold(part.y_true, part.y_prob, rule), "source": source}
        thresholds.append(entry)
    return thresholds


def decide(rows: Predictions, thresholds: Sequence[Mapping[str, Any]]) -> Bool[np.ndarray, " n"]:
    """Whether each row's probability reaches the threshold of its fold; all False without thresholds."""
    by_fold = {entry["fold"]: entry["value"] for entry in thresholds}
    limits = np.array([by_fold.get(fold, np.inf) for fold in rows.fold.tolist()], np.float64)
    return np.nan_to_num(rows.y_prob, nan=-1.0) >= limits


def entry(
    points: Mapping[str, list[dict[str, Any]]],
    y_true: Float[np.ndarray, " n"],
    decisions: Mapping[str, Bool[np.ndarray, " n"]],
    intervals: Intervals,
) -> dict[str, Any]:
    """The entry "operating_points" of a report.

    Args:
      points: thresholds by rule.
      y_true: 0 or 1.
      decisions: at these thresholds, by rule.
      intervals: of `METRICS` for each rule in turn, as `metrics.decisions` orders them.
    """
    content = {}
    for k, (rule, thresholds) in enumerate(points.items()):
        kept = metrics.point(BinaryRows(y_true, y_true, decisions[rule]), METRICS)
        columns = slice(k * len(METRICS), (k + 1) * len(METRICS))
        content[rule] = {"thresholds": thresholds, "metrics": with_intervals(kept, intervals.part(columns))}
    return content

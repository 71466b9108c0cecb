"""Thresholds chosen on the validation rows of each fold by every rule, and carried to the rows of that fold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mmpsy_jax.evaluation import metrics
from mmpsy_jax.evaluation.bootstrap import Intervals, with_intervals
from mmpsy_jax.evaluation.predictions import Predictions

DEFAULT_THRESHOLD = 0.5
ARGMAX = "argmax"  # the rule that chooses nothing: the likelier class
# What is reported of each operating point.
METRICS = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc")


def choose_thresholds(rows: Predictions, rule: str) -> list[dict[str, Any]]:
    """A threshold per fold from the validation rows of that fold, never from test.

    Returns:
      {"fold", "value", "source", "n"} per fold; source is "validation", "argmax", or "default" where the fold has no
      validation rows of both classes.
    """
    validation = rows.select(split="validation").known()
    made = []
    for fold in np.unique(rows.fold).tolist():
        part = validation.select(fold=fold)
        entry = {"fold": fold, "value": DEFAULT_THRESHOLD, "source": "default", "n": len(part)}
        if rule == ARGMAX:
            entry["source"] = ARGMAX
        elif len(np.unique(part.y_true)) == 2:
            entry |= {"value": metrics.choose_threshold(part.y_true, part.y_prob, rule), "source": "validation"}
        made.append(entry)
    return made


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
      intervals: of `METRICS` for each rule in turn, as `weighted.decisions` orders them.
    """
    made = {}
    for k, (rule, thresholds) in enumerate(points.items()):
        scores = metrics.decision(y_true, decisions[rule])
        kept = metrics.Scores({name: scores.values[name] for name in METRICS}, scores.reasons)
        columns = slice(k * len(METRICS), (k + 1) * len(METRICS))
        made[rule] = {"thresholds": thresholds, "metrics": with_intervals(kept, intervals.part(columns))}
    return made

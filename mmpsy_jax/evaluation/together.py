"""Scores of one set, such as nine moods of a day, as one result: means of the metrics over tasks, with intervals.

The published result of daily moods is such a mean of CCC (JMIR Mental Health 2024, e59512).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.evaluation import bootstrap, metrics, wording
from mmpsy_jax.evaluation.bootstrap import with_intervals
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import ScoreRows, Statistic, where_drawn
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

NAMES = tuple(metrics.NAMES["regression"])


def of_one_set(tasks: Sequence[Task]) -> bool:
    """Whether there are several tasks, all of them scores on one scale, so that a mean over them says something."""
    return len(tasks) > 1 and tasks[0].scaled and len({(task.kind, task.ends) for task in tasks}) == 1


def aligned(rows: Mapping[str, Predictions]) -> bool:
    """Whether all tasks are predicted for the same participants in the same order; only then is there an `entry`."""
    first = next(iter(rows.values()))
    return all(
        np.array_equal(part.participant_id, first.participant_id) and np.array_equal(part.fold, first.fold)
        for part in rows.values()
    )


def entry(rows: Mapping[str, Predictions], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of one split: `n_tasks`, and `overall` with intervals over clusters.

    A task counts by the rows whose label is known; a metric that is undefined for one task is undefined here.

    Args:
      rows: of the split by task, seeds averaged; `aligned`.
      options: of `bootstrap.bootstrap`.
    """
    first = next(iter(rows.values()))
    points = [metrics.point(ScoreRows(part.known().y_true, part.known().y_pred)) for part in rows.values()]
    values = {name: float(np.mean([point.values[name] for point in points])) for name in NAMES}
    undefined = {name: "undefined for one of the tasks" for name, value in values.items() if np.isnan(value)}
    known = all(len(part.known()) for part in rows.values())
    intervals = bootstrap.bootstrap(first.cluster, statistic(rows), **options) if known else None
    return {
        "n_tasks": len(rows),
        "n_participants": len(np.unique(first.participant_id)),
        "n_clusters": len(np.unique(first.cluster)),
        "overall": with_intervals(metrics.Scores(values, undefined), intervals),
    }


def statistic(rows: Mapping[str, Predictions]) -> Statistic:
    """The means for weighted samples of the rows."""
    parts = []
    for part in rows.values():
        known = ~np.isnan(part.y_true)
        parts.append((known, metrics.statistic(ScoreRows(part.y_true[known], part.y_pred[known]))))

    def of(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
        means = [where_drawn(of_task, np.compress(known, weights, axis=1)) for known, of_task in parts]
        return np.mean(means, axis=0)

    return of


def sections(report: Mapping[str, Any]) -> list[Table]:
    """The table of the page, a row per split; the one that comes first on top."""
    together = report.get("together") or {}
    rows = [
        [split, str(together[split]["n_participants"]), str(together[split]["n_clusters"])]
        + [wording.cell(name, together[split]["overall"][name]) for name in NAMES]
        for split in wording.SPLIT_ORDER
        if split in together
    ]
    if not rows:
        return []
    columns = ["split", "participants", "clusters", *map(wording.label, NAMES)]
    note = "Clusters are what is resampled. Each metric is computed for each task, then averaged."
    return [Table("Means over tasks", columns, rows, note=note, opened=True)]


def summary(report: Mapping[str, Any], split: str) -> str:
    """One line for a terminal; empty where there is nothing to say."""
    scored = (report.get("together") or {}).get(split)
    if not scored:
        return ""
    shown = "   ".join(
        f"{wording.label(name)} {wording.estimate(name, scored['overall'][name])}" for name in ("ccc", "mae")
    )
    return f"mean over {scored['n_tasks']} tasks: {shown}"

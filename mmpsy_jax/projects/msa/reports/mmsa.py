"""Metrics of a rated sentiment in a report, under the names and by the definitions of MMSA (`utils/metricsTop.py`).

The same name does not always mean the same there: accuracy of two classes parts at 0 with 0 positive (`Has0_acc_2`),
without those rated 0 (`Non0_acc_2`), or with 0 negative (`Mult_acc_2` of SIMS).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sklearn.metrics as sk
from jaxtyping import Float

from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

# Ends and inner edges of the classes of SIMS, whose ratings lie between -1 and 1; a class includes its right end.
SIMS_EDGES = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}


def measure(report: dict[str, Any], predictions: Predictions, tasks: Sequence[Task], **_: Any) -> None:
    """Adds `mmsa` to the splits of scores that lie on a scale of MMSA, -1 to 1 or -3 to 3."""
    for task in tasks:
        if task.scaled and task.maximum in (1, 3) and task.minimum == -task.maximum:
            for split, scored in report["tasks"][task.name]["splits"].items():
                rows = predictions.select(task=task.name, split=split).over_seeds(task.kind).known()
                if len(rows):
                    scored["mmsa"] = scores(rows.y_true, rows.y_pred, task.maximum)


def sections(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table of the page per set of names, with a row per task and split."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for task, entry in report["tasks"].items():
        for split in wording.SPLIT_ORDER:
            if numbers := entry["splits"].get(split, {}).get("mmsa"):
                cells = ["undefined" if value is None else f"{value:.4f}" for value in numbers.values()]
                tables.setdefault(tuple(numbers), []).append([task, split, *cells])
    parts = [Table("Metrics", ["task", "split", *names], rows, opened=True) for names, rows in tables.items()]
    return [{"title": "Under the names and by the definitions of MMSA", "tables": parts}]


def scores(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], highest: float) -> dict[str, float]:
    """All metrics of a corpus whose ratings lie between -highest and highest: of SIMS where that is 1, else of MOSI.

    NaN where a metric is undefined: without rows, for a correlation with a constant, or where all are rated 0.
    """
    if not len(y_true):
        return {}
    return sims(y_true, y_pred) if highest == 1 else mosi(y_true, y_pred)


def mosi(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Of MOSI and MOSEI, in their order; `Mult_acc_3` is computed there and thrown away, here it is kept."""
    rated = y_true != 0
    has0 = (y_true >= 0, y_pred >= 0)
    non0 = (y_true[rated] > 0, y_pred[rated] > 0)
    return {
        "Has0_acc_2": float(np.mean(has0[0] == has0[1])),
        "Has0_F1_score": _f1(*has0),
        "Non0_acc_2": float(np.mean(non0[0] == non0[1])) if rated.any() else math.nan,
        "Non0_F1_score": _f1(*non0) if rated.any() else math.nan,
        **{f"Mult_acc_{2 * end + 1}": _rounded_accuracy(y_true, y_pred, end) for end in (1, 2, 3)},
        "MAE": float(np.abs(y_true - y_pred).mean()),
        "Corr": _correlation(y_true, y_pred),
    }


def sims(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Of SIMS and SIMSv2: everything of values cut off at -1 and 1."""
    y_true, y_pred = np.clip(y_true, -1, 1), np.clip(y_pred, -1, 1)
    classes = {k: [np.digitize(y, edges, right=True) for y in (y_true, y_pred)] for k, edges in SIMS_EDGES.items()}
    return {
        **{f"Mult_acc_{k}": float(np.mean(true == pred)) for k, (true, pred) in classes.items()},
        "F1_score": _f1(*classes[2]),
        "MAE": float(np.abs(y_true - y_pred).mean()),
        "Corr": _correlation(y_true, y_pred),
    }


def _f1(true: np.ndarray, pred: np.ndarray) -> float:
    return float(sk.f1_score(true, pred, average="weighted", zero_division=0.0))


def _rounded_accuracy(y_true: np.ndarray, y_pred: np.ndarray, end: int) -> float:
    """Share of those whose rounded values agree, after cutting off at the end; halves go to the even number."""
    true, pred = (np.round(np.clip(y, -end, end)) for y in (y_true, y_pred))
    return float(np.mean(true == pred))


def _correlation(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    constant = np.ptp(y_true) == 0 or np.ptp(y_pred) == 0
    return math.nan if constant else float(np.corrcoef(y_true, y_pred)[0, 1])

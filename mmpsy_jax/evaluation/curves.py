"""The numbers that the pictures of a report are drawn from, computed once, where `report.json` is made.

Nobody's row is among them: probabilities are counted in bins, scores on a grid, and of a curve only its line is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn import metrics as sk

from mmpsy_jax.evaluation.bootstrap import LEVEL, resample
from mmpsy_jax.evaluation.calibration import calibration_bins
from mmpsy_jax.evaluation.metrics import HEADLINE
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import Ties
from mmpsy_jax.tasks import Task

# What a ROC curve is given at by its band (1 - specificity), and a precision-recall curve (recall).
GRID = np.linspace(0, 1, 201)
PROBABILITY_BINS = np.linspace(0, 1, 21)
BAND_RESAMPLES = 500
SCORE_CELLS = 108  # of a scale: quarters of a point of a PHQ-9
MOST_POINTS = 500  # of a line: more are not visible
MOST_STEPS = 5  # at which generated labels are shown
# Validation metrics that a learning curve is kept of, beside the loss.
FOLLOWED = {name for names in HEADLINE.values() for name in names}

Rows = Iterable[Mapping[str, Any]]  # of one `metrics.jsonl`


def of_tasks(
    predictions: Predictions, tasks: Sequence[Task], baselines: Mapping[str, Predictions], seed: int
) -> dict[str, dict[str, Any]]:
    """By task and split (but train) what its pictures need beside the metrics; nothing for bands and classes.

    Args:
      predictions, tasks, baselines: as given to `scoring.evaluate`.
      seed: of the bands' resamples of participants.

    Returns:
      Of an event "reliability" (`calibration_bins`), "histogram" of the probabilities of both classes, and where
      both occur "roc" and "precision_recall": the lines of "model" and "baselines", each with x, y and the area, and
      "low" and "high" of a pointwise band of 95 % on `GRID`. Of scores "cells" (how many participants have which true
      and predicted score) and the regression line "fit".
    """
    content: dict[str, dict[str, Any]] = {}
    for task in tasks:
        measure = _of_probabilities if task.event else _of_scores
        for split in ("validation", "test") if task.event or not task.n_classes else ():
            rows, *others = (
                table.select(task=task.name, split=split).known().over_seeds(task.kind)
                for table in (predictions, *baselines.values())
            )
            if len(rows):
                part = measure(task, rows, dict(zip(baselines, others, strict=True)), seed)
                content.setdefault(task.name, {})[split] = part
    return content


def _of_probabilities(task: Task, rows: Predictions, others: Mapping[str, Predictions], seed: int) -> dict[str, Any]:
    bins = zip(("predicted", "observed", "n"), calibration_bins(rows.y_true, rows.y_prob), strict=True)
    content: dict[str, Any] = {"reliability": {name: _short(column) for name, column in bins}}
    classes = (rows.y_prob[rows.y_true == outcome] for outcome in (0, 1))
    content["histogram"] = [np.histogram(part, PROBABILITY_BINS)[0].tolist() for part in classes]
    if len(np.unique(rows.y_true)) == 2:
        bands = band(rows.y_true, rows.y_prob, rows.cluster, seed)
        # A constant has no curve.
        ranking = {k: part for k, part in others.items() if k != "prior" and len(np.unique(part.y_true)) == 2}
        for name, line_of in (("roc", _roc), ("precision_recall", _precision_recall)):
            lines = {k: line_of(part.y_true, part.y_prob) for k, part in ranking.items()}
            low, high = map(_short, bands[name])
            content[name] = {"model": line_of(rows.y_true, rows.y_prob), "baselines": lines, "low": low, "high": high}
    return content


def _roc(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> dict[str, Any]:
    false_rate, sensitivity, _ = sk.roc_curve(y_true, y_prob)
    return _line(false_rate, sensitivity) | {"area": float(sk.roc_auc_score(y_true, y_prob))}


def _precision_recall(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> dict[str, Any]:
    precision, recall, _ = sk.precision_recall_curve(y_true, y_prob, drop_intermediate=True)
    return _line(recall, precision) | {"area": float(sk.average_precision_score(y_true, y_prob))}


def band(
    y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], participants: np.ndarray, seed: int
) -> dict[str, Float[np.ndarray, "2 g"]]:
    """Pointwise quantiles of both curves on `GRID` over resamples of participants."""
    owner = np.unique(participants, return_inverse=True)[1]
    ties = Ties(y_prob)
    lines: dict[str, list[np.ndarray]] = {"roc": [], "precision_recall": []}
    for weights in resample(owner, BAND_RESAMPLES, seed):
        # From the highest probability down: what is called positive as the threshold falls.
        hits, alarms = (np.cumsum(sums[:, ::-1], axis=1) for sums in ties.sums_by_class(weights, y_true))
        defined = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
        for h, a in zip(hits[defined], alarms[defined], strict=True):
            lines["roc"].append(sensitivity_on_grid(h, a))
            lines["precision_recall"].append(precision_on_grid(h, a))
    tail = (1 - LEVEL) / 2
    return {name: np.quantile(of_resamples, [tail, 1 - tail], axis=0) for name, of_resamples in lines.items()}


def sensitivity_on_grid(hits: Float[np.ndarray, " t"], alarms: Float[np.ndarray, " t"]) -> Float[np.ndarray, " g"]:
    """Sensitivity at each 1 - specificity of `GRID`, of the true and false positives as the threshold falls."""
    return np.interp(GRID, np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1]))


def precision_on_grid(hits: Float[np.ndarray, " t"], alarms: Float[np.ndarray, " t"]) -> Float[np.ndarray, " g"]:
    """Precision at each recall of `GRID`: that of the highest threshold that reaches it."""
    called = hits + alarms
    precision = np.divide(hits, called, out=np.ones_like(called), where=called > 0)
    return precision[np.minimum(np.searchsorted(hits / hits[-1], GRID - 1e-12), len(hits) - 1)]


def _of_scores(task: Task, rows: Predictions, others: Mapping[str, Predictions], seed: int) -> dict[str, Any]:
    y_true, y_pred = rows.y_true, rows.y_pred
    step = (task.maximum - task.minimum if task.scaled else max(np.ptp(y_true), 1.0)) / SCORE_CELLS
    whole = np.array_equal(y_true, np.round(y_true))
    places = [y_true if whole else step * np.round(y_true / step), step * np.round(y_pred / step)]
    (true, predicted), n = np.unique(places, axis=1, return_counts=True)
    content = {"cells": {"true": _short(true), "predicted": _short(predicted), "n": n.tolist()}, "fit": None}
    if np.ptp(y_true) > 0:
        content["fit"] = dict(zip(("slope", "intercept"), np.polyfit(y_true, y_pred, 1).tolist(), strict=True))
    return content


def learning_curves(trainings: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """Lines of losses and metrics over steps.

    Args:
      trainings: rows by training: {"step": 10, "train/loss": 0.7} or {"step": 10, "validation/loss": 0.6,
        "validation/<task>/auroc": 0.8}; None stands for an undefined value.

    Returns:
      By name, "loss" first, then "<task>/<metric>", and by split: "lines", one per training, and where there are
      several "mean", at the steps at which every training has a value: one that stopped early would make it jump.
    """
    lines: dict[str, dict[str, list[np.ndarray]]] = {}
    for rows in trainings.values():
        keys = {key for row in rows for key in row if key.startswith(("train/", "validation/"))}
        for key in sorted(keys):
            split, name = key.split("/", 1)
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if points and (name == "loss" or (split == "validation" and name.rsplit("/", 1)[-1] in FOLLOWED)):
                lines.setdefault(name, {}).setdefault(split, []).append(np.array(points, float).T)
    order = sorted(lines, key=lambda name: (name != "loss", name))
    return {name: {split: _of_trainings(parts) for split, parts in lines[name].items()} for name in order}


def _of_trainings(lines: Sequence[Float[np.ndarray, "2 s"]]) -> dict[str, Any]:
    content: dict[str, Any] = {"lines": [_line(*line) for line in lines]}
    if len(lines) > 1:
        common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in lines)))
        mean = [np.mean([values[steps == step][0] for steps, values in lines]) for step in common]
        content["mean"] = _line(np.array(common), np.array(mean))
    return content


def label_updates(trainings: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """How generated labels moved, after Yu et al. 2021 (Self-MM): shares of the training participants in bins.

    Args:
      trainings: as of `learning_curves`; of interest are rows with the counts that an objective gives (`histograms`),
        summed over the trainings that have the step.

    Returns:
      By modality {"limits": ends of the scale, "steps": {STEP: {"labels": shares, "changes": shares}}} at some steps;
      empty where no training has generated labels.
    """
    sums: dict[int, dict[str, np.ndarray]] = {}
    limits: list[float] = []
    for row in (row for rows in trainings.values() for row in rows if "labels/limits" in row):
        limits, at = row["labels/limits"], sums.setdefault(row["step"], {})
        for name in row.keys() - {"step", "labels/limits"}:
            at[name] = at.get(name, 0) + np.array(row[name])
    steps = sorted(sums)
    if len(steps) > MOST_STEPS:
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST_STEPS).round().astype(int)]
    names = sorted(name.split("/", 1)[1] for name in sums[steps[0]] if name.startswith("labels/")) if steps else []

    def shares(step: int, name: str) -> list[float]:
        return _short(sums[step][name] / max(sums[step][name].sum(), 1))

    of_kind = ("labels", "changes")
    return {
        name: {
            "limits": limits,
            "steps": {str(s): {kind: shares(s, f"{kind}/{name}") for kind in of_kind} for s in steps},
        }
        for name in names
    }


def by_run(of: Callable[[Mapping[str, Rows]], dict[str, Any]], runs: Mapping[str, Mapping[str, Rows]]) -> dict:
    """`learning_curves` or `label_updates` of several runs, without those of which there are none."""
    return {run: content for run, trainings in runs.items() if (content := of(trainings))}


def _line(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> dict[str, list[float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    return {"x": _short(x[keep]), "y": _short(y[keep])}


def _short(values: np.ndarray) -> list[Any]:
    """As many digits as a picture shows."""
    return [float(f"{value:.5g}") for value in values] if values.dtype.kind == "f" else values.tolist()

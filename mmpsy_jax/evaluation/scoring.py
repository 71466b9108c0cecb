"""Predictions to the content of `report.json`: estimates, intervals, baselines, folds, seeds and red flags.

A run may have several folds and seeds. The seeds of a fold are averaged to an ensemble; the rows of all folds are
pooled ("out of fold") and resampled by participant, which gives the intervals. Next to them stand the metrics of each
fold and of each seed alone: their spread is another source of uncertainty than the sample of participants.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation import bootstrap, flags, metrics, weighted
from mmpsy_jax.evaluation.predictions import SPLITS, Predictions
from mmpsy_jax.tasks import Task, to_config

FORMAT = 1
DEFAULT_THRESHOLD = 0.5
SPARSE_REASON = "undefined in most resamples of participants"


def evaluate(
    predictions: Predictions,
    tasks: Sequence[Task],
    *,
    baselines: Mapping[str, Predictions] | None = None,
    seed: int = 0,
    n_bootstrap: int = bootstrap.RESAMPLES,
    synthetic: bool = False,
    method: bootstrap.Method = "bca",
    threshold_rule: str = "youden",
) -> dict[str, Any]:
    """Scores predictions beside baselines.

    Args:
      predictions: of the model, all folds and seeds; tasks that are not asked for are left out.
      tasks: what to score.
      baselines: predictions by name, on the same participants and folds; a row of the model that a baseline lacks is
        left out of the comparison with it.
      seed: of the bootstrap.
      n_bootstrap: resamples of participants.
      synthetic: whether the corpus is a made one; then a very high AUROC is no sign of a leak.
      method: "bca" or "percentile".
      threshold_rule: how thresholds are chosen on validation, see `metrics.choose_threshold`.

    Returns:
      A dictionary of plain numbers, strings and None, described in `docs/evaluation.md`.

    Raises:
      InputError: no predictions, a task that they lack or that has another kind there, or truths that differ between
        model and baseline.
    """
    baselines = dict(baselines or {})
    if not len(predictions):
        raise InputError("evaluate: there are no predictions")
    found = list(flags.of_table(predictions))
    report: dict[str, Any] = {
        "format": FORMAT,
        "synthetic": bool(synthetic),
        "bootstrap": {"resamples": n_bootstrap, "seed": seed, "method": method, "level": bootstrap.LEVEL},
        "folds": np.unique(predictions.fold).tolist(),
        "seeds": np.unique(predictions.seed).tolist(),
        "baselines": list(baselines),
        "task_definitions": to_config(tasks),
        "tasks": {},
    }
    options = {"seed": seed, "resamples": n_bootstrap, "method": method}
    for task in tasks:
        rows = _rows_of(task, predictions)
        beside = {name: _rows_of(task, table) for name, table in baselines.items() if task.name in table.task}
        model = _Predictor(task, rows.mean_over_seeds(), threshold_rule)
        others = {name: _Predictor(task, table.mean_over_seeds(), threshold_rule) for name, table in beside.items()}
        entry: dict[str, Any] = {"kind": task.kind, "label": task.label, "cutoffs": list(task.cutoffs), "splits": {}}
        if task.kind == "binary":
            entry["threshold_rule"] = threshold_rule
            entry["thresholds"] = {name: one.thresholds for name, one in {"model": model, **others}.items()}
            found += flags.of_thresholds(task.name, model.thresholds)
        for split in SPLITS:
            if split in rows.split:
                scored = _score_split(model, others, split, options)
                scored["seeds"] = _over_seeds(task, rows, split, threshold_rule)
                entry["splits"][split] = scored
                found += flags.of_split(task.name, task.kind, split, scored, synthetic)
        report["tasks"][task.name] = entry
    report["flags"] = sorted(found, key=lambda flag: flag["level"] != "red")
    return finite(report)


def _rows_of(task: Task, table: Predictions) -> Predictions:
    """Rows of a task; its kind must be the one that the columns show."""
    rows = table.select(task=task.name)
    if not len(rows):
        raise one_of("task in the predictions", task.name, np.unique(table.task))
    if (task.kind == "binary") != (not np.isnan(rows.y_prob[0])):
        filled = "y_pred" if np.isnan(rows.y_prob[0]) else "y_prob"
        raise InputError(
            f"task {task.name!r} is {task.kind}, but the predictions fill {filled}: fill y_prob for binary tasks and "
            "y_pred for the others, or give the task its real kind"
        )
    known = rows.y_true[~np.isnan(rows.y_true)]
    if task.kind == "ordinal" and not np.isin(known, np.arange(task.n_classes)).all():
        raise InputError(
            f"task {task.name!r}: y_true must be a band from 0 to {task.n_classes - 1}, not a score: apply the cut-offs"
        )
    return rows


@dataclasses.dataclass
class _Scored:
    """One predictor on some rows of one split."""

    task: Task
    y_true: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"]

    def point(self) -> metrics.Scores:
        if self.task.kind == "binary":
            return metrics.binary(self.y_true, self.y, self.positive)
        if self.task.kind == "ordinal":
            return metrics.ordinal(self.y_true, self.y, self.task.n_classes)
        return metrics.regression(self.y_true, self.y)

    def statistic(self) -> weighted.Statistic:
        if self.task.kind == "binary":
            return weighted.binary(self.y_true, self.y, self.positive)
        if self.task.kind == "ordinal":
            return weighted.ordinal(self.y_true, self.y, self.task.n_classes)
        return weighted.regression(self.y_true, self.y)

    def confusion(self) -> list[list[int]] | None:
        if self.task.kind == "regression":
            return None
        k = self.task.n_classes
        called = self.positive.astype(float) if self.task.kind == "binary" else metrics.rounded_band(self.y, k)
        return metrics.confusion(self.y_true, called, k).tolist()

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "_Scored":
        return _Scored(self.task, self.y_true[rows], self.y[rows], self.positive[rows])


class _Predictor:
    """The predictions of one model or baseline for one task, and its thresholds."""

    def __init__(self, task: Task, rows: Predictions, rule: str):
        self.task, self.rows = task, rows
        self.thresholds = choose_thresholds(rows, rule) if task.kind == "binary" else []

    def split(self, name: str) -> tuple[Predictions, _Scored]:
        """Rows of a split with a known label, and what scores them."""
        rows = self.rows.select(split=name).known()
        return rows, _Scored(self.task, rows.y_true, _values(rows), decide(rows, self.thresholds))


def _values(rows: Predictions) -> Float[np.ndarray, " n"]:
    """The column that holds the prediction; the other one is empty."""
    return np.where(np.isnan(rows.y_prob), rows.y_pred, rows.y_prob)


def choose_thresholds(rows: Predictions, rule: str) -> list[dict[str, Any]]:
    """A threshold per fold from the validation rows of that fold, never from test.

    Returns:
      {"fold", "value", "source", "n"} per fold; source is "validation", or "default" where the fold has no validation
      rows of both classes.
    """
    validation = rows.select(split="validation").known()
    made = []
    for fold in np.unique(rows.fold).tolist():
        part = validation.select(fold=fold)
        entry = {"fold": fold, "value": DEFAULT_THRESHOLD, "source": "default", "n": len(part)}
        if len(np.unique(part.y_true)) == 2:
            entry |= {"value": metrics.choose_threshold(part.y_true, part.y_prob, rule), "source": "validation"}
        made.append(entry)
    return made


def decide(rows: Predictions, thresholds: Sequence[Mapping[str, Any]]) -> Bool[np.ndarray, " n"]:
    """Whether each row's probability reaches the threshold of its fold; all False without thresholds."""
    by_fold = {entry["fold"]: entry["value"] for entry in thresholds}
    limits = np.array([by_fold.get(fold, np.inf) for fold in rows.fold.tolist()], np.float64)
    return np.nan_to_num(rows.y_prob, nan=-1.0) >= limits


def _score_split(model: _Predictor, others: Mapping[str, _Predictor], split: str, options: dict) -> dict[str, Any]:
    """The entry of one task and split: point estimates and intervals of all predictors, and paired differences."""
    rows, scored = model.split(split)
    aligned = {name: _align(rows, *other.split(split), name) for name, other in others.items()}
    pairs = {name: pair for name, pair in aligned.items() if pair[0].any()}
    intervals = _intervals(rows, scored, pairs, options)
    entry = {
        "n_participants": len(np.unique(rows.participant_id)),
        "n_rows": len(rows),
        "n_without_label": len(model.rows.select(split=split)) - len(rows),
        # Repeats of a cross-validation test everybody again: participants are counted, not rows.
        "n_events": len(np.unique(rows.participant_id[rows.y_true == 1])) if model.task.kind == "binary" else None,
        "prevalence": float(rows.y_true.mean()) if model.task.kind == "binary" and len(rows) else None,
        "model": _with_intervals(scored.point(), intervals.get("model")),
        "baselines": {k: _with_intervals(theirs.point(), intervals.get(k)) for k, (_, theirs) in pairs.items()},
        "differences": {k: _differences(scored, *pairs[k], intervals.get(("difference", k))) for k in pairs},
        "baseline_rows": {k: int(common.sum()) for k, (common, _) in aligned.items()},
        "confusion": scored.confusion(),
        "baseline_confusion": {k: theirs.confusion() for k, (_, theirs) in pairs.items()},
    }
    entry["folds"] = _over_folds(rows, scored, pairs)
    return entry


def _align(
    rows: Predictions, other_rows: Predictions, other: _Scored, name: str
) -> tuple[Bool[np.ndarray, " n"], _Scored]:
    """Which of the model's rows a baseline has too, and the baseline's rows in the model's order."""
    where = {
        key: i for i, key in enumerate(zip(other_rows.participant_id.tolist(), other_rows.fold.tolist(), strict=True))
    }
    keys = zip(rows.participant_id.tolist(), rows.fold.tolist(), strict=True)
    index = np.array([where.get(key, -1) for key in keys], np.int64)
    common = index >= 0
    theirs = other.take(index[common])
    if not np.array_equal(theirs.y_true, rows.y_true[common].astype(theirs.y_true.dtype)):
        raise InputError(
            f"baseline {name!r} and the model disagree on y_true of task {other.task.name!r}: compare predictions "
            "of the same participants with the same labels"
        )
    return common, theirs


def _intervals(rows, scored, pairs, options) -> dict[Any, Any]:
    """(low, high, method) arrays by predictor and by ("difference", baseline), all from the same resamples."""
    if not len(rows):
        return {}
    own = scored.statistic()
    parts = {
        name: (common, theirs.statistic(), scored.take(common).statistic()) for name, (common, theirs) in pairs.items()
    }

    def statistic(weights):
        columns = [own(weights)]
        for common, theirs, ours in parts.values():
            whole = bool(common.all())
            subset = weights if whole else weights[:, common]
            columns.append(_where_drawn(theirs, subset))
            columns.append((columns[0] if whole else _where_drawn(ours, subset)) - columns[-1])
        return np.concatenate(columns, axis=1)

    made = bootstrap.bootstrap(rows.participant_id, statistic, **options)
    names = ["model"]
    for name in parts:
        names += [name, ("difference", name)]
    k = len(made.value) // len(names)
    cut = [slice(i * k, (i + 1) * k) for i in range(len(names))]
    return {name: (made.low[c], made.high[c], made.method[c]) for name, c in zip(names, cut, strict=True)}


def _where_drawn(statistic: weighted.Statistic, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
    """A statistic of part of the rows: NaN for resamples that drew none of them."""
    drawn = weights.any(1)
    if drawn.all():
        return statistic(weights)
    made = statistic(np.where(drawn[:, None], weights, 1.0))
    made[~drawn] = np.nan
    return made


def _with_intervals(scores: metrics.Scores, interval) -> dict[str, dict[str, Any]]:
    made = {}
    for k, (name, value) in enumerate(scores.values.items()):
        low, high, method = (math.nan, math.nan, None) if interval is None else (x[k] for x in interval)
        made[name] = {"value": value, "low": low, "high": high, "interval": method}
        reason = scores.reasons.get(name) or (SPARSE_REASON if method == "undefined" else None)
        if reason:
            made[name]["reason"] = reason
    return made


def _differences(scored: _Scored, common, theirs: _Scored, interval) -> dict[str, dict[str, Any]]:
    """Model minus baseline on the rows that both have."""
    ours, other = scored.take(common).point(), theirs.point()
    values = {name: ours.values[name] - other.values[name] for name in ours.values}
    return _with_intervals(metrics.Scores(values, {**other.reasons, **ours.reasons}), interval)


def _over_folds(rows: Predictions, scored: _Scored, pairs) -> dict[str, Any] | None:
    """Metrics of each fold and their mean and standard deviation; None for a single fold."""
    folds = np.unique(rows.fold)
    if len(folds) < 2:
        return None
    made = {"ids": folds.tolist(), "model": spread([scored.take(rows.fold == f).point() for f in folds])}
    made["baselines"] = {
        name: spread([theirs.take(rows.fold[common] == f).point() for f in folds])
        for name, (common, theirs) in pairs.items()
    }
    return made


def _over_seeds(task: Task, rows: Predictions, split: str, rule: str) -> dict[str, Any] | None:
    """Metrics of each seed alone, folds pooled; None for a single seed."""
    seeds = np.unique(rows.seed)
    if len(seeds) < 2:
        return None
    points = [_Predictor(task, rows.select(seed=seed), rule).split(split)[1].point() for seed in seeds]
    return {"ids": seeds.tolist(), "model": spread(points)}


def spread(points: Sequence[metrics.Scores]) -> dict[str, dict[str, Any]]:
    """Per metric the values, their mean and their sample standard deviation, over those that are defined."""
    made = {}
    for name in points[0].values:
        values = np.array([point.values[name] for point in points])
        defined = values[np.isfinite(values)]
        made[name] = {
            "values": values.tolist(),
            "mean": float(defined.mean()) if len(defined) else math.nan,
            "sd": float(defined.std(ddof=1)) if len(defined) > 1 else math.nan,
        }
    return made


def finite(value: Any) -> Any:
    """Plain Python values for JSON; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value

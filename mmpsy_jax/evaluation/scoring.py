"""Predictions to the content of `report.json`: estimates, intervals, baselines, folds, seeds and red flags.

A run may have several folds and seeds. The seeds of a fold are averaged to an ensemble; the rows of all folds are
pooled ("out of fold") and resampled by participant, which gives the intervals. Next to them stand the metrics of each
fold and of each seed alone: their spread is another source of uncertainty than the sample of participants.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmpsy_jax.evaluation import (
    bootstrap,
    breakdown,
    calibration,
    comparison,
    decision,
    flags,
    infer_tasks,
    metrics,
    multilabel,
    operating_points,
    out_of_fold,
    together,
)
from mmpsy_jax.evaluation.bootstrap import with_intervals
from mmpsy_jax.evaluation.operating_points import choose_thresholds, decide
from mmpsy_jax.evaluation.predictions import SPLITS, Predictions
from mmpsy_jax.evaluation.rows import BinaryRows, ClassRows, Rows, Statistic, where_drawn
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.tasks import BANDS, Task, to_config

FORMAT = 1


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
    as_labels: bool = False,
    within_clusters: bool = False,
    progress: Callable[[str], Any] = lambda line: None,
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
      threshold_rule: how thresholds are chosen on validation, see `operating_points`; "argmax" takes 0.5.
      as_labels: the binary tasks are labels of which any number may hold: "multilabel" has means over them.
      within_clusters: splits divide the rows of a cluster (days of a person, by time) instead of the clusters.
      progress: is called with a line for each task and split before it is scored.

    Returns:
      A dictionary of plain numbers, strings and None, described in `docs/evaluation.md`.

    Raises:
      InputError: no predictions, a task that they lack or that has another kind there, or truths that differ between
        model and baseline.
    """
    baselines = dict(baselines or {})
    if not len(predictions):
        raise InputError("evaluate: there are no predictions")
    noticed = list(flags.of_table(predictions, within_clusters))
    alone = np.array_equal(predictions.cluster, predictions.participant_id)
    how = {"unit": "participants" if alone else "clusters of participants"}
    report: dict[str, Any] = {
        "format": FORMAT,
        "synthetic": bool(synthetic),
        "bootstrap": {**how, "resamples": n_bootstrap, "seed": seed, "method": method, "level": bootstrap.LEVEL},
        "within_clusters": within_clusters,
        "folds": np.unique(predictions.fold).tolist(),
        "seeds": np.unique(predictions.seed).tolist(),
        "baselines": list(baselines),
        "task_definitions": to_config(tasks),
        "tasks": {},
    }
    options = {"seed": seed, "resamples": n_bootstrap, "method": method}
    models: dict[str, Predictor] = {}
    for number, task in enumerate(tasks, 1):
        rows = rows_of(task, predictions)
        tables = {name: rows_of(task, table) for name, table in baselines.items() if task.name in table.task}
        noticed += flags.of_scale(task, rows.y_true)
        models[task.name] = model = Predictor(task, rows.over_seeds(task.kind), threshold_rule)
        others = {k: Predictor(task, table.over_seeds(task.kind), threshold_rule) for k, table in tables.items()}
        entry: dict[str, Any] = {"kind": task.kind, "label": task.label, "cutoffs": list(task.cutoffs), "splits": {}}
        if task.named:
            entry["classes"] = list(task.classes)
        if task.event:
            entry["threshold_rule"] = threshold_rule
            entry["thresholds"] = {name: one.thresholds for name, one in {"model": model, **others}.items()}
            noticed += flags.of_thresholds(task.name, model.thresholds)
        for split in SPLITS:
            if split in rows.split:
                progress(f"task {number} of {len(tasks)}, {task.name}: {split} split, {n_bootstrap} resamples")
                scored = _score_split(model, others, split, options)
                scored["seeds"] = _over_seeds(task, rows, split, threshold_rule)
                entry["splits"][split] = scored
                noticed += flags.of_split(task, split, scored, synthetic)
        report["tasks"][task.name] = entry
    for split in SPLITS:  # one family of tests per split: all tasks and baselines
        scored = [entry["splits"][split] for entry in report["tasks"].values() if split in entry["splits"]]
        comparison.adjust([one for part in scored for one in part["comparisons"].values()])
    if as_labels:
        binary = {name: model for name, model in models.items() if model.task.event}
        thresholds = {name: model.thresholds for name, model in binary.items()}
        report["multilabel"] = {s: multilabel.entry(rows, thresholds, options) for s, rows in _by_split(binary)}
    if together.of_one_set(tasks):
        aligned = ((s, rows) for s, rows in _by_split(models) if together.aligned(rows))
        report["together"] = {s: together.entry(rows, options) for s, rows in aligned}
    report["checks"] = flags.checks(predictions, report["tasks"], synthetic)
    report["flags"] = flags.red_first(noticed)
    return finite(report)


def _by_split(models: Mapping[str, "Predictor"]) -> Iterator[tuple[str, dict[str, Predictions]]]:
    """Split, and its rows by task."""
    for split in np.unique(np.concatenate([model.rows.split for model in models.values()])).tolist():
        yield split, {name: model.rows.select(split=split) for name, model in models.items()}


def rows_of(task: Task, table: Predictions) -> Predictions:
    """Rows of a task; its kind must be the one that the columns show."""
    rows = table.select(task=task.name)
    if not len(rows):
        raise one_of("task in the predictions", task.name, np.unique(table.task))
    known = rows.y_true[~np.isnan(rows.y_true)]
    if task.event == np.isnan(rows.y_prob[0]):
        filled = "y_pred" if np.isnan(rows.y_prob[0]) else "y_prob"
        if task.event:
            infer_tasks.ask_about_decisions(task.name, known, rows.y_pred)
        raise InputError(
            f"task {task.name!r} is {task.kind}, but the predictions fill {filled}: fill y_prob for binary tasks and "
            "y_pred for the others, or give the task its real kind"
        )
    task.check(known, rows.y_pred)
    return rows


@dataclasses.dataclass
class Scored:
    """One predictor on some rows of one split."""

    task: Task
    y_true: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"]

    def point(self) -> metrics.Scores:
        return metrics.point(self._rows)

    def statistic(self) -> Statistic:
        return metrics.statistic(self._rows)

    @functools.cached_property
    def _rows(self) -> Rows:
        return metrics.rows_of(self.task, self.y_true, self.y, self.positive)

    def confusion(self) -> list[list[int]] | None:
        if not self.task.n_classes:
            return None
        if self.task.event:
            return ClassRows(self.y_true, self.positive, 2).confusion().tolist()
        return self._rows.confusion().tolist()

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "Scored":
        return Scored(self.task, self.y_true[rows], self.y[rows], self.positive[rows])


class Predictor:
    """The predictions of one model or baseline for one task, and its thresholds."""

    def __init__(self, task: Task, rows: Predictions, rule: str):
        self.task, self.rows = task, rows
        self.thresholds = choose_thresholds(rows, rule) if task.event else []

    @functools.cached_property
    def operating_points(self) -> dict[str, list[dict[str, Any]]]:
        """Thresholds by every rule; none where there is no event."""
        rules = operating_points.RULES if self.task.event else ()
        return {rule: choose_thresholds(self.rows, rule) for rule in rules}

    def split(self, name: str) -> tuple[Predictions, Scored]:
        """Rows of a split with a known label, and what scores them."""
        rows = self.rows.select(split=name).known()
        return rows, Scored(self.task, rows.y_true, _values(rows), decide(rows, self.thresholds))


def _values(rows: Predictions) -> Float[np.ndarray, " n"]:
    """The column that holds the prediction; the other one is empty."""
    return np.where(np.isnan(rows.y_prob), rows.y_pred, rows.y_prob)


def _score_split(model: Predictor, others: Mapping[str, Predictor], split: str, options: dict) -> dict[str, Any]:
    """The entry of one task and split: point estimates and intervals of all predictors, and paired differences."""
    rows, scored = model.split(split)
    aligned = {name: _align(rows, *other.split(split), name) for name, other in others.items()}
    pairs = {name: pair for name, pair in aligned.items() if pair[0].any()}
    decisions = {rule: decide(rows, thresholds) for rule, thresholds in model.operating_points.items()}
    known, recalibrated, lacking = model.rows.known(), {}, ""
    if split == "test" and model.task.event:  # what is fitted on validation is measured elsewhere
        recalibrated, lacking = calibration.recalibrated(known, rows)
    intervals = _intervals(rows, scored, pairs, decisions, recalibrated, options)
    differences = {k: _differences(scored, *pairs[k], intervals.get(("difference", k))) for k in pairs}
    constant = [k for k, (common, theirs) in pairs.items() if _is_constant(theirs.y, rows.fold[common])]
    entry = {
        "n_participants": len(np.unique(rows.participant_id)),
        "n_rows": len(rows),
        "n_without_label": len(model.rows.select(split=split)) - len(rows),
        # Repeats of a cross-validation test everybody again: participants are counted, not rows.
        "n_events": len(np.unique(rows.participant_id[rows.y_true == 1])) if model.task.event else None,
        "prevalence": float(rows.y_true.mean()) if model.task.event and len(rows) else None,
        "model": with_intervals(scored.point(), intervals.get("model")),
        "baselines": {k: with_intervals(theirs.point(), intervals.get(k)) for k, (_, theirs) in pairs.items()},
        "differences": differences,
        "comparisons": {
            k: _compare(rows, scored, *pairs[k], differences[k], intervals["difference", k].p[0])
            for k in pairs
            if not model.task.n_classes or k not in constant  # every constant is as good by the first metric
        },
        "constant_baselines": constant,
        "baseline_rows": {k: int(common.sum()) for k, (common, _) in aligned.items()},
        "confusion": scored.confusion(),
        "baseline_confusion": {k: theirs.confusion() for k, (_, theirs) in pairs.items()},
    }
    entry["folds"] = _over_folds(rows, scored, pairs)
    if not len(rows):
        return entry
    task, confusion = model.task, entry["confusion"]
    more: dict[str, Callable[[], Any]] = {
        "operating_points": lambda: operating_points.entry(
            model.operating_points, rows.y_true, decisions, intervals["operating_points"]
        ),
        "decision_curve": lambda: decision.entry(
            rows.y_true,
            scored.y,
            intervals["decision_curve"],
            {name: (theirs.y_true, theirs.y) for name, (_, theirs) in pairs.items()},
        ),
        "bands": lambda: breakdown.bands(np.array(confusion)),
        "per_class": lambda: breakdown.per_class(np.array(confusion)),
        "agreement": lambda: breakdown.agreement(rows.y_true, scored.y),
    }
    if split == "test":
        more["recalibration"] = lambda: calibration.recalibration(
            rows.y_true,
            recalibrated,
            lacking,
            {name: intervals.get(("recalibrated", name)) for name in recalibrated},
            out_of_fold.calibrating(known, ())[1],
        )
        more["conformal"] = lambda: (
            calibration.conformal(known, rows, task.n_classes, task.cutoffs or BANDS.get(task.label, ()))
            if task.conformal
            else calibration.NOMINAL
        )
    return entry | {name: more[name]() for name in task.entries if name in more}


def _is_constant(y: Float[np.ndarray, " n"], fold: Int[np.ndarray, " n"]) -> bool:
    """Whether a predictor says the same of everybody in each fold."""
    return all(np.ptp(y[fold == one]) == 0 for one in np.unique(fold))


def _align(
    rows: Predictions, other_rows: Predictions, other: Scored, name: str
) -> tuple[Bool[np.ndarray, " n"], Scored]:
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


def _intervals(rows, scored, pairs, decisions, recalibrated, options) -> dict[Any, bootstrap.Intervals]:
    """Of all predictors, differences ("difference", baseline), curves and ("recalibrated", method), all from the same
    resamples."""
    if not len(rows):
        return {}
    of_model = scored.statistic()
    parts = {
        name: (common, theirs.statistic(), scored.take(common).statistic()) for name, (common, theirs) in pairs.items()
    }
    curves: dict[Any, Statistic] = {}
    if scored.task.event:
        called = np.stack(list(decisions.values()), axis=1)
        curves["operating_points"] = metrics.decisions(scored.y_true, called, operating_points.METRICS)
        curves["decision_curve"] = decision.weighted_net_benefit(scored.y_true, scored.y)
    for name, prob in recalibrated.items():
        curves["recalibrated", name] = metrics.statistic(BinaryRows(scored.y_true, prob), calibration.RECALIBRATED)

    def blocks(weights):
        intervals = {"model": of_model(weights)}
        for name, (common, theirs, ours) in parts.items():
            whole = bool(common.all())
            subset = weights if whole else np.compress(common, weights, axis=1)
            intervals[name] = where_drawn(theirs, subset)
            intervals["difference", name] = (intervals["model"] if whole else where_drawn(ours, subset)) - intervals[
                name
            ]
        return intervals | {name: statistic(weights) for name, statistic in curves.items()}

    widths = {name: block.shape[1] for name, block in blocks(np.ones((1, len(rows)))).items()}
    intervals = bootstrap.bootstrap(
        rows.cluster, lambda weights: np.concatenate(list(blocks(weights).values()), axis=1), **options
    )
    ends = np.cumsum(list(widths.values()))
    return {name: intervals.part(slice(end - widths[name], end)) for name, end in zip(widths, ends, strict=True)}


def _differences(scored: Scored, common, theirs: Scored, interval) -> dict[str, dict[str, Any]]:
    """Model minus baseline on the rows that both have."""
    ours, other = scored.take(common).point(), theirs.point()
    values = {name: ours.values[name] - other.values[name] for name in ours.values}
    return with_intervals(metrics.Scores(values, {**other.reasons, **ours.reasons}), interval)


def _compare(rows, scored: Scored, common, theirs: Scored, differences, p: float) -> dict[str, Any]:
    """The entry "comparisons" of one baseline: a test of the first metric."""
    metric = next(iter(metrics.NAMES[scored.task.kind]))
    cell = differences[metric]
    test, result = "bootstrap", {"difference": cell["value"], "low": cell["low"], "high": cell["high"], "p": p}
    independent = len(np.unique(rows.cluster[common])) == common.sum()
    if metric == "auroc" and independent and np.isfinite(cell["value"]):
        test, result = "delong", dataclasses.asdict(comparison.delong(theirs.y_true, scored.y[common], theirs.y))
    if not np.isfinite(result["p"]):
        result["reason"] = cell.get("reason", comparison.NO_VARIANCE)
    return {"metric": metric, **result, "test": test}


def _over_folds(rows: Predictions, scored: Scored, pairs) -> dict[str, Any] | None:
    """Metrics of each fold and their mean and standard deviation; None for a single fold."""
    folds = np.unique(rows.fold)
    if len(folds) < 2:
        return None
    content = {"ids": folds.tolist(), "model": spread([scored.take(rows.fold == f).point() for f in folds])}
    content["baselines"] = {
        name: spread([theirs.take(rows.fold[common] == f).point() for f in folds])
        for name, (common, theirs) in pairs.items()
    }
    return content


def _over_seeds(task: Task, rows: Predictions, split: str, rule: str) -> dict[str, Any] | None:
    """Metrics of each seed alone, folds pooled; None for a single seed."""
    seeds = np.unique(rows.seed)
    if len(seeds) < 2:
        return None
    points = [Predictor(task, rows.select(seed=seed), rule).split(split)[1].point() for seed in seeds]
    return {"ids": seeds.tolist(), "model": spread(points)}


def spread(points: Sequence[metrics.Scores]) -> dict[str, dict[str, Any]]:
    """Per metric the values, their mean and their sample standard deviation, over those that are defined."""
    cells = {}
    for name in points[0].values:
        values = np.array([point.values[name] for point in points])
        defined = values[np.isfinite(values)]
        cells[name] = {
            "values": values.tolist(),
            "mean": float(defined.mean()) if len(defined) else math.nan,
            "sd": float(defined.std(ddof=1)) if len(defined) > 1 else math.nan,
        }
    return cells


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

"""Recalibrated probabilities and split-conformal sets, fitted on the validation rows of a fold, measured on test rows.

Where a fold has no validation rows to fit on there is a reason instead of numbers: nothing is fitted on test.
`of_run` keeps what is fitted for whoever predicts with the run, `calibrated` and `band_set` apply it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from jaxtyping import Bool, Float, Int
from sklearn.isotonic import IsotonicRegression

from mmpsy_jax.evaluation import bootstrap, logistic, metrics
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import BinaryRows, rounded_band
from mmpsy_jax.tasks import Task

# What recalibration may change; ranking and decisions stand elsewhere.
RECALIBRATED = ("brier", "log_loss", "ece", "calibration_slope", "calibration_intercept")
LEVEL = 0.9

# Bounds of the logarithm of a temperature: beyond them the probabilities are all alike, or all 0 or 1.
_LOG_TEMPERATURES = (-5.0, 5.0)

# The entry "conformal" of a nominal task.
NOMINAL = {
    "level": LEVEL,
    "coverage": math.nan,
    "reason": "predictions.csv holds the class of a nominal task, not the probabilities that sets are made from",
}

# Probabilities to recalibrated ones.
Map = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]


def calibration_bins(
    y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], bins: int = metrics.ECE_BINS
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Mean probability, share of positives and number of participants in bins of equal mass.

    A bin is the tenth in which the middle of the ranks lies; equal probabilities share a bin, so that the result does
    not depend on the order of rows and a constant prediction makes one bin.
    """
    middle = scipy.stats.rankdata(y_prob) - 0.5
    which = np.minimum((bins * middle / len(y_prob)).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = counts > 0
    sums = [np.bincount(which, weights=column, minlength=bins)[filled] for column in (y_prob, y_true)]
    return sums[0] / counts[filled], sums[1] / counts[filled], counts[filled]


def fit_temperature(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> float:
    """The temperature T > 0 for which sigmoid(logit(p) / T) has the least log loss (Guo et al. 2017)."""
    log_odds = logistic.logit(y_prob)

    def loss(log_temperature):
        scaled = log_odds * np.exp(-log_temperature)
        return np.mean(np.logaddexp(0, scaled) - y_true * scaled)

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def temperature(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Map:
    """The map of `fit_temperature`."""
    divisor = fit_temperature(y_true, y_prob)
    return lambda prob: scaled(prob, divisor)


def scaled(y_prob: Float[np.ndarray, "..."], divisor: float) -> Float[np.ndarray, "..."]:
    """Probabilities whose log odds are divided by a temperature."""
    return scipy.special.expit(logistic.logit(y_prob) / divisor)


def isotonic(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Map:
    """The monotone map of least squares (Zadrozny and Elkan 2002), constant beyond the values it was fitted on."""
    return IsotonicRegression(out_of_bounds="clip").fit(y_prob, y_true).predict


METHODS: dict[str, Callable[..., Map]] = {"temperature": temperature, "isotonic": isotonic}


def recalibrated(validation: Predictions, rows: Predictions) -> tuple[dict[str, Float[np.ndarray, " n"]], str]:
    """Probabilities of the rows after each of `METHODS`, or none and the reason.

    Args:
      validation: rows with known truth to fit on.
      rows: rows with known truth to measure on, of the same folds.
    """
    folds = np.unique(rows.fold).tolist()
    fitted_on = [validation.select(fold=fold) for fold in folds]
    if lacking := _of_one_class(folds, fitted_on):
        return {}, lacking
    probabilities = {name: np.empty(len(rows)) for name in METHODS}
    for fold, part in zip(folds, fitted_on, strict=True):
        there = rows.fold == fold
        for name, fit in METHODS.items():
            probabilities[name][there] = fit(part.y_true, part.y_prob)(rows.y_prob[there])
    return probabilities, ""


def recalibration(
    y_true: Float[np.ndarray, " n"],
    probabilities: Mapping[str, Float[np.ndarray, " n"]],
    reason: str,
    intervals: Mapping[str, bootstrap.Intervals],
) -> dict[str, Any]:
    """The entry "recalibration" of a report.

    Args:
      y_true: of the rows.
      probabilities, reason: from `recalibrated`.
      intervals: of `RECALIBRATED`, by method.
    """
    if not probabilities:
        return {"fitted_on": None, "reason": reason}
    entry: dict[str, Any] = {"fitted_on": "validation"}
    for name, prob in probabilities.items():
        entry[name] = bootstrap.with_intervals(metrics.point(BinaryRows(y_true, prob), RECALIBRATED), intervals[name])
    return entry


def conformal_quantile(residuals: Float[np.ndarray, " n"], level: float = LEVEL) -> float:
    """The radius within which a new residual lies with at least this probability, if all are exchangeable.

    It is the ceil((n + 1) level)-th smallest of the n absolute residuals (Vovk et al. 2005; Lei et al. 2018), infinite
    where n is too small for that.
    """
    rank = math.ceil((len(residuals) + 1) * level - 1e-9)  # a product that rounding leaves just above a whole number
    return float(np.sort(np.abs(residuals))[rank - 1]) if rank <= len(residuals) else math.inf


def conformal(validation: Predictions, rows: Predictions, n_classes: int = 0) -> dict[str, Any]:
    """The entry "conformal" of a report: how often the truth lies within the radius of the prediction, and its size.

    The score is |truth - prediction|, for bands too, whose prediction is an expected band (`band_set`).

    Args:
      validation: rows with known truth to fit on.
      rows: rows with known truth to measure on, of the same folds; at least one.
      n_classes: number of bands, 0 for scores.
    """
    size = "mean_size" if n_classes else "mean_width"
    folds, where = np.unique(rows.fold, return_inverse=True)
    fitted_on = [validation.select(fold=fold) for fold in folds.tolist()]
    entry = {"level": LEVEL, "coverage": math.nan, size: math.nan, "n_calibration": sum(map(len, fitted_on))}
    radii = np.array([conformal_quantile(part.y_true - part.y_pred) for part in fitted_on])
    lacking = folds[np.isinf(radii)].tolist()
    if lacking:
        return entry | {"reason": _lacking(f"enough for level {LEVEL}", lacking)}
    radius = radii[where]
    if n_classes:
        sets = band_set(rows.y_pred, radius, n_classes)
        covered, sizes = sets[np.arange(len(rows)), rows.y_true.astype(int)], sets.sum(1)
    else:
        covered, sizes = np.abs(rows.y_true - rows.y_pred) <= radius, 2 * radius
    return entry | {"coverage": float(covered.mean()), size: float(sizes.mean())}


def band_set(
    y_pred: Float[np.ndarray, " n"], radius: float | Float[np.ndarray, " n"], n_classes: int
) -> Bool[np.ndarray, "n k"]:
    """Which bands are in the set of each expected band: those within the radius, and always the nearest one.

    The second makes sets larger, never smaller, so it keeps the coverage; an empty set would tell nobody anything.
    """
    bands = np.arange(n_classes)
    nearest = rounded_band(y_pred, n_classes)
    return (np.abs(bands - y_pred[:, None]) <= np.reshape(radius, (-1, 1))) | (bands == nearest[:, None])


def of_run(predictions: Predictions, tasks: Sequence[Task]) -> dict[str, Any]:
    """The entry "calibration" of `model.json`: what is fitted on the validation rows of a run, for use on new people.

    Seeds of a fold are averaged first, as in the evaluation. A probability gets a temperature per fold. A score or a
    band gets one radius for the mean over all folds: the conformal quantile of the pooled residuals that each fold's
    model leaves on its validation rows (our choice). With several folds that promises nothing exactly: nobody is
    unseen by all of them. In practice a mean over folds errs less than one of them, which makes the radius wide.

    Returns:
      {"level", "tasks": {TASK: {"temperatures": {FOLD: T}} | {"radius", "n_calibration", "coverage"} | {"reason"}}};
      `coverage` is that of each fold's own radius on its test rows, None where it is undefined.
    """
    fitted: dict[str, Any] = {}
    for task in tasks:
        rows = predictions.select(task=task.name).over_seeds(task.kind).known()
        validation, test = (rows.select(split=split) for split in ("validation", "test"))
        fitted[task.name] = _of_task(task, np.unique(predictions.fold).tolist(), validation, test)
    return {"level": LEVEL, "tasks": fitted}


def _of_task(task: Task, folds: Sequence[int], validation: Predictions, test: Predictions) -> dict[str, Any]:
    if task.event:
        fitted_on = [validation.select(fold=fold) for fold in folds]
        if lacking := _of_one_class(folds, fitted_on):
            return {"reason": lacking}
        pairs = zip(folds, fitted_on, strict=True)
        return {"temperatures": {str(fold): fit_temperature(part.y_true, part.y_prob) for fold, part in pairs}}
    if not task.conformal:
        return {"reason": NOMINAL["reason"]}
    radius = conformal_quantile(validation.y_true - validation.y_pred)
    if math.isinf(radius):
        return {"reason": f"{len(validation)} validation rows are too few for level {LEVEL}"}
    coverage = conformal(validation, test, task.n_classes)["coverage"] if len(test) else math.nan
    measured = None if math.isnan(coverage) else coverage
    return {"radius": radius, "n_calibration": len(validation), "coverage": measured}


def calibrated(
    values: Float[np.ndarray, "t n"], folds: Int[np.ndarray, " t"], temperatures: Mapping[str, float]
) -> Float[np.ndarray, " n"]:
    """Probabilities of an ensemble: the mean over seeds, scaled by the temperature of the fold, the mean over folds.

    Args:
      values: of each training.
      folds: of each training.
      temperatures: by fold, from `of_run`.
    """
    parts = [scaled(values[folds == fold].mean(axis=0), temperatures[str(fold)]) for fold in np.unique(folds).tolist()]
    return np.mean(parts, axis=0)


def _of_one_class(folds: Sequence[int], fitted_on: Sequence[Predictions]) -> str:
    """Why no probabilities can be recalibrated; "" where each fold has rows of both classes."""
    lacking = [fold for fold, part in zip(folds, fitted_on, strict=True) if len(np.unique(part.y_true)) < 2]
    return _lacking("of both classes", lacking) if lacking else ""


def _lacking(what: str, folds: list[int]) -> str:
    return f"no validation rows {what} in fold {', '.join(map(str, folds))}"

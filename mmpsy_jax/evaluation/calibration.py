"""Recalibrated probabilities and conformal sets, fitted on the validation rows of a fold, measured on test rows.

A cross-validation without validation rows calibrates each fold by the tested rows of the others (`out_of_fold.py`).
Where there is neither, there is a reason instead of numbers: nothing is fitted on the people whom it is applied to.
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

from mmpsy_jax.evaluation import bootstrap, logistic, metrics, operating_points, out_of_fold
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


def recalibrated(known: Predictions, rows: Predictions) -> tuple[dict[str, Float[np.ndarray, " n"]], str]:
    """Probabilities of the rows after each of `METHODS`, or none and the reason.

    Args:
      known: rows of validation and test with known truth, to fit on as `out_of_fold.calibrating` says.
      rows: rows with known truth to measure on, of the same folds.
    """
    folds = np.unique(rows.fold).tolist()
    fitted_on, _ = out_of_fold.calibrating(known, folds)
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
    fitted_on: str = out_of_fold.VALIDATION,
) -> dict[str, Any]:
    """The entry "recalibration" of a report.

    Args:
      y_true: of the rows.
      probabilities, reason: from `recalibrated`.
      intervals: of `RECALIBRATED`, by method.
      fitted_on: what `out_of_fold.calibrating` says.
    """
    if not probabilities:
        return {"fitted_on": None, "reason": reason}
    entry: dict[str, Any] = {"fitted_on": fitted_on}
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


def conformal(
    known: Predictions, rows: Predictions, n_classes: int = 0, cutoffs: Sequence[float] = ()
) -> dict[str, Any]:
    """The entry "conformal" of a report: how often the truth lies within the radius of the prediction, and its size.

    The score is |truth - prediction|, for bands too, whose prediction is an expected band (`band_set`).

    Args:
      known: rows of validation and test with known truth, to fit on as `out_of_fold.calibrating` says.
      rows: rows with known truth to measure on, of the same folds; at least one.
      n_classes: number of bands, 0 for scores.
      cutoffs: of scores, by which the coverage of bands of the truth is told; that of classes is told by class.
    """
    size = "mean_size" if n_classes else "mean_width"
    folds, where = np.unique(rows.fold, return_inverse=True)
    fitted_on, source = out_of_fold.calibrating(known, folds.tolist())
    n = len(known.select(split="test")) if source == out_of_fold.OUT_OF_FOLD else sum(map(len, fitted_on))
    entry = {"level": LEVEL, "coverage": math.nan, size: math.nan, "n_calibration": n}
    entry |= {"fitted_on": source} if source == out_of_fold.OUT_OF_FOLD else {}
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
    entry |= {"coverage": float(covered.mean()), size: float(sizes.mean())}
    if cutoffs:
        band = rows.y_true.astype(int) if n_classes else np.digitize(rows.y_true, cutoffs)
        parts = [(k, covered[band == k]) for k in range(len(cutoffs) + 1)]
        entry["bands"] = [{"band": k, "n": len(c), "coverage": float(c.mean())} for k, c in parts if len(c)]
    return entry


def band_set(
    y_pred: Float[np.ndarray, " n"], radius: float | Float[np.ndarray, " n"], n_classes: int
) -> Bool[np.ndarray, "n k"]:
    """Which bands are in the set of each expected band: those within the radius, and always the nearest one.

    The second makes sets larger, never smaller, so it keeps the coverage; an empty set would tell nobody anything.
    """
    bands = np.arange(n_classes)
    nearest = rounded_band(y_pred, n_classes)
    return (np.abs(bands - y_pred[:, None]) <= np.reshape(radius, (-1, 1))) | (bands == nearest[:, None])


def of_run(predictions: Predictions, tasks: Sequence[Task], rule: str = "youden") -> dict[str, Any]:
    """The entry "calibration" of `model.json`: what is fitted on people whom a fold was not trained on, for new ones.

    Seeds of a fold are averaged first, as in the evaluation. They are the validation rows of each fold or, without
    any, the tested rows of a cross-validation. A probability gets a temperature per fold (one for all of tested
    rows), and a threshold for the mean. On validation, a score or a band gets one radius for the mean over all folds:
    the conformal quantile of the pooled residuals that each fold's model leaves (our choice). With several folds that
    promises nothing exactly: nobody is unseen by all of them; in practice a mean over folds errs less than one of
    them, which makes the radius wide. From tested rows the residuals of each fold are kept, for `out_of_fold.cv_plus`.

    Args:
      predictions: of all trainings.
      tasks: what is predicted.
      rule: by which thresholds are chosen.

    Returns:
      {"level", "tasks": {TASK: {"temperatures": {FOLD: T}, "threshold"} | {"radius", "n_calibration", "coverage"} |
      {"residuals": {FOLD: [...]}, "n_calibration", "coverage"} | {"reason"}}}, and "fitted_on" of tested rows;
      `coverage` is that of each fold's own radius on its test rows, None where it is undefined.
    """
    fitted: dict[str, Any] = {}
    for task in tasks:
        known = predictions.select(task=task.name).over_seeds(task.kind).known()
        fitted[task.name] = _of_task(task, np.unique(predictions.fold).tolist(), known, rule)
    return {"level": LEVEL, "tasks": fitted}


def _of_task(task: Task, folds: Sequence[int], known: Predictions, rule: str) -> dict[str, Any]:
    if not folds:  # of a private training without a validation part
        return {"reason": "no validation rows, and tested rows were not to be used"}
    fitted_on, source = out_of_fold.calibrating(known, folds)
    test = known.select(split="test")
    tested = source == out_of_fold.OUT_OF_FOLD and len(folds) > 1
    if task.event:
        if lacking := _of_one_class(folds, fitted_on):
            return {"reason": lacking}
        if tested:
            temperatures = dict.fromkeys(folds, fit_temperature(test.y_true, test.y_prob))
            everybody, more = [test.select(fold=fold) for fold in folds], {"fitted_on": source}
        else:
            temperatures = {f: fit_temperature(p.y_true, p.y_prob) for f, p in zip(folds, fitted_on, strict=True)}
            everybody, more = fitted_on, {}
        pairs = zip(temperatures.values(), everybody, strict=True)
        probabilities = np.concatenate([scaled(part.y_prob, divisor) for divisor, part in pairs])
        if rule in operating_points.RULES:
            truth = np.concatenate([part.y_true for part in everybody])
            more["threshold"] = operating_points.choose_threshold(truth, probabilities, rule)
        return {"temperatures": {str(fold): divisor for fold, divisor in temperatures.items()}, **more}
    if not task.conformal:
        return {"reason": NOMINAL["reason"]}
    coverage = conformal(known, test, task.n_classes)["coverage"] if len(test) else math.nan
    measured = None if math.isnan(coverage) else coverage
    if tested and out_of_fold.enough(len(test), LEVEL):
        kept = {"residuals": out_of_fold.residuals(test), "fitted_on": source}
        return {**kept, "n_calibration": len(test), "coverage": measured}
    validation = known.select(split="validation")
    radius = conformal_quantile(validation.y_true - validation.y_pred)
    if math.isinf(radius):
        return {"reason": f"{len(validation)} validation rows are too few for level {LEVEL}"}
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

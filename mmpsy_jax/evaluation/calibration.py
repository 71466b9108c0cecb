"""Recalibrated probabilities and split-conformal sets, fitted on the validation rows of a fold, measured on test rows.

Where a fold has no validation rows to fit on there is a reason instead of numbers: nothing is fitted on test.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float
from sklearn.isotonic import IsotonicRegression

from mmpsy_jax.evaluation import logistic, metrics
from mmpsy_jax.evaluation.predictions import Predictions

# What recalibration may change; ranking and decisions stand elsewhere.
RECALIBRATED = ("brier", "log_loss", "ece", "calibration_slope", "calibration_intercept")
LEVEL = 0.9

# Bounds of the logarithm of a temperature: beyond them the probabilities are all alike, or all 0 or 1.
_LOG_TEMPERATURES = (-5.0, 5.0)

# Probabilities to recalibrated ones.
Map = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]


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
    return lambda prob: scipy.special.expit(logistic.logit(prob) / divisor)


def isotonic(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> Map:
    """The monotone map of least squares (Zadrozny and Elkan 2002), constant beyond the values it was fitted on."""
    return IsotonicRegression(out_of_bounds="clip").fit(y_prob, y_true).predict


METHODS: dict[str, Callable[..., Map]] = {"temperature": temperature, "isotonic": isotonic}


def recalibration(validation: Predictions, rows: Predictions) -> dict[str, Any]:
    """The entry "recalibration" of a report: metrics of the rows after each of `METHODS`.

    Args:
      validation: rows with known truth to fit on.
      rows: rows with known truth to measure on, of the same folds; at least one.
    """
    folds = np.unique(rows.fold).tolist()
    fitted_on = [validation.select(fold=fold) for fold in folds]
    lacking = [fold for fold, part in zip(folds, fitted_on, strict=True) if len(np.unique(part.y_true)) < 2]
    if lacking:
        return {"fitted_on": None, "reason": _lacking("of both classes", lacking)}
    entry: dict[str, Any] = {"fitted_on": "validation"}
    for name, fit in METHODS.items():
        prob = np.empty(len(rows))
        for fold, part in zip(folds, fitted_on, strict=True):
            there = rows.fold == fold
            prob[there] = fit(part.y_true, part.y_prob)(rows.y_prob[there])
        scores = metrics.binary(rows.y_true, prob, prob >= 0.5)
        reasons = {metric: {"reason": scores.reasons[metric]} for metric in RECALIBRATED if metric in scores.reasons}
        entry[name] = {m: {"value": scores.values[m]} | reasons.get(m, {}) for m in RECALIBRATED}
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

    The score is |truth - prediction|, for bands too, whose prediction is an expected band: their set holds every band
    within the radius. It may be empty, where the radius is below one half.

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
    sizes = 2 * radius
    if n_classes:
        sizes = (np.abs(np.arange(n_classes) - rows.y_pred[:, None]) <= radius[:, None]).sum(1)
    covered = np.abs(rows.y_true - rows.y_pred) <= radius
    return entry | {"coverage": float(covered.mean()), size: float(sizes.mean())}


def _lacking(what: str, folds: list[int]) -> str:
    return f"no validation rows {what} in fold {', '.join(map(str, folds))}"

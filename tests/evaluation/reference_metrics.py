"""Every metric of one table by scikit-learn and scipy; NaN where they would warn, raise or not be defined."""

import math

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from sklearn import metrics as sk

MARGIN = 1e-7  # probabilities are kept this far from 0 and 1


def reference(kind, columns, classes=5):
    """{metric: value} of truth, prediction and, of a binary task, decision."""
    kinds = {"binary": binary, "ordinal": ordinal, "nominal": nominal, "regression": regression, "count": count}
    return {**kinds, "ranking": ranking}[kind](*columns, classes)


def binary(y, prob, positive, _):
    both = 0 < y.mean() < 1
    slope, intercept = calibration(y, prob)
    brier, spread = sk.brier_score_loss(y, prob, pos_label=1), y.mean() * (1 - y.mean())
    return {
        "auroc": sk.roc_auc_score(y, prob) if both else math.nan,
        "auprc": sk.average_precision_score(y, prob) if both else math.nan,
        "brier": brier,
        "brier_skill": 1 - brier / spread if both else math.nan,
        "log_loss": sk.log_loss(y, np.clip(prob, MARGIN, 1 - MARGIN), labels=[0, 1]),
        "ece": calibration_error(y, prob),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        **decision(y, positive),
    }


def decision(y, positive):
    both, one_answer = 0 < y.mean() < 1, len(np.unique(positive)) == 1
    options = {"zero_division": np.nan}
    f1, negative = (sk.f1_score(y, positive, pos_label=label, **options) for label in (1, 0))
    sensitivity, specificity = (sk.recall_score(y, positive, pos_label=label, **options) for label in (1, 0))
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": sk.precision_score(y, positive, **options),
        "npv": sk.precision_score(y, positive, pos_label=0, **options),
        "f1": f1,
        "f1_macro": (f1 + negative) / 2,
        "f1_weighted": y.mean() * f1 + (1 - y.mean()) * negative,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": sk.matthews_corrcoef(y, positive) if both and not one_answer else math.nan,
    }


def calibration(y, prob):
    """Slope and intercept of calibration by a general optimiser."""
    if not 0 < y.mean() < 1:
        return math.nan, math.nan
    odds = scipy.special.logit(np.clip(prob, MARGIN, 1 - MARGIN))

    def loss(intercept, slope):
        return np.mean(np.logaddexp(0, intercept + slope * odds) - y * (intercept + slope * odds))

    options = {"method": "Nelder-Mead", "options": {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000}}
    line = scipy.optimize.minimize(lambda x: loss(x[0], x[1]), np.array([0.0, 1.0]), **options)
    shift = scipy.optimize.minimize_scalar(lambda x: loss(x, 1.0), bounds=(-20, 20), options={"xatol": 1e-10})
    first, last = odds[y == 1], odds[y == 0]
    overlap = first.min() < last.max() and last.min() < first.max()
    return line.x[1] if overlap else math.nan, shift.x


def calibration_error(y, prob, bins=10):
    """Bins of equal mass; equal probabilities share one, that of the middle of their ranks."""
    which = np.minimum((bins * (scipy.stats.rankdata(prob) - 0.5) / len(prob)).astype(int), bins - 1)
    gaps = [(which == k).mean() * abs(prob[which == k].mean() - y[which == k].mean()) for k in np.unique(which)]
    return sum(gaps)


def ordinal(y, pred, classes):
    called = np.clip(np.floor(pred + 0.5), 0, classes - 1)
    distances = [np.abs(called - y)[y == band].mean() for band in np.unique(y)]
    same = len(np.unique(np.concatenate([y, called]))) == 1
    kappa = math.nan if same else sk.cohen_kappa_score(y, called, weights="quadratic", labels=range(classes))
    return {"qwk": kappa, "macro_mae": np.mean(distances), "accuracy": sk.accuracy_score(y, called)}


def nominal(y, called, _):
    same = len(np.unique(np.concatenate([y, called]))) == 1
    return {
        "balanced_accuracy": np.mean(sk.recall_score(y, called, average=None, labels=np.unique(y))),
        "f1_macro": sk.f1_score(y, called, average="macro"),
        "f1_weighted": sk.f1_score(y, called, average="weighted"),
        "accuracy": sk.accuracy_score(y, called),
        "kappa": math.nan if same else sk.cohen_kappa_score(y, called),
    }


def count(y, rate, _):
    scores = regression(y, rate, _)
    return {
        "deviance_explained": sk.d2_tweedie_score(y, rate, power=1) if np.ptp(y) else math.nan,
        "mae": scores["mae"],
        "poisson_deviance": sk.mean_poisson_deviance(y, rate),
        "rmse": scores["rmse"],
        "spearman": scores["spearman"],
    }


def ranking(y, pred, _):
    scores = regression(y, pred, _)
    return {name: scores[name] for name in ("spearman", "pearson")}


def regression(y, pred, _):
    constant = np.ptp(y) == 0 or np.ptp(pred) == 0
    spread = y.var() + pred.var() + (y.mean() - pred.mean()) ** 2
    return {
        "mae": sk.mean_absolute_error(y, pred),
        "rmse": sk.root_mean_squared_error(y, pred),
        "ccc": 2 * np.cov(y, pred, ddof=0)[0, 1] / spread if spread else math.nan,
        "pearson": math.nan if constant else scipy.stats.pearsonr(y, pred).statistic,
        "spearman": math.nan if constant else scipy.stats.spearmanr(y, pred).statistic,
    }

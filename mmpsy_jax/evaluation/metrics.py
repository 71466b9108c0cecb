"""Metrics of one table: point estimates by scikit-learn and scipy, NaN with a reason where undefined.

`weighted.py` holds the same metrics for many reweighted samples at once; a test holds the two equal.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int
from sklearn import metrics as sk

from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation import logistic
from mmpsy_jax.evaluation.logistic import MARGIN, ratio

# Equal-mass bins of the expected calibration error.
ECE_BINS = 10

# Per kind of task; the first is the one by which models are compared. The sign says whether more is better; 0 stands
# for a metric with a best value in the middle (slope 1, intercept 0).
NAMES: Mapping[str, Mapping[str, int]] = {
    "binary": {
        "auroc": 1,
        "auprc": 1,
        "brier": -1,
        "brier_skill": 1,
        "log_loss": -1,
        "ece": -1,
        "calibration_slope": 0,
        "calibration_intercept": 0,
        "sensitivity": 1,
        "specificity": 1,
        "ppv": 1,
        "npv": 1,
        "f1": 1,
        "f1_macro": 1,
        "f1_weighted": 1,
        "balanced_accuracy": 1,
        "mcc": 1,
    },
    "ordinal": {"qwk": 1, "macro_mae": -1, "accuracy": 1},
    "regression": {"mae": -1, "rmse": -1, "ccc": 1, "pearson": 1, "spearman": 1},
    "nominal": {"balanced_accuracy": 1, "f1_macro": 1, "f1_weighted": 1, "accuracy": 1, "kappa": 1},
}
# Metrics of a binary task that need a threshold.
AT_THRESHOLD = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "f1_macro",
    "f1_weighted",
    "balanced_accuracy",
    "mcc",
)

ONE_CLASS = "all participants belong to one class"
CONSTANT = "the prediction or the truth is the same for everybody"
EMPTY = "no participant with a known label"
SEPARATED = "no finite slope: the predictions separate the classes or are the same for everybody"
NONE_POSITIVE = "nobody is predicted positive"
NONE_NEGATIVE = "nobody is predicted negative"


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics by name, and the reason for each that is NaN."""

    values: dict[str, float]
    reasons: dict[str, str]


def confusion(
    y_true: Float[np.ndarray, " n"], y_class: Float[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, "k k"]:
    """Counts of participants, truth in rows and prediction in columns."""
    if not len(y_true):
        return np.zeros((classes, classes), np.int64)
    return sk.confusion_matrix(y_true.astype(int), y_class.astype(int), labels=range(classes))


def rounded_band(y_pred: Float[np.ndarray, " n"], classes: int) -> Float[np.ndarray, " n"]:
    """The expected band (a float) to the nearest band; halves go up, values beyond the ends to the last band."""
    return np.clip(np.floor(y_pred + 0.5), 0, classes - 1)


def binary(
    y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> Scores:
    """Metrics of a screening task.

    Args:
      y_true: 0 or 1.
      y_prob: probability of 1.
      positive: the decision, `y_prob` >= the threshold that was chosen on validation; per row, since every fold of a
        cross-validation has its own threshold.
    """
    if not len(y_true):
        return _undefined("binary", EMPTY)
    prevalence = float(y_true.mean())
    both = 0 < prevalence < 1
    brier = float(np.mean((y_prob - y_true) ** 2))
    log_odds = logistic.logit(y_prob)
    decided = decision(y_true, positive)
    values = {
        "auroc": float(sk.roc_auc_score(y_true, y_prob)) if both else math.nan,
        "auprc": float(sk.average_precision_score(y_true, y_prob)) if both else math.nan,
        "brier": brier,
        "brier_skill": float(1 - ratio(brier, prevalence * (1 - prevalence))),
        "log_loss": float(sk.log_loss(y_true, np.clip(y_prob, MARGIN, 1 - MARGIN), labels=[0, 1])),
        "ece": calibration_error(y_true, y_prob),
        "calibration_slope": float(logistic.Regression(y_true, log_odds, slope=True).estimate[1]),
        "calibration_intercept": float(logistic.Regression(y_true, log_odds, slope=False).estimate[0]),
        **decided.values,
    }
    reasons = {name: ONE_CLASS for name, value in values.items() if math.isnan(value)} | decided.reasons
    if both and "calibration_slope" in reasons:
        reasons["calibration_slope"] = SEPARATED
    return Scores(values, reasons)


def decision(y_true: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Scores:
    """The metrics `AT_THRESHOLD` of a decision."""
    (tn, fp), (fn, tp) = confusion(y_true, positive.astype(float), 2).tolist()
    values = {name: float(value) for name, value in from_counts(tp, fp, fn, tn).items()}
    reasons = {name: ONE_CLASS for name, value in values.items() if math.isnan(value)}
    reasons |= {"ppv": NONE_POSITIVE} if tp + fp == 0 else {}
    reasons |= {"npv": NONE_NEGATIVE} if tn + fn == 0 else {}
    if "mcc" in reasons and tp + fn and tn + fp:
        reasons["mcc"] = NONE_NEGATIVE if tp + fp else NONE_POSITIVE
    return Scores(values, reasons)


def from_counts(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics `AT_THRESHOLD` from true and false positives and negatives, elementwise, in that order.

    F1 is weighted by the share of the classes. MCC is Matthews' correlation coefficient (1975), NaN where one side is
    constant.
    """
    f1, f1_negative = ratio(2 * tp, 2 * tp + fp + fn), ratio(2 * tn, 2 * tn + fp + fn)
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    spread = np.sqrt(1.0 * (tp + fn) * (tn + fp)) * np.sqrt(1.0 * (tp + fp) * (tn + fn))
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": f1,
        "f1_macro": (f1 + f1_negative) / 2,
        "f1_weighted": ratio((tp + fn) * f1 + (tn + fp) * f1_negative, tp + fp + fn + tn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": ratio(tp * tn - fp * fn, spread),
    }


def ordinal(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], classes: int) -> Scores:
    """Metrics of a task of bands; the expected band is rounded to the nearest one first.

    Macro MAE is the mean over the bands that occur of the mean distance in bands (Baccianella et al. 2009), so that
    rare severe bands count as much as the common mild one.
    """
    if not len(y_true):
        return _undefined("ordinal", EMPTY)
    counts = confusion(y_true, rounded_band(y_pred, classes), classes)
    distance = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    in_band = counts.sum(1)
    present = in_band > 0
    # scikit-learn warns and gives NaN where both sides hold one and the same band; told apart here.
    same = (present | (counts.sum(0) > 0)).sum() == 1
    kappa = math.nan
    if not same:
        kappa = sk.cohen_kappa_score(
            y_true.astype(int), rounded_band(y_pred, classes).astype(int), weights="quadratic", labels=range(classes)
        )
    values = {
        "qwk": float(kappa),
        "macro_mae": float(np.mean((counts * distance).sum(1)[present] / in_band[present])),
        "accuracy": float(np.trace(counts) / counts.sum()),
    }
    return Scores(values, {"qwk": CONSTANT} if same else {})


def nominal(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], classes: int) -> Scores:
    """Metrics of a task of classes without an order, from the confusion matrix: see `from_confusion`."""
    if not len(y_true):
        return _undefined("nominal", EMPTY)
    values = {name: float(value) for name, value in from_confusion(confusion(y_true, y_pred, classes)).items()}
    return Scores(values, {name: CONSTANT for name, value in values.items() if math.isnan(value)})


def from_confusion(counts: Int[np.ndarray, "*r k k"] | Float[np.ndarray, "*r k k"]) -> dict[str, np.ndarray]:
    """The metrics of a nominal task from confusion matrices, truth in rows.

    Balanced accuracy is the mean recall of the classes that occur (in speech, unweighted average recall); the F1 of
    classes that neither occur nor are predicted are left out of their means. Kappa is Cohen's (1960), NaN where truth
    and prediction are one and the same class.
    """
    hits, occur, called = _margins(counts)
    total = occur.sum(-1)
    _, means = of_labels(hits, called - hits, occur - hits)
    agreed, by_chance = ratio(hits.sum(-1), total), ratio((occur * called).sum(-1), total**2)
    return {
        "balanced_accuracy": ratio(np.nansum(ratio(hits, occur), axis=-1), (occur > 0).sum(-1)),
        "f1_macro": means["f1_macro"],
        "f1_weighted": means["f1_weighted"],
        "accuracy": agreed,
        "kappa": ratio(agreed - by_chance, 1 - by_chance),
    }


def per_class(counts: Int[np.ndarray, "k k"]) -> list[dict[str, float]]:
    """Per class of a confusion matrix: class, n, precision, recall and F1, NaN as in `of_labels`."""
    hits, occur, called = _margins(counts)
    each, _ = of_labels(hits, called - hits, occur - hits)
    return [{"class": k, "n": int(occur[k]), **{name: each[name][k] for name in each}} for k in range(len(counts))]


def _margins(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each class: how often it is hit, occurs, and is predicted."""
    counts = np.asarray(counts, np.float64)
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)


def regression(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> Scores:
    """Metrics of a score: errors in points of the questionnaire, Lin's concordance, and two correlations.

    The concordance correlation coefficient (Lin 1989, population moments) is the agreement with the line of identity:
    2 cov / (var_true + var_pred + (mean_true - mean_pred)^2).
    """
    if not len(y_true):
        return _undefined("regression", EMPTY)
    spread = y_true.var() + y_pred.var() + (y_true.mean() - y_pred.mean()) ** 2
    covariance = float(np.mean((y_true - y_true.mean()) * (y_pred - y_pred.mean())))
    constant = np.ptp(y_true) == 0 or np.ptp(y_pred) == 0
    values = {
        "mae": float(sk.mean_absolute_error(y_true, y_pred)),
        "rmse": float(sk.root_mean_squared_error(y_true, y_pred)),
        "ccc": float(ratio(2 * covariance, float(spread))),
        "pearson": math.nan if constant else float(scipy.stats.pearsonr(y_true, y_pred).statistic),
        "spearman": math.nan if constant else float(scipy.stats.spearmanr(y_true, y_pred).statistic),
    }
    return Scores(values, {name: CONSTANT for name, value in values.items() if math.isnan(value)})


def bands(counts: Int[np.ndarray, "k k"]) -> list[dict[str, float]]:
    """Per band of a confusion matrix: band, n, recall, and MAE in bands; NaN where the band does not occur."""
    distance = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts))))
    n = counts.sum(1)
    recall, mae = ratio(counts.diagonal(), n), ratio((counts * distance).sum(1), n)
    return [{"band": k, "n": int(n[k]), "recall": recall[k], "mae": mae[k]} for k in range(len(counts))]


def agreement(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Bias (predicted - true) and 95 % limits of agreement (Bland and Altman 1986); NaN limits for fewer than two."""
    difference = y_pred - y_true
    bias = float(difference.mean()) if len(difference) else math.nan
    reach = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else math.nan
    return {"bias": bias, "low": bias - reach, "high": bias + reach}


def multilabel(
    y_true: Float[np.ndarray, "n k"], y_prob: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]
) -> tuple[Scores, list[Scores]]:
    """Metrics of k labels of which any number may hold, overall and of each label.

    A label that neither occurs nor is predicted has no precision, recall or F1, one that holds for nobody or everybody
    no AUROC; the means over labels leave these out.

    Args:
      y_true: 0 or 1.
      y_prob: probability of 1.
      positive: the decisions.

    Returns:
      `precision_micro`, `precision_macro`, `precision_weighted` (by how often a label holds), the same of `recall` and
      `f1`, and `auroc_macro`; then `precision`, `recall`, `f1` and `auroc` of each label.
    """
    true, called = y_true == 1, np.asarray(positive, bool)
    tp, fp, fn = ((a & b).sum(0).astype(float) for a, b in ((true, called), (~true, called), (true, ~called)))
    each, means = of_labels(tp, fp, fn)
    each["auroc"] = np.array(
        [sk.roc_auc_score(t, p) if len(np.unique(t)) == 2 else math.nan for t, p in zip(true.T, y_prob.T, strict=True)]
    )
    reasons = dict.fromkeys(each, "the label neither occurs nor is predicted") | {"auroc": ONE_CLASS}
    per_label = []
    for k in range(y_true.shape[1]):
        values = {name: float(column[k]) for name, column in each.items()}
        per_label.append(Scores(values, {name: reasons[name] for name, value in values.items() if math.isnan(value)}))
    values = {name: float(value) for name, value in means.items()}
    values["auroc_macro"] = _mean(each["auroc"], np.ones_like(tp))
    return Scores(values, {name: "undefined for every label" for name, v in values.items() if math.isnan(v)}), per_label


def of_labels(
    tp: Float[np.ndarray, "*r k"], fp: Float[np.ndarray, "*r k"], fn: Float[np.ndarray, "*r k"]
) -> tuple[dict[str, Float[np.ndarray, "*r k"]], dict[str, Float[np.ndarray, "*r"]]]:
    """Precision, recall and F1 of k labels from counts, and their micro, macro and weighted means.

    As scikit-learn's, a precision without predictions and a recall without cases are 0; unlike there, all three are
    NaN, and left out of the macro mean, for a label that has neither.
    """
    known = tp + fp + fn > 0

    def three(hits: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
        pairs = {
            "precision": (hits, hits + wrong),
            "recall": (hits, hits + missed),
            "f1": (2 * hits, 2 * hits + wrong + missed),
        }
        return {name: np.nan_to_num(ratio(*pair)) for name, pair in pairs.items()}

    each = {name: np.where(known, value, np.nan) for name, value in three(tp, fp, fn).items()}
    pooled = three(tp.sum(-1), fp.sum(-1), fn.sum(-1))
    weights = {"macro": known.astype(float), "weighted": tp + fn}
    means = {}
    for name, value in each.items():
        means[f"{name}_micro"] = np.where(known.any(-1), pooled[name], np.nan)
        for kind, weight in weights.items():
            means[f"{name}_{kind}"] = ratio((np.nan_to_num(value) * weight).sum(-1), weight.sum(-1))
    return each, means


def _mean(values: Float[np.ndarray, " k"], weights: Float[np.ndarray, " k"]) -> float:
    """Weighted mean of the values that are defined."""
    defined = np.isfinite(values)
    return float(ratio(values[defined] @ weights[defined], weights[defined].sum()))


def calibration_bins(
    y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], bins: int = ECE_BINS
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


def calibration_error(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean distance of probability and share of positives over bins of equal mass."""
    predicted, observed, counts = calibration_bins(y_true, y_prob, bins)
    return float(np.sum(counts * np.abs(predicted - observed)) / counts.sum())


def choose_threshold(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"], rule: str = "youden") -> float:
    """The threshold t of the decision `y_prob >= t`, chosen on the rows given: never those of a test split.

    Args:
      y_true: 0 or 1, both must occur.
      y_prob: probability of 1; the candidates are its values.
      rule: "youden" (largest sensitivity + specificity), "f1", "sensitivity_80" or "sensitivity_90" (largest
        threshold that still finds 80 or 90 % of the positives). Ties go to the largest threshold.

    Raises:
      InputError: an unknown rule, or rows of one class only.
    """
    if rule not in RULES:
        raise one_of("threshold rule", rule, RULES)
    if len(np.unique(y_true)) != 2:
        raise InputError(f"threshold by {rule!r}: {ONE_CLASS}: choose it on rows of both classes")
    false_rate, sensitivity, thresholds = sk.roc_curve(y_true, y_prob, drop_intermediate=False)
    positives, negatives = y_true.sum(), len(y_true) - y_true.sum()
    # The first candidate of scikit-learn is infinity, "nobody": no screening.
    gain = RULES[rule](sensitivity * positives, false_rate * negatives, positives, negatives)[1:]
    return float(thresholds[1:][np.argmax(gain)])


def _at_sensitivity(wanted: float) -> Callable:
    # A rate that rounding leaves just below the wanted one still counts as reaching it.
    return lambda tp, fp, p, n: (tp >= wanted * p - 1e-9).astype(float)


# Gain of each candidate from its true and false positives and the numbers of positives and negatives.
RULES: Mapping[str, Callable] = {
    "youden": lambda tp, fp, p, n: tp / p - fp / n,
    "f1": lambda tp, fp, p, n: 2 * tp / (tp + fp + p),
    "sensitivity_80": _at_sensitivity(0.8),
    "sensitivity_90": _at_sensitivity(0.9),
}


def _undefined(kind: str, reason: str) -> Scores:
    return Scores(dict.fromkeys(NAMES[kind], math.nan), dict.fromkeys(NAMES[kind], reason))

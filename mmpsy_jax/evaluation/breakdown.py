"""What stands beside the metrics of a task: by band, by class, and how far scores disagree."""

import math

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.evaluation.logistic import ratio
from mmpsy_jax.evaluation.rows import ConfusionSums


def per_class(counts: Int[np.ndarray, "k k"]) -> list[dict[str, float]]:
    """Per class of a confusion matrix: class, n, precision, recall and F1, NaN as in `rows.of_labels`."""
    sums = ConfusionSums(counts)
    each, _ = sums.of_labels
    return [{"class": k, "n": int(sums.occur[k]), **{name: each[name][k] for name in each}} for k in range(len(counts))]


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

"""Calibration without validation participants: by the tested rows of a cross-validation, nobody by themselves.

Everybody is tested by a model that was not trained on them. What is applied to the tested rows of a fold is fitted on
the tested rows of all others, without the people (clusters) whom the fold tests. For new people, whom all folds
predict, there are intervals by CV+ (Barber, Candes, Ramdas and Tibshirani 2021, "Predictive inference with the
jackknife+") and sets of bands by cross-conformal prediction (Vovk 2015).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mmpsy_jax.evaluation.predictions import Predictions

CHOSEN = VALIDATION, OUT_OF_FOLD = "validation", "out_of_fold"


def calibrating(known: Predictions, folds: Sequence[int]) -> tuple[list[Predictions], str]:
    """By fold the rows on which what is applied to its tested rows is fitted, and what they are.

    Args:
      known: rows of validation and test, with known truth.
      folds: numbers of folds.

    Returns:
      the validation rows of each fold; where no fold has any, the tested rows of other folds whose people it does not
      test.
    """
    validation, tested = (known.select(split=split) for split in ("validation", "test"))
    if len(validation) or not len(tested):
        return [validation.select(fold=fold) for fold in folds], VALIDATION
    parts = [tested.take(~np.isin(tested.cluster, tested.cluster[tested.fold == fold])) for fold in folds]
    return parts, OUT_OF_FOLD


def residuals(tested: Predictions) -> dict[str, list[float]]:
    """By fold the sizes of its errors on the people it was tested on, ascending."""
    sizes = np.abs(tested.y_true - tested.y_pred)
    return {str(fold): np.sort(sizes[tested.fold == fold]).round(4).tolist() for fold in np.unique(tested.fold)}


def enough(n: int, level: float) -> bool:
    """Whether so many residuals have a quantile of this level."""
    return math.ceil((n + 1) * level - 1e-9) <= n


def by_fold(values: Float[np.ndarray, "t m"], folds: Int[np.ndarray, " t"]) -> dict[str, Float[np.ndarray, " m"]]:
    """The mean over the seeds of each fold.

    Args:
      values: of each training.
      folds: of each training.
    """
    return {str(fold): values[folds == fold].mean(axis=0) for fold in np.unique(folds).tolist()}


def cv_plus(
    means: Mapping[str, Float[np.ndarray, " m"]], sizes: Mapping[str, Sequence[float]], level: float
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Ends of the intervals of new people.

    Of all pairs of a fold's prediction m and a residual r of that fold, the lower end is the floor((n + 1) (1 -
    level))-th smallest m - r, the upper end the ceil((n + 1) level)-th smallest m + r. That covers at least
    2 level - 1 of new people whatever the model, and about `level` where the models of the folds differ little.

    Args:
      means: by fold, of each of m people.
      sizes: of `residuals`.
      level: of the interval.
    """
    n = sum(map(len, sizes.values()))
    rank = math.ceil((n + 1) * level - 1e-9)  # a product that rounding leaves just above a whole number
    low = np.concatenate([means[fold][:, None] - np.asarray(part) for fold, part in sizes.items()], axis=1)
    high = np.concatenate([means[fold][:, None] + np.asarray(part) for fold, part in sizes.items()], axis=1)
    return np.sort(low, axis=1)[:, n - rank], np.sort(high, axis=1)[:, rank - 1]


def cross_conformal(
    means: Mapping[str, Float[np.ndarray, " m"]], sizes: Mapping[str, Sequence[float]], n_classes: int, level: float
) -> Bool[np.ndarray, "m k"]:
    """Which bands are in the set of each of m people: those as far from the predictions as more than 1 - level of the
    residuals are, each by its own fold.

    Args:
      means, sizes, level: as of `cv_plus`; the means are expected bands.
      n_classes: number of bands.
    """
    n, bands = sum(map(len, sizes.values())), np.arange(n_classes)
    farther = np.zeros((len(next(iter(means.values()))), n_classes), np.int64)
    for fold, part in sizes.items():
        distance = np.abs(bands - means[fold][:, None])
        farther += len(part) - np.searchsorted(np.asarray(part), distance - 1e-9)
    return (farther + 1) / (n + 1) > 1 - level + 1e-9

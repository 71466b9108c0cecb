"""A number of events, such as panic attacks in a week: whole numbers from 0 without a highest one, by their rate."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task


class Kind(Task):
    """Poisson regression: the network says the logarithm of the rate, what is predicted is the rate."""

    option = "its values are counts: whole numbers from 0 without a highest one"
    output, entries = "expected count", ("agreement", "conformal")
    subgroup_metrics, tuned_by = ("deviance_explained", "mae"), "deviance_explained"

    @property
    def ends(self) -> tuple[float, float]:
        """Between which numbers a prediction lies."""
        return 0.0, math.inf

    def targets(self, scores: Float[Any, " n"], xp: Any = np) -> Float[Any, " n"]:
        """The count.

        Raises:
          InputError: with numpy, a score that is no whole number from 0; -1 is missing.
        """
        scores = xp.asarray(scores, np.float32)
        scores = xp.where(scores == -1, np.float32(np.nan), scores)
        if xp is np and not _are_counts(scores[~np.isnan(scores)]):
            raise InputError(
                f"task {self.name!r}: a value of {self.label!r} is no count: give whole numbers from 0, -1 where it is "
                "missing, or make it a score (kind 'regression')"
            )
        return scores

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 1"]:
        """Logarithm of the mean count; one event more than there are, so that it is finite."""
        return np.array([np.log((targets.sum() + 1) / len(targets))])

    def losses(self, output: Float[Any, "b 1"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """Poisson negative log likelihood less its least value at this count: half the deviance."""
        import jax.numpy as jnp
        from jax.scipy.special import xlogy

        del delta
        return jnp.exp(output[:, 0]) - targets * output[:, 0] + xlogy(targets, targets) - targets

    def predictions(self, output: Float[Any, "n 1"], xp: Any = np) -> Float[Any, " n"]:
        """The rate."""
        output = np.asarray(output, np.float64) if xp is np else output
        return xp.exp(output[:, 0])

    def linear_model(self, penalty: float, n: int) -> Any:
        """Poisson regression with a logarithmic link."""
        from sklearn.linear_model import PoissonRegressor

        return PoissonRegressor(alpha=penalty / n, max_iter=1000)

    def check(self, y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " m"]) -> None:
        """Truths must be counts, predictions rates."""
        if not _are_counts(y_true) or (y_pred < 0).any():
            raise InputError(
                f"task {self.name!r}: y_true must be counts (whole numbers from 0) and y_pred not below 0: correct the "
                "table, or score it as a number (leave out --count)"
            )

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> Task:
        """Counts; whether the table holds such is for `check`."""
        del y_true, y_pred, maximum
        return Task(name, name, "count")


def _are_counts(values: Float[np.ndarray, " n"]) -> bool:
    return bool(np.all((values >= 0) & (values == np.floor(values))))

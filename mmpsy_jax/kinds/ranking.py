"""How well a number orders people by a score on another scale: correlations alone, no errors in points or cut-offs."""

from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task


class Kind(Task):
    """The truth is the score; the prediction is any number that should rise with it. For evaluation alone."""

    conformal = False
    option = "y_pred is on another scale than y_true: correlations alone, no errors in points"
    output, entries = "order", ()
    subgroup_metrics, tuned_by = ("spearman", "pearson"), "spearman"

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """Refused: there is no scale to train on.

        Raises:
          InputError: always.
        """
        raise InputError(
            f"task {self.name!r}: kind 'ranking' is for evaluation alone: train on the score (kind 'regression')"
        )

    def losses(self, output: Float[Any, "b o"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """As `start`."""
        return self.start(targets)

    def predictions(self, output: Float[Any, "n o"], xp: Any = np) -> Float[Any, " n"]:
        """As `start`."""
        return self.start(output)

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> Task:
        """Any two columns of numbers."""
        del y_true, y_pred, maximum
        return Task(name, name, "ranking")

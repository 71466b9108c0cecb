"""A score on a scale with two ends: the network says it as a share of the highest one."""

from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task


class Kind(Task):
    """What is predicted is the score itself."""

    scaled, bounded = True, True
    output, entries = "score", ("agreement", "conformal")
    subgroup_metrics, tuned_by = ("mae", "ccc"), "ccc"

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 1"]:
        """The mean score over its maximum."""
        return np.array([targets.mean() / self.maximum])

    def losses(self, output: Float[Any, "b 1"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """Huber loss in units of `delta` points, so that it is of order one like a cross-entropy."""
        import optax

        return optax.huber_loss((output[:, 0] * self.maximum - targets) / delta)

    def unclipped(self, output: Float[Any, "n 1"], xp: Any = np) -> Float[Any, " n"]:
        """The score, beyond the ends of the scale where the network says so."""
        output = np.asarray(output, np.float64) if xp is np else output
        return output[:, 0] * self.maximum

    def predictions(self, output: Float[Any, "n 1"], xp: Any = np) -> Float[Any, " n"]:
        """The score within its scale."""
        return xp.clip(self.unclipped(output, xp), *self.ends)

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> Task:
        """A score on a scale that ends where its labels do."""
        highest = max(1.0, float(y_true.max(initial=0.0))) if maximum is None else maximum
        if (y_true > highest).any():
            n = int((y_true > highest).sum())
            raise InputError(f"task {name!r}: {n} labels are above its --maximum, {highest:g}: raise it")
        return Task(name, name, "regression", maximum=highest, minimum=min(0.0, float(y_true.min(initial=0.0))))

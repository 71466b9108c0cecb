"""Whether the score reaches a cut-off: the logits of two classes, hence a probability and decisions at a threshold."""

from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.kinds import nominal
from mmpsy_jax.tasks import Task, between


class Kind(Task):
    """Target 1 is an event, and what is predicted is its probability."""

    event, logits, n_cutoffs = True, True, range(1, 2)
    output, entries = "probability", ("operating_points", "decision_curve", "recalibration")
    subgroup_metrics, tuned_by = ("auroc", "brier", "sensitivity", "specificity"), "auroc"
    start, losses = nominal.Kind.start, nominal.Kind.losses  # a softmax over two classes

    def targets(self, scores: Float[Any, " n"], xp: Any = np) -> Float[Any, " n"]:
        """1 where the score reaches the cut-off, else 0."""
        return between(scores, self.cutoffs, xp)

    def predictions(self, output: Float[Any, "n 2"], xp: Any = np) -> Float[Any, " n"]:
        """Probability of class 1."""
        output = np.asarray(output, np.float64) if xp is np else output
        return 1 / (1 + xp.exp(output[:, 0] - output[:, 1]))

    def describe(self) -> str:
        """The label and its cut-off."""
        return f"screening: {self.label} >= {self.cutoffs[0]:g}"

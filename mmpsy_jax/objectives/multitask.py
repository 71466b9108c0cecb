"""Losses of several tasks on one batch; `weighting.py` says how much each counts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmpsy_jax.io import one_of
from mmpsy_jax.objectives.base import Sums
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import Task

CLASS_WEIGHTS = ("none", "balanced", "positive")


def class_weights(task: Task, scores: Float[np.ndarray, " n"], kind: str) -> tuple[float, ...]:
    """Weights per class from the scores of the training split.

    Args:
      kind: "none" (all one, probabilities stay calibrated), "balanced" (n / (classes * n_class), mean weight one;
        a class without a participant gets weight one) or "positive" (of binary tasks: one, and n_0 / n_1 for class 1).
        A two-way softmax is the sigmoid of the difference of its logits, so that "positive" is binary cross-entropy
        with positive weights.
    """
    if kind == "none":
        return (1.0,) * task.n_classes
    if kind not in CLASS_WEIGHTS:
        raise one_of("config.objective.class_weights", kind, CLASS_WEIGHTS)
    targets = task.targets(scores)
    counts = np.bincount(targets[~np.isnan(targets)].astype(int), minlength=task.n_classes)
    if kind == "positive" and task.event:
        return (1.0, float(counts[0] / counts[1]) if counts.all() else 1.0)
    return tuple(float(counts.sum() / (task.n_classes * n)) if n else 1.0 for n in counts)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss of each task.

    Attributes:
      tasks: the tasks, in the order of the network's heads.
      ccc: share of 1 - CCC of the batch in a regression task's loss; the rest is Huber.
      delta: points at which Huber turns linear.
    """

    tasks: tuple[Task, ...]
    ccc: float | Float[Array, ""] = 0.0
    delta: float | Float[Array, ""] = 4.0

    @property
    def names(self) -> tuple[str, ...]:
        """What the losses are called, in their order."""
        return tuple(task.name for task in self.tasks)

    def __call__(
        self,
        outputs: Mapping[str, Float[Array, "b o"]],
        labels: Mapping[str, Float[Array, " b"]],
        valid: Bool[Array, " b"],
        class_weights: Mapping[str, Float[Array, " _"]],
    ) -> tuple[Float[Array, " n"], tuple[Bool[Array, " n"], Sums]]:
        """As of `base.Objective`: the losses are in the order of the tasks."""
        losses = {
            task.name: self.task_loss(task, outputs[task.name], labels[task.label], valid, class_weights.get(task.name))
            for task in self.tasks
        }
        each = jnp.stack([loss for loss, _, _ in losses.values()])
        present = jnp.stack([weight > 0 for _, _, weight in losses.values()])
        return each, (present, {name: (weighted_sum, weight) for name, (_, weighted_sum, weight) in losses.items()})

    def task_loss(
        self,
        task: Task,
        output: Float[Array, "b o"],
        scores: Float[Array, " b"],
        valid: Bool[Array, " b"],
        class_weights: Float[Array, " c"] | None,
    ) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """Mean loss of a task over its labelled rows, the weighted sum, and the sum of weights."""
        scores = jnp.where(valid, scores.astype(jnp.float32), jnp.nan)
        targets = task.targets(scores, jnp)
        present = ~jnp.isnan(targets)
        targets = jnp.where(present, targets, 0.0)
        each = task.losses(output, targets, self.delta)
        weights = present.astype(jnp.float32)
        if task.n_classes:
            weights = jnp.where(present, class_weights[targets.astype(jnp.int32)], 0.0)
        weighted_sum, weight = (each * weights).sum(), weights.sum()
        mean = weighted_sum / jnp.maximum(weight, 1e-9)
        if task.scaled and not (isinstance(self.ccc, float) and self.ccc == 0):
            agreement = concordance(task.unclipped(output, jnp), scores, weights)
            mean = (1 - self.ccc) * mean + self.ccc * jnp.where(weight > 0, 1 - agreement, 0.0)
        return mean, weighted_sum, weight


def concordance(
    values: Float[Array, " b"], targets: Float[Array, " b"], weights: Float[Array, " b"]
) -> Float[Array, ""]:
    """Lin's concordance correlation coefficient over the weighted rows of a batch (Lin 1989); 0 for fewer than two.

    CCC = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with population (1/n) moments.
    """
    present = weights > 0
    targets = jnp.where(present, targets, 0.0)
    total = jnp.maximum(weights.sum(), 1e-9)
    mean = lambda x: (weights * x).sum() / total  # noqa: E731
    mean_x, mean_y = mean(values), mean(targets)
    x, y = values - mean_x, targets - mean_y
    denominator = mean(x * x) + mean(y * y) + (mean_x - mean_y) ** 2
    enough = (present.sum() >= 2) & (denominator > 1e-12)
    return jnp.where(enough, 2 * mean(x * y) / jnp.where(enough, denominator, 1.0), 0.0)


def build(
    tasks: Sequence[Task],
    modalities: Sequence[str] = (),
    model: Mapping[str, Any] | None = None,
    *,
    ccc: Annotated[float | Float[Array, ""], number(0, 1)] = 0.5,
    delta: Annotated[float | Float[Array, ""], number(0, above=True)] = 4.0,
) -> Objective:
    """The objective of a run; plain numbers become part of the program, arrays may differ between replicas.

    Args:
      tasks: what is predicted.
      modalities, model: of no matter here.
      ccc, delta: see `Objective`.
    """
    del modalities, model
    return Objective(tuple(tasks), ccc=ccc, delta=delta)

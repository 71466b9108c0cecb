"""Losses of several tasks on one batch; `weighting.py` says how much each counts."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmpsy_jax.io import one_of
from mmpsy_jax.objectives import losses
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import LOGITS, Task

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
    if kind == "positive" and task.kind == "binary":
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
    ) -> tuple[Float[Array, " n"], tuple[Bool[Array, " n"], dict[str, tuple[Float[Array, ""], Float[Array, ""]]]]]:
        """Losses of a batch, which tasks have a label in it, and what is merged over batches.

        Args:
          outputs: the network's outputs per task name.
          labels: scores per label name, NaN where missing.
          valid: False for padding rows.
          class_weights: one weight per class of each task but regression, see the function `class_weights`.

        Returns:
          losses in the order of the tasks, 0 without a label; whether there is one; per task name (sum of weighted
          losses, sum of weights).
        """
        made = {
            task.name: self.task_loss(task, outputs[task.name], labels[task.label], valid, class_weights.get(task.name))
            for task in self.tasks
        }
        each = jnp.stack([loss for loss, _, _ in made.values()])
        present = jnp.stack([weight > 0 for _, _, weight in made.values()])
        return each, (present, {name: (weighted_sum, weight) for name, (_, weighted_sum, weight) in made.items()})

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
        if task.kind == "regression":
            each, weights = losses.regression(output, scores, task.maximum, self.delta)
        else:
            targets = scores
            if task.kind != "nominal":
                bands = jnp.digitize(jnp.nan_to_num(scores), jnp.asarray(task.cutoffs, jnp.float32))
                targets = jnp.where(jnp.isnan(scores), jnp.nan, bands.astype(jnp.float32))
            loss = losses.cross_entropy if task.kind in LOGITS else losses.ordinal
            each, weights = loss(output, targets, class_weights)
        weighted_sum, weight = (each * weights).sum(), weights.sum()
        mean = weighted_sum / jnp.maximum(weight, 1e-9)
        if task.kind == "regression" and not (isinstance(self.ccc, float) and self.ccc == 0):
            agreement = losses.concordance(output[:, 0] * task.maximum, scores, weights)
            mean = (1 - self.ccc) * mean + self.ccc * jnp.where(weight > 0, 1 - agreement, 0.0)
        return mean, weighted_sum, weight


def probabilities(
    task: Task, output: Float[np.ndarray, "n o"] | Float[Array, "n o"], xp: ModuleType = np
) -> Float[np.ndarray, " n"] | Float[Array, " n"]:
    """What is written to `predictions.csv`: P(score >= cut-off), the expected band, the score, or the likeliest class.

    Args:
      output: of the network for this task.
      xp: numpy, which computes in float64, or jax.numpy, inside a program and in its precision.
    """
    if xp is np:
        output = np.asarray(output, np.float64)
    if task.kind == "binary":
        return 1 / (1 + xp.exp(output[:, 0] - output[:, 1]))
    if task.kind == "ordinal":
        return (1 / (1 + xp.exp(-output))).sum(axis=1)  # E[band] = sum_k P(band > k)
    if task.kind == "nominal":
        return output.argmax(axis=1).astype(output.dtype)
    return xp.clip(output[:, 0] * task.maximum, task.minimum, task.maximum)


def averageable(
    task: Task, output: Float[np.ndarray, "n o"] | Float[Array, "n o"], xp: ModuleType = np
) -> Float[np.ndarray, "n ..."] | Float[Array, "n ..."]:
    """What trainings are averaged in: class probabilities [n c] of a nominal task, `probabilities` [n] of the others.

    Args:
      output, xp: as `probabilities`.
    """
    if task.kind != "nominal":
        return probabilities(task, output, xp)
    if xp is np:
        output = np.asarray(output, np.float64)
    odds = xp.exp(output - output.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


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

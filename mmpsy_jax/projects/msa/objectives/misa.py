"""MISA's losses (Hazarika et al. 2020, arXiv 2005.03545): the score, and what private and shared codes should be.

As MMSA's trainer of it.

Departures from it: rows of a batch count where they have the modality (there, everybody has all), and `LEAST` stands
below roots, so that they have a gradient at 0.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmpsy_jax.io import InputError
from mmpsy_jax.objectives.base import ClassWeights, Labels, Losses, Outputs, Rows
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import Task

MOMENTS = 5
# Added to lengths in a denominator, as in MMSA.
EPSILON = 1e-6
LEAST = 1e-12

Codes = Float[Array, "b d"]
Weight = Float[Array, " b"]


def difference(one: Codes, other: Codes, weight: Weight) -> Float[Array, ""]:
    """How alike two kinds of codes are: mean over entries of (A^T B)^2, the rows of A and B centred and of length 1.

    The lengths are constants of the gradient.
    """

    def rows(x: Codes) -> Codes:
        x = (x - mean(x, weight)) * weight[:, None]
        return x / (jax.lax.stop_gradient(jnp.sqrt((x**2).sum(axis=1, keepdims=True))) + EPSILON)

    return jnp.mean((rows(one).T @ rows(other)) ** 2)


def central_moments(one: Codes, other: Codes, of_one: Weight, of_other: Weight) -> Float[Array, ""]:
    """Central moment discrepancy (Zellinger et al. 2017, arXiv 1702.08811) without its scaling by the range.

    |E x - E y| + sum_k=2..5 |E (x - E x)^k - E (y - E y)^k|, in Euclidean lengths.
    """
    length = lambda x: jnp.sqrt((x**2).sum() + LEAST)  # noqa: E731
    means = mean(one, of_one), mean(other, of_other)
    total = length(means[0] - means[1])
    for k in range(2, MOMENTS + 1):
        total += length(mean((one - means[0]) ** k, of_one) - mean((other - means[1]) ** k, of_other))
    return total


def mean(x: Codes, weight: Weight) -> Float[Array, " d"]:
    """Over the rows of weight 1; 0 without any."""
    return weight @ x / jnp.maximum(weight.sum(), 1.0)


@dataclasses.dataclass(frozen=True)
class Objective:
    """Squared error of the score in points, and the weighted losses of the codes.

        L = mean_i (y'_i - y_i)^2 + a difference + b similarity + c reconstruction

    `difference` sums the function of that name over each modality's private and shared codes, and over the private
    codes of each pair; `similarity` is the mean of `central_moments` over the shared codes of each pair;
    `reconstruction` the mean squared error of what was remade of both codes. The network must return, per modality s,
    `<s>_private`, `<s>_shared`, `<s>_given` and `<s>_remade` [b d], and `<s>_present` [b 1].

    Attributes:
      task: the score, a regression task.
      modalities: that have codes.
      weights: a, b and c.
    """

    task: Task
    modalities: tuple[str, ...]
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """What the only loss is called."""
        return (self.task.name,)

    def of_codes(self, outputs: Outputs, valid: Rows) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """Difference, similarity and reconstruction.

        Raises:
          InputError: the network has no such codes.
        """
        if any(f"{name}_private" not in outputs for name in self.modalities):
            raise InputError(
                "config.objective.name = 'misa' needs private and shared codes: set config.model.name = misa"
            )
        code = lambda name, kind: outputs[f"{name}_{kind}"]  # noqa: E731
        rows = {name: code(name, "present")[:, 0] * valid for name in self.modalities}
        pairs = list(itertools.combinations(self.modalities, 2))
        apart = [difference(code(s, "private"), code(s, "shared"), rows[s]) for s in self.modalities]
        apart += [difference(code(s, "private"), code(t, "private"), rows[s] * rows[t]) for s, t in pairs]
        alike = [central_moments(code(s, "shared"), code(t, "shared"), rows[s], rows[t]) for s, t in pairs]
        remade = [mean((code(s, "remade") - code(s, "given")) ** 2, rows[s]).mean() for s in self.modalities]
        return sum(apart), sum(alike, jnp.float32(0)) / max(len(pairs), 1), sum(remade) / len(remade)

    def __call__(self, outputs: Outputs, labels: Labels, valid: Rows, class_weights: ClassWeights) -> Losses:
        """The loss of a batch, whether it has a label, and (sum, count) of the squared errors alone.

        Args: as `multitask.Objective`.
        """
        del class_weights
        y = labels[self.task.label].astype(jnp.float32)
        known = valid & ~jnp.isnan(y)
        error = (outputs[self.task.name][:, 0] * self.task.maximum - jnp.where(known, y, 0.0)) ** 2 * known
        total, count = error.sum(), known.sum().astype(jnp.float32)
        extra = sum(w * loss for w, loss in zip(self.weights, self.of_codes(outputs, valid), strict=True))
        loss = total / jnp.maximum(count, 1.0) + extra
        return loss[None], ((count > 0)[None], {self.task.name: (total, count)})


def build(
    tasks: Sequence[Task],
    modalities: Sequence[str],
    model: Mapping[str, Any] | None = None,
    *,
    difference: Annotated[float, number(0)] = 1.0,
    similarity: Annotated[float, number(0)] = 1.0,
    reconstruction: Annotated[float, number(0)] = 1.0,
) -> Objective:
    """The objective of a run; `model` is of no matter, the weights are those of the three losses of codes.

    Raises:
      InputError: not exactly one regression task.
    """
    del model
    if len(tasks) != 1 or not tasks[0].scaled:
        raise InputError("config.objective.name = 'misa' trains one score: give one task of kind 'regression'")
    return Objective(tasks[0], tuple(modalities), tuple(map(float, (difference, similarity, reconstruction))))

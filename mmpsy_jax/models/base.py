"""The contract of a network: what it is told of inputs and tasks, how dropout reaches it, and what it returns.

A network is a Flax module `Model` in a file of this folder. It takes `modalities`, `heads` and its own plain arguments;
a call takes one pack of a packed batch and `Rates`, and returns the outputs of each head by name and,
under `EMBEDDING`, one vector per participant (docs/architecture.md, "A batch").
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmpsy_jax.modality import Modality as Modality
from mmpsy_jax.models.perceiver import Rate, keep_mask
from mmpsy_jax.tasks import kind_of


class Head(NamedTuple):
    """What a task needs of the network, in plain values.

    Attributes:
      name: task name, key of the outputs.
      kind: of the task (`kinds/`).
      n_classes: classes; 0 for numbers.
      label: of the task; tasks of one label may share what is known of it.
    """

    name: str
    kind: str
    n_classes: int
    label: str = ""

    @property
    def n_values(self) -> int:
        """Values that are read out of the network: a logit per class, or one place of the score or on the bands."""
        return self.n_classes if kind_of(self.kind).logits else 1

    def bias(self, start: Float[np.ndarray, " k"]) -> dict[str, Float[np.ndarray, " k"]]:
        """The parameter that holds the output biases, by name, such that they start at these values.

        Args:
          start: one per class logit, ascending cut points, or one value, as the kind has it.
        """
        start = np.asarray(start, np.float32)
        if not kind_of(self.kind).cut_points:
            return {f"{self.name}_bias": start}
        gaps = np.log(np.expm1(np.maximum(np.diff(start), 2e-3) - 1e-3))  # what `cut_points` undoes
        return {f"{self.name}_cuts": np.concatenate([start[:1], gaps])}


class Rates(NamedTuple):
    """Probabilities of dropout in training: of activations, whole tokens, single n-gram ids, whole modalities."""

    dropout: Rate = 0.0
    token: Rate = 0.0
    ngram: Rate = 0.0
    modality: Rate = 0.0


NO_DROPOUT = Rates()
# The key of the outputs that holds a participant's embedding instead of a task.
EMBEDDING = "embedding"


def drop_modalities(key: jax.Array, present: Bool[Array, "b m"], rate: Rate) -> Bool[Array, "b m"]:
    """Hides each modality of each participant with probability `rate`, unless nothing would be left of them."""
    keep = keep_mask(key, rate, present.shape)
    return present & (keep | ~jnp.any(keep & present, axis=1, keepdims=True))


class Scale(nn.Module):
    """(x - mean) / deviation of the training participants, then a trained weight and bias per feature."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b f"]) -> Float[Array, "*b f"]:
        shape = x.shape[-1:]
        mean = self.variable("fitted", "mean", jnp.zeros, shape).value
        deviation = self.variable("fitted", "deviation", jnp.ones, shape).value
        weight = self.param("weight", nn.initializers.ones_init(), shape)
        return (x - mean) / deviation * weight + self.param("bias", nn.initializers.zeros_init(), shape)


def outputs_of(
    model: nn.Module, heads: tuple[Head, ...], values: Float[Array, "b q"]
) -> dict[str, Float[Array, "b o"]]:
    """Outputs per task from one number per class logit, or per task that has none; `model` gets the biases."""
    outputs, start = {}, 0
    for head in heads:
        value, start = values[:, start : start + head.n_values], start + head.n_values
        if kind_of(head.kind).cut_points:
            outputs[head.name] = value - cut_points(model, head)
        else:
            shape = (head.n_values,)
            outputs[head.name] = value + model.param(f"{head.name}_bias", nn.initializers.zeros_init(), shape)
    return outputs


def cut_points(model: nn.Module, head: Head) -> Float[Array, " cuts"]:
    """Ascending cut points of a head of a model, its parameters: the first one free, then positive gaps."""
    raw = model.param(f"{head.name}_cuts", nn.initializers.zeros_init(), (head.n_classes - 1,))
    return jnp.cumsum(jnp.concatenate([raw[:1], nn.softplus(raw[1:]) + 1e-3]))

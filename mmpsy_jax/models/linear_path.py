"""A linear model of what is known of a participant as a whole: TF-IDF of n-grams, means and spreads of numbers.

Its weights are no parameters but the collection "fitted": whoever trains fits them in closed form
(`training/ridge.py`). `outputs_of` of `base.py` makes outputs of tasks from what it says of labels.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from mmpsy_jax.modality import ngram_keys
from mmpsy_jax.models.base import Head, Modality, outputs_of
from mmpsy_jax.models.perceiver import bag_weights, merge_windows
from mmpsy_jax.tasks import kind_of

NAME = "linear"  # of the module in a network, and of its fitted variables
LEFT_OUT = "linear_left_out"  # in a batch of training: what is said of each row without having been fitted on it
SLOPES = "linear_scale"  # the parameter that makes outputs of tasks of them


def columns_of(heads: Sequence[Head]) -> list[tuple[str, int]]:
    """What is regressed on: of each label its score (class 0), and of each nominal task every class, as 0 or 1."""
    columns = {}
    for head in heads:
        classes = range(head.n_classes) if kind_of(head.kind).named else range(1)
        name = head.name if kind_of(head.kind).named else head.label or head.name
        columns |= dict.fromkeys((name, k) for k in classes)
    return list(columns)


def read_by(heads: Sequence[Head]) -> Bool[np.ndarray, "l q"]:
    """Which columns are of the label, or of the classes, that each value of the outputs is about."""
    columns = columns_of(heads)
    return np.array(
        [[name in (head.label, head.name) for head in heads for _ in range(head.n_values)] for name, _ in columns]
    )


def readable(modalities: Sequence[Modality]) -> tuple[Modality, ...]:
    """All but samples of recordings, whose mean says nothing.

    Raises:
      ValueError: none is left.
    """
    read = tuple(one for one in modalities if one.kind == "ids" or one.dtype.kind != "i")
    if not read:
        raise ValueError("the linear path reads n-grams, mel windows or embeddings, and there are samples alone")
    return read


def pool(
    values: Float[Array, "s n f"], mask: Bool[Array, "s n"], row: Int[Array, " s"], rows: int, *, spread: bool
) -> Float[Array, "b k"]:
    """Mean of the valid steps of each participant and, with `spread`, their standard deviation; 0 without any."""
    values, weights = values.astype(jnp.float32), mask.astype(jnp.float32)
    count = jnp.maximum(merge_windows(weights.sum(axis=1), row, rows), 1.0)[:, None]
    mean = merge_windows(jnp.einsum("snf,sn->sf", values, weights), row, rows) / count
    if not spread:
        return mean
    # About the mean of the participant: differences of large squares would lose their digits.
    centred = values - jnp.pad(mean, [(0, 1), (0, 0)])[row][:, None]
    square = merge_windows(jnp.einsum("snf,sn->sf", centred**2, weights), row, rows) / count
    return jnp.concatenate([mean, jnp.sqrt(square)], axis=-1)


def valid_steps(batch: PyTree, name: str, rows: int) -> tuple[Bool[Array, "s n"], Bool[Array, "b 1"]]:
    """Which steps of a modality of a pack count, and which participants have any."""
    mask = jnp.arange(batch[name].shape[1]) < batch[f"{name}_length"][:, None]
    if f"{name}_keep" in batch:  # of tokens, which may be several frames each
        keep = batch[f"{name}_keep"]
        mask &= jnp.repeat(keep, -(-mask.shape[1] // keep.shape[1]), axis=1)[:, : mask.shape[1]]
    return mask, merge_windows(mask.sum(axis=1, dtype=jnp.float32), batch[f"{name}_row"], rows)[:, None] > 0


def scaled(
    model: nn.Module, batch: PyTree, modality: Modality, mask: Bool[Array, "s n"], rows: int
) -> Float[Array, "b k"]:
    """Pooled numbers of each participant, by the fitted mean and deviation of a model."""
    name = modality.name
    x = pool(batch[name], mask, batch[f"{name}_row"], rows, spread=modality.kind == "frames")
    mean, deviation = (
        model.variable("fitted", f"{name}_{what}", jnp.ones, x.shape[1:]).value for what in ("mean", "deviation")
    )
    return (x - mean) / deviation


class LinearPath(nn.Module):
    """What a ridge regression says of each label, in units in which left-out predictions have deviation one.

    Of each modality that a participant has, x W - c, where x is its TF-IDF vector or (pooled - mean) / deviation; what
    is absent adds nothing, as the mean of the training participants would.

    Attributes:
      modalities: the inputs.
      heads: the outputs that are made of them (`columns_of`).
    """

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]

    @nn.compact
    def __call__(self, batch: PyTree, rows: int) -> Float[Array, "b l"]:
        """Of one pack of a batch."""
        if LEFT_OUT in batch:
            return batch[LEFT_OUT]
        labels = len(columns_of(self.heads))
        total = self.variable("fitted", "intercept", jnp.zeros, (labels,)).value
        for modality in readable(self.modalities):
            name = modality.name
            mask, there = valid_steps(batch, name, rows)
            if modality.kind == "ids":
                value = self._of_ngrams(name, batch[name], batch[f"{name}_row"], rows, labels)
            else:
                x = scaled(self, batch, modality, mask, rows)
                value = x @ self._fitted(name, "weights", x.shape[1], labels)
            centre = self._fitted(name, "centre", labels)
            total = total + jnp.where(there, value - centre, 0.0)
        return total

    def _of_ngrams(
        self, name: str, ids: Int[Array, "s n k"], row: Int[Array, " s"], rows: int, labels: int
    ) -> Float[Array, "b l"]:
        """The TF-IDF vector of each participant times the weights; both of the n-grams that were fitted alone."""
        keys = self._fitted(name, "keys", 1, dtype=jnp.int32)
        size, asked = len(keys), ngram_keys(ids, jnp)
        idf, weights = self._fitted(name, "idf", size), self._fitted(name, "weights", size, labels)
        place = jnp.minimum(jnp.searchsorted(keys, asked), size - 1)
        known = jnp.where((keys[place] == asked) & (asked > 0), place + 1, 0)  # 0 is nothing
        present = self.perturb(f"{name}_present", (known > 0).astype(jnp.float32))
        of_ngrams = present * bag_weights(known, row, rows, jnp.append(0.0, idf))
        return merge_windows(jnp.einsum("snkl,snk->sl", weights[place], of_ngrams), row, rows)

    def _fitted(self, modality: str, what: str, *shape: int, dtype: Any = jnp.float32) -> Shaped[Array, "..."]:
        """A fitted variable; how many n-grams there are is what was fitted."""
        return self.variable("fitted", f"{modality}_{what}", jnp.ones, shape, dtype).value


def read_out(model: nn.Module, heads: tuple[Head, ...], linear: Float[Array, "b l"]) -> Float[Array, "b q"]:
    """One number per class logit, or per task that has none, from what the linear path says of all labels."""
    shape = (linear.shape[1], sum(head.n_values for head in heads))
    return linear @ model.param(SLOPES, nn.initializers.zeros_init(), shape)


class ReadOut(nn.Module):
    """Outputs of tasks from the linear path alone; its parameters are those that a network with the path has."""

    heads: tuple[Head, ...]

    @nn.compact
    def __call__(self, linear: Float[Array, "b l"]) -> dict[str, Float[Array, "b o"]]:
        """Of some participants."""
        return outputs_of(self, self.heads, read_out(self, self.heads, linear))

"""Transformers over one modality that read another (Tsai et al. 2019, arXiv 1906.00295): the blocks of MulT.

As MMSA's transformers_encoder.

Departures from it: sequences have their true lengths; there, padding is attended to like data, and what a step may
attend to follows from the padded lengths. Keys and values share one dropout mask; there, each has its own.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmpsy_jax.models.perceiver import MASKED_SCORE, Rate
from mmpsy_jax.projects.msa.recurrent import Padded
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel

EPSILON = 1e-5  # of layer normalisations, PyTorch's


class MaskedAttention(nn.Module):
    """Multi-head attention; who has nothing to attend to gets the bias of the output alone.

    Attributes:
      heads: must divide the width of the queries.
      rate: of dropout of the weights.
    """

    heads: int
    rate: Rate = 0.0

    @nn.compact
    def __call__(
        self, queries: Float[Array, "b n d"], inputs: Float[Array, "b m d"], mask: Bool[Array, "b n m"]
    ) -> Float[Array, "b n d"]:
        width = queries.shape[-1]
        split = (self.heads, width // self.heads)
        q, k, v = (
            nn.DenseGeneral(split, name=name)(x) for name, x in (("query", queries), ("key", inputs), ("value", inputs))
        )
        scores = jnp.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(split[1])
        weights = jax.nn.softmax(jnp.where(mask[:, None], scores, MASKED_SCORE), axis=-1)
        weights = Dropout()(weights, self.rate) * mask[:, None].any(axis=-1, keepdims=True)
        mixed = jnp.einsum("bhnm,bmhd->bnhd", weights, v)
        return nn.DenseGeneral(width, axis=(-2, -1), name="out")(mixed)


class Crossmodal(nn.Module):
    """Layers of attention and a network of two dense layers, both normalised before.

    Attributes:
      heads, layers: must divide the width; number of layers.
      attention_dropout, relu_dropout, residual_dropout, input_dropout: of the weights, after the ReLU, before each
        addition, and of the inputs.
      positions: whether sines and cosines of its place are added to every input.
    """

    heads: int
    layers: int
    attention_dropout: Rate = 0.0
    relu_dropout: Rate = 0.0
    residual_dropout: Rate = 0.0
    input_dropout: Rate = 0.0
    positions: bool = False

    @nn.compact
    def __call__(self, queries: Padded, inputs: Padded | None = None) -> Padded:
        """The queries after reading the inputs, or after reading each other where there are none."""
        x, width = self._enter(queries), queries.values.shape[-1]
        read, of = (None, queries) if inputs is None else (self._enter(inputs), inputs)
        mask = reachable(queries, of)
        norm = lambda name: nn.LayerNorm(epsilon=EPSILON, name=name)  # noqa: E731
        for number in range(1, self.layers + 1):
            before = norm(f"norm_{number}")
            normed = before(x)
            attention = MaskedAttention(self.heads, self.attention_dropout, name=f"attention_{number}")
            attended = attention(normed, normed if read is None else before(read), mask)
            x = x + Dropout()(attended, self.residual_dropout)
            hidden = nn.Dense(4 * width, name=f"up_{number}")(norm(f"norm_up_{number}")(x))
            hidden = Dropout()(nn.relu(hidden), self.relu_dropout)
            x = x + Dropout()(nn.Dense(width, name=f"down_{number}")(hidden), self.residual_dropout)
        return Padded(norm("norm_out")(x) * queries.mask[..., None], queries.length)

    def _enter(self, sequence: Padded) -> Float[Array, "b t d"]:
        _, steps, width = sequence.values.shape
        x = math.sqrt(width) * sequence.values
        return Dropout()(x + places(steps, width) if self.positions else x, self.input_dropout)


def places(steps: int, width: int) -> Float[Array, "t d"]:
    """sin(t w), then cos(t w), of places t from 1 and frequencies w from 1 to 1e-4 (Vaswani et al. 2017)."""
    frequencies = jnp.geomspace(1.0, 1e-4, width // 2)
    angles = jnp.arange(1, steps + 1)[:, None] * frequencies
    return jnp.pad(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1), [(0, 0), (0, width % 2)])


def reachable(queries: Padded, inputs: Padded) -> Bool[Array, "b n m"]:
    """Which inputs query i attends to: valid ones up to i + k, where the lengths differ by k; the last one sees all."""
    i, j = jnp.arange(queries.values.shape[1])[:, None], jnp.arange(inputs.values.shape[1])
    ahead = jnp.abs(queries.length - inputs.length)[:, None, None]
    return inputs.mask[:, None] & (j <= i + ahead)


def last_step(sequence: Padded) -> Float[Array, "b d"]:
    """The last valid step of each participant; 0 for who has none."""
    at = jnp.maximum(sequence.length - 1, 0)[:, None, None]
    return jnp.take_along_axis(sequence.values, at, axis=1)[:, 0] * sequence.present


class Convolution(nn.Module):
    """A convolution over time without padding or bias; of a sequence shorter than its kernel one step is left."""

    width: int
    kernel: int

    @nn.compact
    def __call__(self, sequence: Padded) -> Padded:
        x = sequence.values
        short = max(self.kernel - x.shape[1], 0)
        x = nn.Conv(self.width, (self.kernel,), padding=((0, short),), use_bias=False, name="conv")(x)
        length = jnp.where(sequence.length > 0, jnp.maximum(sequence.length - self.kernel + 1, 1), 0)
        return Padded(x * Padded(x, length).mask[..., None], length)


class CrossmodalModel(SequenceModel):
    """Mix-in of MulT and TETFN: modalities read each other.

    A subclass declares `heads_attention`, `width`, `relu_dropout`, `residual_dropout`, `input_dropout`, and
    `<modality>_kernel` and `<modality>_attention_dropout`.
    """

    def convolved(self, name: str, sequence: Padded) -> Padded:
        """A modality at the common width."""
        return Convolution(self.width, self.of("kernel", name), name=f"{name}_in")(sequence)

    def transformer(self, name: str, attended: str, layers: int, positions: bool = False) -> Crossmodal:
        """A transformer that attends to a modality."""
        return Crossmodal(
            self.heads_attention,
            layers,
            attention_dropout=self.of("attention_dropout", attended),
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
            input_dropout=self.input_dropout,
            positions=positions,
            name=name,
        )

    def remember(self, name: str, sequence: Padded, read: Sequence[Padded], layers: int) -> Float[Array, "b d"]:
        """The last step of a modality after a transformer over what it has read of the others, or over itself."""
        joined = jnp.concatenate([one.values for one in read], axis=-1) if read else sequence.values
        return last_step(self.transformer(f"{name}_memory", "text", layers)(Padded(joined, sequence.length)))

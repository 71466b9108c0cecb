"""Perceiver-IO blocks: cross-attention over packed inputs, latent self-attention, and input adapters.

Jaegle et al. 2021, "Perceiver IO" (arXiv 2107.14795) for the layout: inputs -> cross-attention into a few latents ->
self-attention among the latents -> cross-attention from output queries. Inputs are packed: the windows of all
participants lie one behind the other, for each modality by itself, and `row` says whose each is (docs/architecture.md,
"A batch"). Shapes are static; what is absent is masked. Parameters are float32; `dtype` is the precision of the matrix
products; every softmax is float32.

Letters of shapes: s windows, n tokens per window, b participants, l latents, h heads, d width, e width per head.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmpsy_jax.models.projection import project

Dtype = jax.typing.DTypeLike
# A probability: a plain number is part of the program, an array may differ between replicas.
Rate = float | Float[Array, ""]

# Well below any real score and finite in float32 and bfloat16: a fully masked row then has equal, finite logits.
MASKED_SCORE = -1e9


def off(value: Any) -> bool:
    """Whether a setting is zero for certain, so that what it is for can be left out; an array may be anything."""
    return isinstance(value, float | int) and value == 0


def keep_mask(key: jax.Array, rate: Rate, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """True with probability 1 - rate; the mask of a key of `hash_keys` costs little."""
    bits = jax.random.bits(key, shape)
    # 24 bits, which float32 holds exactly.
    return (bits >> 8).astype(jnp.float32) >= jnp.float32(rate) * 2.0**24


class Dropout(nn.Module):
    """Inverted dropout whose rate is an argument; a plain rate of zero costs nothing and asks for no key."""

    @nn.compact
    def __call__(self, x: Float[Array, "..."], rate: Rate) -> Float[Array, "..."]:
        if off(rate):
            return x
        keep = keep_mask(self.make_rng("dropout"), rate, x.shape)
        return jnp.where(keep, x / (1.0 - jnp.asarray(rate, x.dtype)), jnp.zeros((), x.dtype))


class Attention(nn.Module):
    """Multi-head attention of queries over inputs, the textbook form.

    The weights ([b h n m], before dropout) are sown as `intermediates/attention`, so that
    `model.apply(..., mutable=["intermediates"])` returns them and a plain `apply` never keeps them.

    Attributes:
      width: total size of queries, keys and values, split over the heads.
      heads: number of heads; must divide `width`.
    """

    width: int
    heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, queries: Float[Array, "b n q"], inputs: Float[Array, "b m k"], rate: Rate
    ) -> Float[Array, "b n q"]:
        split = (self.heads, self.width // self.heads)
        dense = lambda name: nn.DenseGeneral(split, dtype=self.dtype, name=name)  # noqa: E731
        q, k, v = dense("query")(queries), dense("key")(inputs), dense("value")(inputs)
        scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores.astype(jnp.float32) / math.sqrt(split[1]), axis=-1)
        self.sow("intermediates", "attention", weights)
        mixed = jnp.einsum("bhnm,bmhd->bnhd", Dropout()(weights.astype(self.dtype), rate), v)
        return nn.DenseGeneral(queries.shape[-1], axis=(-2, -1), use_bias=False, dtype=self.dtype, name="out")(mixed)


class Packed(NamedTuple):
    """The windows of one modality: tokens, which of them are valid, and the row of the participant of each window."""

    tokens: Float[Array, "s n d"]
    mask: Bool[Array, "s n"]
    row: Int[Array, " s"]


class PackedAttention(nn.Module):
    """Attention of shared queries over the layer-normalised tokens of each participant's windows.

    It is softmax(q k^T / sqrt(e)) v with k, v = LN(x) W_k, LN(x) W_v + c, one softmax over all valid tokens of a
    participant, whatever their modality; who has none gets exactly zero. (Keys have no bias: it would add the same to
    all scores of a query.) What is saved:

    - Queries are learned, the same for everyone, so that all scores are one product of tokens and queries.
    - `absorb`: q (LN(x) W_k)^T = (q W_k^T) LN(x)^T and A (LN(x) W_v) = (A LN(x)) W_v: keys and values, as large as the
      tokens, are never made. That costs l h d multiplications a token instead of d d + l d.
    - LN(x) = N(x) g + c: the scale g is part of the absorbed queries, and c, which adds the same to all scores of a
      query, is only added to what was read.
    - The softmax is normalised last, on what the latents have read; windows are merged by segment sums, which are then
      added over the modalities.

    The weights (of each input [s n l h], adding up to one over all tokens of a participant) are sown as
    `intermediates/attention`, in the order of the inputs.

    Attributes:
      heads: number of heads.
      absorb: None takes the form with fewer multiplications.
    """

    heads: int
    absorb: bool | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, queries: Float[Array, "l d"], inputs: Sequence[Packed], rows: int) -> Float[Array, "b l d"]:
        (latents, width), heads = queries.shape, self.heads
        size = width // heads
        kernel = lambda name: self.param(name, nn.initializers.lecun_normal(), (width, width)).reshape(  # noqa: E731
            width, heads, size
        )
        scale = self.param("norm_scale", nn.initializers.ones_init(), (width,))
        bias = self.param("norm_bias", nn.initializers.zeros_init(), (width,))
        q = nn.DenseGeneral((heads, size), name="query")(queries.astype(jnp.float32)) / math.sqrt(size)
        w_k, w_v = kernel("key"), kernel("value")
        value_bias = self.param("value_bias", nn.initializers.zeros_init(), (heads, size))
        w_out = self.param("out", nn.initializers.lecun_normal(), (width, width)).reshape(heads, size, width)
        product = lambda spec, *x: jnp.einsum(  # noqa: E731
            spec, *(a.astype(self.dtype) for a in x), preferred_element_type=jnp.float32
        )

        absorbed = jnp.einsum("lhe,dhe->lhd", q, w_k) * scale

        # Each gives the scores of one input, and the function that reads it by weights.
        def absorbing(x: Array) -> tuple[Array, Callable[[Array], Array]]:
            normed = normalise(x).astype(self.dtype)
            read = lambda weights: product("snlh,snd->slhd", weights, normed)  # noqa: E731
            return product("snd,lhd->snlh", normed, absorbed), read

        def projecting(x: Array) -> tuple[Array, Callable[[Array], Array]]:
            normed = (normalise(x) * scale + bias).astype(self.dtype)
            scores = product("lhe,snhe->snlh", q, product("snd,dhe->snhe", normed, w_k))
            return scores, lambda weights: product("snlh,snhe->slhe", weights, product("snd,dhe->snhe", normed, w_v))

        absorb = self.absorb if self.absorb is not None else latents * heads <= width + latents
        form = absorbing if absorb else projecting
        scores, reads = zip(*(form(one.tokens) for one in inputs), strict=True)
        weights = exponentials(scores, inputs, rows)
        total = merge([x.sum(axis=1) for x in weights], inputs, rows)
        divisor = jnp.where(total > 0, total, 1.0)
        attended = (total / divisor)[..., None]  # one, or zero for who has nothing to attend to
        of_slots = jnp.pad(divisor, [(0, 1), (0, 0), (0, 0)], constant_values=1)
        for one, x in zip(inputs, weights, strict=True):
            self.sow("intermediates", "attention", x / of_slots[one.row][:, None])
        mixed = merge([read(x) for read, x in zip(reads, weights, strict=True)], inputs, rows) / divisor[..., None]
        if absorb:
            mixed = product("blhd,dhe->blhe", mixed * scale + attended * bias, w_v)
        return product("blhe,hed->bld", mixed + attended * value_bias, w_out)


def exponentials(
    scores: Sequence[Float[Array, "_ _ l h"]], inputs: Sequence[Packed], rows: int
) -> list[Float[Array, "_ _ l h"]]:
    """exp(score - largest score of the participant) of valid tokens, else zero: a softmax yet to be divided."""
    scores = [jnp.where(one.mask[..., None, None], x, MASKED_SCORE) for x, one in zip(scores, inputs, strict=True)]
    # The largest score only keeps exp in range and cancels: no gradient goes through it.
    largest = jnp.full((rows + 1, *scores[0].shape[2:]), MASKED_SCORE)
    for x, one in zip(scores, inputs, strict=True):
        of_windows = jax.lax.stop_gradient(x).max(axis=1)
        of_rows = jax.ops.segment_max(of_windows, one.row, rows + 1, indices_are_sorted=True)
        largest = jnp.maximum(largest, of_rows)  # of a participant without windows it is -inf
    return [
        jnp.where(one.mask[..., None, None], jnp.exp(x - largest[one.row][:, None]), 0.0)
        for x, one in zip(scores, inputs, strict=True)
    ]


def merge(parts: Sequence[Float[Array, "_ ..."]], inputs: Sequence[Packed], rows: int) -> Float[Array, "b ..."]:
    """Sums over the windows of each participant in all modalities; one part per input."""
    return sum(merge_windows(x, one.row, rows) for x, one in zip(parts, inputs, strict=True))


def normalise(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Each last axis less its mean, over its standard deviation, in float32 (as flax.linen.LayerNorm takes them)."""
    x = x.astype(jnp.float32)
    mean = x.mean(axis=-1)
    return (x - mean[..., None]) * inverse_deviation(mean, (x * x).mean(axis=-1))[..., None]


def inverse_deviation(mean: Float[Array, "..."], square: Float[Array, "..."]) -> Float[Array, "..."]:
    """One over the standard deviation of x from the means of x and of its squares, with the epsilon of LayerNorm."""
    return jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + 1e-6)


class Mlp(nn.Module):
    """Dense -> GELU -> Dense, back to the input size."""

    expansion: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "... d"], rate: Rate) -> Float[Array, "... d"]:
        width = x.shape[-1]
        x = jax.nn.gelu(nn.Dense(width * self.expansion, dtype=self.dtype, name="up")(x))
        return Dropout()(nn.Dense(width, dtype=self.dtype, name="down")(x), rate)


class AttentionBlock(nn.Module):
    """Pre-norm residual block: attention over `inputs`, or over itself when they are None, then an MLP."""

    heads: int
    expansion: int = 4
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], inputs: Float[Array, "b m d"] | None, rate: Rate
    ) -> Float[Array, "b n d"]:
        normed = nn.LayerNorm(dtype=self.dtype, name="norm_query")(x)
        inputs = normed if inputs is None else nn.LayerNorm(dtype=self.dtype, name="norm_input")(inputs)
        x = x + Dropout()(Attention(x.shape[-1], self.heads, self.dtype, name="attention")(normed, inputs, rate), rate)
        return x + Mlp(self.expansion, self.dtype, name="mlp")(nn.LayerNorm(dtype=self.dtype, name="norm_mlp")(x), rate)


class Encoder(nn.Module):
    """Learned latents read the packed tokens of their participant, then an MLP; pre-norm and residual.

    Attributes:
      latents, heads, expansion, absorb: sizes, and see `PackedAttention`.
    """

    latents: int
    heads: int
    expansion: int = 4
    absorb: bool | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: Sequence[Packed], rows: int, rate: Rate) -> Float[Array, "b l d"]:
        latents = self.param("latents", nn.initializers.normal(0.02), (self.latents, inputs[0].tokens.shape[-1]))
        queries = nn.LayerNorm(name="norm_query")(latents)
        attention = PackedAttention(self.heads, self.absorb, self.dtype, name="attention")
        mixed = attention(queries, inputs, rows).astype(self.dtype)
        x = latents.astype(self.dtype) + Dropout()(mixed, rate)
        return x + Mlp(self.expansion, self.dtype, name="mlp")(nn.LayerNorm(dtype=self.dtype, name="norm_mlp")(x), rate)


class LatentStack(nn.Module):
    """`layers` self-attention blocks as one scanned block: compile time does not grow with depth.

    Attributes:
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    layers: int
    heads: int
    expansion: int = 4
    remat: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], rate: Rate) -> Float[Array, "b n d"]:
        if self.layers == 0:
            return x

        def body(block: AttentionBlock, carry):
            return block(carry, None, rate), None

        if self.remat:
            body = nn.remat(body, prevent_cse=False)
        scan = nn.scan(
            body,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.layers,
        )
        return scan(AttentionBlock(self.heads, self.expansion, self.dtype, name="blocks"), x)[0]


def merge_windows(x: Float[Array, "s ..."], row: Int[Array, " s"], rows: int) -> Float[Array, "b ..."]:
    """Sums over the windows of each participant; unused slots (row == rows) go nowhere."""
    return jax.ops.segment_sum(x, row, rows + 1, indices_are_sorted=True)[:rows]


def masked_mean(
    x: Float[Array, "s n d"], mask: Bool[Array, "s n"] | Int[Array, "s n"], row: Int[Array, " s"], rows: int
) -> Float[Array, "b d"]:
    """Mean over the valid tokens of all windows of a participant in float32; zero where there is none.

    A token with a number instead of a mark counts so many times.
    """
    weights = mask.astype(jnp.float32)
    total = merge_windows(jnp.einsum("snd,sn->sd", x.astype(jnp.float32), weights), row, rows)
    return total / jnp.maximum(merge_windows(weights.sum(axis=1), row, rows), 1.0)[:, None]


class FramesAdapter(nn.Module):
    """Log-mel windows to tokens: `patch` neighbouring frames become one token, layer-normalised.

    Padding frames are zero, the mean of a z-normalised recording; a patch counts as valid when any of its frames is.
    """

    width: int
    patch: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, frames: Float[Array, "s t f"], length: Int[Array, " s"]
    ) -> tuple[Float[Array, "s n d"], Bool[Array, "s n"]]:
        windows, steps, bands = frames.shape
        n = -(-steps // self.patch)
        frames = jnp.pad(frames, [(0, 0), (0, n * self.patch - steps), (0, 0)])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.patch * bands, self.width))
        tokens, *_ = project(frames.reshape(windows, n, self.patch * bands), kernel, self.dtype)
        mask = jnp.arange(n) * self.patch < length[:, None]
        return nn.LayerNorm(dtype=self.dtype, name="norm")(tokens.astype(self.dtype)), mask


class FeaturesAdapter(nn.Module):
    """Token embeddings [s n e] to tokens [s n d]: LN(f) W + b, without storing LN(f) (see `PackedAttention`)."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "s n e"], length: Int[Array, " s"]
    ) -> tuple[Float[Array, "s n d"], Bool[Array, "s n"]]:
        size = features.shape[-1]
        scale = self.param("norm_scale", nn.initializers.ones_init(), (size,))
        offset = self.param("norm_bias", nn.initializers.zeros_init(), (size,))
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        scaled = scale[:, None] * kernel
        product, mean, square = project(features, scaled, self.dtype)
        r = inverse_deviation(mean, square)
        tokens = (product - mean[..., None] * scaled.sum(axis=0)) * r[..., None] + (offset @ kernel + bias)
        return tokens.astype(self.dtype), jnp.arange(features.shape[1]) < length[:, None]


def bag_weights(
    ids: Int[Array, "s n k"], row: Int[Array, " s"], rows: int, idf: Float[Array, " v"]
) -> Float[Array, "s n k"]:
    """Weight of each occurrence such that their weighted sum is a participant's TF-IDF vector of length one.

    An id that a participant uses c times counts (1 + ln c) idf in all, shared by its occurrences; id 0 has weight zero.
    """
    whose = jnp.broadcast_to(row[:, None], (row.shape[0], ids.shape[1] * ids.shape[2])).reshape(-1)
    flat = ids.reshape(-1)
    counts = jnp.zeros((rows + 1, len(idf)), jnp.float32).at[whose, flat].add(1.0)[whose, flat]
    value = jnp.where(flat > 0, (1.0 + jnp.log(counts)) * idf[flat], 0.0)
    # Each of c occurrences carries value / c, and value^2 / c of the squared norm.
    square = merge_windows((value**2 / counts).reshape(row.shape[0], -1).sum(axis=1), row, rows + 1)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return (value / counts).reshape(ids.shape) / norm[row][:, None, None]


class IdsAdapter(nn.Module):
    """Integer features per token (n-gram ids) to tokens: the sum of their learned embeddings; id 0 is nothing.

    Returns tokens, their mask, and the embedding of each participant's bag of n-grams (`bag_weights`). The weight of an
    id in the bag is the variable `fitted/idf`, which whoever trains the network fits on the training participants. What
    each embedding counts (1, or 0 where there is none) takes a summand, `perturbations/present`, by which it is scaled.
    """

    width: int
    vocabulary: int
    scale: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[Array, "s n k"], length: Int[Array, " s"], row: Int[Array, " s"], rows: int, rate: Rate
    ) -> tuple[Float[Array, "s n d"], Bool[Array, "s n"], Float[Array, "b d"]]:
        table = self.param("embedding", nn.initializers.normal(self.scale), (self.vocabulary, self.width))
        # Whole n-grams are dropped, so that no single one is relied on.
        present = self.perturb("present", Dropout()((ids > 0).astype(self.dtype), rate))
        embedded = table.astype(self.dtype)[ids]
        tokens = jnp.einsum("snkd,snk->snd", embedded, present)
        idf = self.variable("fitted", "idf", jnp.ones, (self.vocabulary,)).value
        weights = present * bag_weights(ids, row, rows, idf).astype(self.dtype)
        bag = jnp.einsum("snkd,snk->sd", embedded, weights, preferred_element_type=jnp.float32)
        return tokens, jnp.arange(ids.shape[1]) < length[:, None], merge_windows(bag, row, rows)

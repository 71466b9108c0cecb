"""Perceiver-IO blocks: attention over masked inputs, a stack of latent self-attention, and input adapters.

Jaegle et al. 2021, "Perceiver IO" (arXiv 2107.14795) for the layout: inputs -> cross-attention into a few latents ->
self-attention among the latents -> cross-attention from output queries. Shapes are static; what is absent is masked.
Parameters are float32; `dtype` is the precision of the matrix products; every softmax is float32.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Dtype = jax.typing.DTypeLike

# Well below any real score and finite in float32 and bfloat16: a fully masked row then has equal, finite logits.
MASKED_SCORE = -1e9


class Attention(nn.Module):
    """Multi-head attention of queries over masked keys; a row whose keys are all masked gives exactly zero.

    The weights ([b h n m], after dropout-free softmax) are sown as `intermediates/attention`, so
    `model.apply(..., mutable=["intermediates"])` returns them and a plain `apply` never keeps them.

    Attributes:
      width: total size of queries, keys and values, split over the heads.
      heads: number of heads; must divide `width`.
      dropout: rate on the attention weights.
    """

    width: int
    heads: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b n q"],
        inputs: Float[Array, "b m k"],
        mask: Bool[Array, "b m"] | None,
        deterministic: bool,
    ) -> Float[Array, "b n q"]:
        split = (self.heads, self.width // self.heads)
        dense = lambda name: nn.DenseGeneral(split, dtype=self.dtype, name=name)  # noqa: E731
        q, k, v = dense("query")(queries), dense("key")(inputs), dense("value")(inputs)
        scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
        scores = scores.astype(jnp.float32) / math.sqrt(split[1])
        if mask is not None:
            scores = jnp.where(mask[:, None, None, :], scores, MASKED_SCORE)
        weights = jax.nn.softmax(scores, axis=-1)
        if mask is not None:  # softmax over nothing is uniform: such a row must not return the mean of padding
            weights = weights * jnp.any(mask, axis=-1)[:, None, None, None]
        self.sow("intermediates", "attention", weights)
        weights = nn.Dropout(self.dropout)(weights.astype(self.dtype), deterministic=deterministic)
        mixed = jnp.einsum("bhnm,bmhd->bnhd", weights, v)
        # No bias: a row that attends to nothing stays zero after the projection too.
        return nn.DenseGeneral(queries.shape[-1], axis=(-2, -1), use_bias=False, dtype=self.dtype, name="out")(mixed)


class Mlp(nn.Module):
    """Dense -> GELU -> Dense, back to the input size."""

    expansion: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "... d"], deterministic: bool) -> Float[Array, "... d"]:
        width = x.shape[-1]
        x = jax.nn.gelu(nn.Dense(width * self.expansion, dtype=self.dtype, name="up")(x))
        x = nn.Dense(width, dtype=self.dtype, name="down")(x)
        return nn.Dropout(self.dropout)(x, deterministic=deterministic)


class AttentionBlock(nn.Module):
    """Pre-norm residual block: attention (over `inputs`, or over itself when they are None), then an MLP."""

    heads: int
    expansion: int = 4
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        inputs: Float[Array, "b m k"] | None,
        mask: Bool[Array, "b m"] | None,
        deterministic: bool,
    ) -> Float[Array, "b n d"]:
        normed = nn.LayerNorm(dtype=self.dtype, name="norm_query")(x)
        inputs = normed if inputs is None else nn.LayerNorm(dtype=self.dtype, name="norm_input")(inputs)
        attention = Attention(x.shape[-1], self.heads, self.dropout, self.dtype, name="attention")
        mixed = attention(normed, inputs, mask, deterministic)
        x = x + nn.Dropout(self.dropout)(mixed, deterministic=deterministic)
        normed = nn.LayerNorm(dtype=self.dtype, name="norm_mlp")(x)
        return x + Mlp(self.expansion, self.dropout, self.dtype, name="mlp")(normed, deterministic)


class LatentStack(nn.Module):
    """`layers` self-attention blocks as one scanned block: compile time does not grow with depth.

    Attributes:
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    layers: int
    heads: int
    expansion: int = 4
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], deterministic: bool) -> Float[Array, "b n d"]:
        if self.layers == 0:
            return x

        def body(block: AttentionBlock, carry):
            return block(carry, None, None, deterministic), None

        if self.remat:
            body = nn.remat(body, prevent_cse=False)
        scan = nn.scan(
            body,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.layers,
        )
        block = AttentionBlock(self.heads, self.expansion, self.dropout, self.dtype, name="blocks")
        return scan(block, x)[0]


def fourier_features(
    seconds: Float[Array, "..."], bands: int, shortest: float, longest: float
) -> Float[Array, "... f"]:
    """Sine and cosine of a time in seconds at `bands` periods spaced evenly in log from `longest` to `shortest`."""
    periods = jnp.geomspace(longest, shortest, bands, dtype=jnp.float32)
    angle = 2 * jnp.pi * seconds[..., None].astype(jnp.float32) / periods
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class TimePosition(nn.Module):
    """Adds where a token lies in the interview, in seconds, so that windows of a participant form one time line.

    Attributes:
      kind: "fourier" (fixed features, learned projection) or "learned" (a table over the time line, linearly
        interpolated) or "none".
      longest: seconds covered: the longest Fourier period, or the end of the learned table.
      bands: number of Fourier periods, or of entries of the table.
      shortest: shortest Fourier period in seconds.
    """

    kind: str = "fourier"
    longest: float = 1200.0
    bands: int = 16
    shortest: float = 2.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "... d"], seconds: Float[Array, "..."]) -> Float[Array, "... d"]:
        width = x.shape[-1]
        if self.kind == "none":
            return x
        if self.kind == "fourier":
            features = fourier_features(seconds, self.bands, self.shortest, self.longest)
            return x + nn.Dense(width, use_bias=False, dtype=self.dtype, name="projection")(features)
        if self.kind == "learned":
            table = self.param("table", nn.initializers.normal(0.02), (self.bands, width))
            place = jnp.clip(seconds / self.longest, 0.0, 1.0) * (self.bands - 1)
            low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, self.bands - 2)
            part = (place - low)[..., None]
            return x + (table[low] * (1 - part) + table[low + 1] * part).astype(x.dtype)
        raise ValueError(f"time position {self.kind!r}: choose one of: fourier, learned, none")


def masked_mean(x: Float[Array, "b w n d"], mask: Bool[Array, "b w n"]) -> Float[Array, "b d"]:
    """Mean over the valid tokens of all windows in float32; zero where there is none."""
    weights = mask.astype(jnp.float32)
    total = jnp.einsum("bwnd,bwn->bd", x.astype(jnp.float32), weights)
    return total / jnp.maximum(weights.sum(axis=(1, 2)), 1.0)[:, None]


class FramesAdapter(nn.Module):
    """Log-mel windows to tokens: `patch` neighbouring frames become one token.

    Padding frames are zero, the mean of a z-normalised recording; a patch counts as valid when any of its frames is.
    """

    width: int
    patch: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, frames: Float[Array, "b w f t"], length: Int[Array, "b w"]
    ) -> tuple[Float[Array, "b w n d"], Bool[Array, "b w n"]]:
        bands, steps = frames.shape[-2:]
        n = -(-steps // self.patch)
        frames = jnp.pad(frames, [(0, 0)] * 3 + [(0, n * self.patch - steps)]).astype(self.dtype)
        kernel = self.param("kernel", nn.initializers.lecun_normal((0, 1), 2), (bands, self.patch, self.width))
        frames = frames.reshape(*frames.shape[:-1], n, self.patch)
        # One contraction over bands and frames: the [bands, time] layout of the records is never transposed by itself.
        tokens = jnp.einsum("bwfnp,fpd->bwnd", frames, kernel.astype(self.dtype))
        mask = jnp.arange(n) * self.patch < length[..., None]
        return nn.LayerNorm(dtype=self.dtype, name="norm")(tokens), mask


class FeaturesAdapter(nn.Module):
    """Token embeddings [b w n e] to tokens [b w n d]: normalise, then project."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b w n e"], length: Int[Array, "b w"]
    ) -> tuple[Float[Array, "b w n d"], Bool[Array, "b w n"]]:
        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(features.astype(self.dtype))
        mask = jnp.arange(features.shape[2]) < length[..., None]
        return nn.Dense(self.width, dtype=self.dtype, name="projection")(normed), mask


def bag_weights(ids: Int[Array, "b w n k"], vocabulary: int) -> Float[Array, "b w n k"]:
    """Weight of each occurrence such that their weighted sum is a unit bag of n-grams with sublinear counts.

    An id that a participant uses c times counts 1 + ln c in all, shared by its occurrences; the bag has L2 norm one,
    as sublinear TF has it; id 0 has weight zero.
    """
    flat = ids.reshape(ids.shape[0], -1)
    rows = jnp.arange(ids.shape[0])[:, None]
    counts = jnp.zeros((ids.shape[0], vocabulary), jnp.float32).at[rows, flat].add(1.0)[rows, flat]
    value = jnp.where(flat > 0, 1.0 + jnp.log(counts), 0.0)
    # Each of c occurrences carries value / c, and value^2 / c of the squared norm.
    norm = jnp.sqrt(jnp.maximum((value**2 / counts).sum(axis=1, keepdims=True), 1.0))
    return (value / counts / norm).reshape(ids.shape)


class IdsAdapter(nn.Module):
    """Integer features per token (n-gram ids) to tokens: the sum of their learned embeddings; id 0 is nothing.

    Returns tokens, their mask, and the embedding of the participant's bag of n-grams (`bag_weights`).
    """

    width: int
    vocabulary: int
    scale: float = 0.02
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b w n k"], length: Int[Array, "b w"], deterministic: bool
    ) -> tuple[Float[Array, "b w n d"], Bool[Array, "b w n"], Float[Array, "b d"]]:
        table = self.param("embedding", nn.initializers.normal(self.scale), (self.vocabulary, self.width))
        present = (ids > 0).astype(self.dtype)
        if not deterministic and self.dropout:  # whole n-grams are dropped, so that no single one is relied on
            keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.dropout, ids.shape)
            present = present * keep / (1 - self.dropout)
        embedded = table.astype(self.dtype)[ids]
        tokens = jnp.einsum("bwnkd,bwnk->bwnd", embedded, present)
        weights = present * bag_weights(ids, self.vocabulary).astype(self.dtype)
        bag = jnp.einsum("bwnkd,bwnk->bd", embedded, weights, preferred_element_type=jnp.float32)
        return tokens, jnp.arange(ids.shape[2]) < length[..., None], bag.astype(jnp.float32)

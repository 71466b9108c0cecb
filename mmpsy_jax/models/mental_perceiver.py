"""The Mental-Perceiver: a Perceiver-IO over all windows of a participant, decoded by category priors.

After Qin et al., "Mental-Perceiver: Audio-Textual Multi-Modal Learning for Mental Health Assessment" (AAAI 2025,
arXiv 2408.12088), whose idea is a fully attentional network in which learned category priors query the fused audio and
text. The paper's sizes, losses and definition of the prior could not be obtained: what stands here is our own choice,
with the equations in `docs/mental_perceiver.md`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.models import perceiver


class Head(NamedTuple):
    """What a task needs of the network, in plain values.

    Attributes:
      name: task name, key of the outputs.
      kind: "binary", "ordinal" or "regression".
      n_classes: classes of a binary or ordinal task.
      bias: initial output biases: one per class logit (binary), ascending cut points (ordinal), one value (regression).
    """

    name: str
    kind: str
    n_classes: int
    bias: tuple[float, ...]


class Modality(NamedTuple):
    """How a modality's windows look: `kind` "features" or "ids", one window's shape, its axis of time, ids in use."""

    name: str
    kind: str
    shape: tuple[int, ...]
    time_axis: int
    vocabulary: int = 0


def drop_modalities(key: Array, masks: list[Bool[Array, "b _"]], rate: float) -> list[Bool[Array, "b _"]]:
    """Hides each modality of each participant with probability `rate`, unless nothing would be left of them."""
    keep = jax.random.bernoulli(key, 1 - rate, (masks[0].shape[0], len(masks)))
    present = jnp.stack([jnp.any(mask, axis=1) for mask in masks], axis=1)
    keep |= ~jnp.any(keep & present, axis=1, keepdims=True)
    return [mask & keep[:, i, None] for i, mask in enumerate(masks)]


class Model(nn.Module):
    """Participants' windows -> outputs per task.

    Attributes:
      modalities: the inputs, in order; a modality absent from a participant has length 0 and is masked.
      heads: the outputs.
      window_seconds: length of a window in seconds; positions within it are spread evenly.
      width, heads_attention, latents, layers, expansion: sizes of the Perceiver.
      patch: mel frames per token.
      position, longest_seconds: see `perceiver.TimePosition`.
      dropout: rate in attention and MLPs; `token_dropout` drops whole input tokens, `ngram_dropout` single n-gram ids,
        `modality_dropout` a whole modality of a participant in training (never the last one that is present).
      pooled_prior: the category priors also see the pooled input tokens, a linear path beside the latents.
      remat: recompute latent blocks in the backward pass.
      dtype: precision of the matrix products, "float32" or "bfloat16".
    """

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    width: int = 64
    heads_attention: int = 4
    latents: int = 16
    layers: int = 2
    expansion: int = 4
    patch: int = 20
    position: str = "fourier"
    longest_seconds: float = 1200.0
    dropout: float = 0.1
    token_dropout: float = 0.0
    ngram_dropout: float = 0.0
    modality_dropout: float = 0.0
    pooled_prior: bool = True
    embedding_scale: float = 0.02
    remat: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, batch: PyTree, deterministic: bool = True) -> dict[str, Float[Array, "b o"]]:
        """Outputs per task.

        Args:
          batch: `<modality>` [b w *shape], `<modality>_length` [b w] and `window_start_s` [b w] (see
            `docs/architecture.md`).
          deterministic: no dropout; otherwise a "dropout" rng is needed.

        Returns:
          binary: one logit per class [b 2], a softmax over them gives the probabilities; ordinal: cumulative logits
          [b c-1] of "band is above k", descending in k; regression: [b 1], the score as a fraction of its maximum.
        """
        dtype = jnp.dtype(self.dtype)
        parts, masks, pooled = self.tokens(batch, deterministic, dtype)
        tokens, mask = jnp.concatenate(parts, axis=1), jnp.concatenate(masks, axis=1)
        latents = self.param("latents", nn.initializers.normal(0.02), (self.latents, self.width))
        latents = jnp.broadcast_to(latents.astype(dtype), (tokens.shape[0], *latents.shape))
        encoder = perceiver.AttentionBlock(self.heads_attention, self.expansion, self.dropout, dtype, name="encoder")
        latents = encoder(latents, tokens, mask, deterministic)
        stack = perceiver.LatentStack(
            self.layers, self.heads_attention, self.expansion, self.dropout, self.remat, dtype, name="latent_stack"
        )
        latents = stack(latents, deterministic)
        return self.decode(latents, pooled, deterministic, dtype)

    def tokens(
        self, batch: PyTree, deterministic: bool, dtype: jnp.dtype
    ) -> tuple[list[Float[Array, "b _ d"]], list[Bool[Array, "b _"]], Float[Array, "b k d"]]:
        """Per modality, all windows of each participant as one masked sequence; modalities share one time line.

        The third value is one vector per modality: the mean of its valid tokens, or for n-gram ids its unit bag.
        """
        parts, masks, pooled = [], [], []
        for modality in self.modalities:
            values, length = batch[modality.name], batch[f"{modality.name}_length"]
            name = f"{modality.name}_adapter"
            if modality.kind == "ids":
                adapter = perceiver.IdsAdapter(
                    self.width, modality.vocabulary, self.embedding_scale, self.ngram_dropout, dtype, name=name
                )
                tokens, mask, bag = adapter(values, length, deterministic)
                pooled.append(bag)
            elif modality.time_axis == 1:
                tokens, mask = perceiver.FramesAdapter(self.width, self.patch, dtype, name=name)(values, length)
            else:
                tokens, mask = perceiver.FeaturesAdapter(self.width, dtype, name=name)(values, length)
            if modality.kind != "ids":
                pooled.append(perceiver.masked_mean(tokens, mask))
            n = tokens.shape[2]
            steps = (jnp.arange(n, dtype=jnp.float32) + 0.5) * (self.window_seconds / n)
            seconds = batch["window_start_s"][..., None] + steps
            position = perceiver.TimePosition(
                self.position, self.longest_seconds, dtype=dtype, name=f"{modality.name}_position"
            )
            tokens = position(tokens, seconds)
            code = self.param(f"{modality.name}_code", nn.initializers.normal(0.02), (self.width,))
            flat = (tokens.shape[0], tokens.shape[1] * n)
            parts.append((tokens + code.astype(dtype)).reshape(*flat, self.width))
            masks.append(mask.reshape(flat))
        if not deterministic and self.modality_dropout and len(masks) > 1:
            masks = drop_modalities(self.make_rng("dropout"), masks, self.modality_dropout)
        if not deterministic and self.token_dropout:
            keep = lambda mask: jax.random.bernoulli(self.make_rng("dropout"), 1 - self.token_dropout, mask.shape)  # noqa: E731
            masks = [mask & keep(mask) for mask in masks]
        present = jnp.stack([jnp.any(mask, axis=1) for mask in masks], axis=1)
        return parts, masks, jnp.stack(pooled, axis=1) * present[..., None]

    def decode(
        self, latents: Float[Array, "b n d"], pooled: Float[Array, "b k d"], deterministic: bool, dtype: jnp.dtype
    ) -> dict[str, Float[Array, "b o"]]:
        """Category priors (and one query per ordinal or regression task) read the latents; each gives one number."""
        counts = [head.n_classes if head.kind == "binary" else 1 for head in self.heads]
        priors = self.param("priors", nn.initializers.normal(0.02), (sum(counts), self.width))
        queries = jnp.broadcast_to(priors.astype(dtype), (latents.shape[0], *priors.shape))
        decoder = perceiver.AttentionBlock(self.heads_attention, self.expansion, self.dropout, dtype, name="decoder")
        decoded = decoder(queries, latents, None, deterministic)
        decoded = nn.LayerNorm(dtype=dtype, name="norm_out")(decoded).astype(jnp.float32)
        readout = self.param("readout", nn.initializers.normal(0.02), priors.shape)
        values = jnp.einsum("bqd,qd->bq", decoded, readout)
        if self.pooled_prior:
            shape = (pooled.shape[1], *priors.shape)
            direct = self.param("pooled_readout", nn.initializers.zeros_init(), shape)
            values = values + jnp.einsum("bkd,kqd->bq", pooled, direct)
        outputs, start = {}, 0
        for head, count in zip(self.heads, counts, strict=True):
            value, start = values[:, start : start + count], start + count
            if head.kind == "ordinal":
                outputs[head.name] = value - self.cut_points(head)
            else:
                bias = self.param(f"{head.name}_bias", lambda _, b=head.bias: jnp.asarray(b, jnp.float32))
                outputs[head.name] = value + bias
        return outputs

    def cut_points(self, head: Head) -> Float[Array, " cuts"]:
        """Ascending cut points: the first one free, then positive gaps (inverse softplus of the initial gaps)."""
        start = jnp.asarray(head.bias, jnp.float32)
        gaps = jnp.log(jnp.expm1(jnp.diff(start)))
        raw = self.param(f"{head.name}_cuts", lambda _: jnp.concatenate([start[:1], gaps]))
        return jnp.cumsum(jnp.concatenate([raw[:1], nn.softplus(raw[1:]) + 1e-3]))

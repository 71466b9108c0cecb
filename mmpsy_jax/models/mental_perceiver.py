"""The Mental-Perceiver: a Perceiver-IO over all windows of a participant, decoded by category priors.

After Qin et al., "Mental-Perceiver: Audio-Textual Multi-Modal Learning for Mental Health Assessment" (AAAI 2025,
arXiv 2408.12088), whose idea is a fully attentional network in which learned category priors query the fused audio and
text.

Departures from the paper: its sizes, losses and definition of the prior could not be obtained; those used here have
their equations in `docs/mental_perceiver.md`.
"""

from typing import Annotated, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.models import linear_path, perceiver
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates, drop_modalities, outputs_of
from mmpsy_jax.models.perceiver import Packed, Rate, merge_windows, off
from mmpsy_jax.models.position import TimePosition
from mmpsy_jax.rules import Count, Heads, Precision, number


class Model(nn.Module):
    """Participants' windows -> outputs per task.

    Attributes:
      modalities: the inputs, in order; a modality absent from a participant has length 0 and is masked.
      heads: the outputs.
      window_seconds: length of a window in seconds; positions within it are spread evenly.
      width, heads_attention, latents, layers, expansion: sizes of the Perceiver.
      patch: mel frames per token.
      position, longest_seconds: see `position.TimePosition`.
      pooled_prior: the category priors also see the pooled input tokens, a linear path around the latents.
      linear: what a ridge regression says is added (`linear_path.py`), and the network learns what is left.
      absorb: see `perceiver.PackedAttention`.
      remat: recompute latent blocks in the backward pass.
      dtype: precision of the matrix products, "float32" or "bfloat16".
    """

    RATES: ClassVar[dict[str, float]] = {
        "dropout": 0.1,
        "token_dropout": 0.1,
        "ngram_dropout": 0.0,
        "modality_dropout": 0.1,
    }

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    width: Count = 64
    heads_attention: Heads = 4
    latents: Count = 16
    layers: Count = 2
    expansion: Count = 4
    patch: Count = 20
    position: Literal["fourier", "learned", "none"] = "fourier"
    longest_seconds: Annotated[float, number(2, above=True)] = 1200.0  # above the shortest period
    pooled_prior: bool = True
    embedding_scale: Annotated[float, number(0)] = 0.02
    absorb: bool | None = None
    linear: bool = False
    remat: bool = False
    dtype: Precision = "float32"

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Outputs per task, and the embedding of each participant.

        Args:
          batch: one pack of a packed batch (docs/architecture.md): of each modality `<modality>` [s *shape],
            `<modality>_length`, `<modality>_start_s` and `<modality>_row` [s], where s differs between modalities, and
            `valid` [b]. Who explains a prediction adds `<modality>_keep` (bool [s n]), which hides tokens.
          rates: of dropout; where any is not zero a "dropout" rng is needed.

        Returns:
          binary: one logit per class [b 2], a softmax over them gives the probabilities; ordinal: cumulative logits
          [b c-1] of "band is above k", descending in k; regression: [b 1], the score as a fraction of its maximum.
          `EMBEDDING`: [b width], the mean of the latents that the priors read, by which strange input is known.
        """
        dtype = jnp.dtype(self.dtype)
        rows = batch["valid"].shape[0]
        inputs, pooled = self.tokens(batch, rows, rates, dtype)
        sizes = {"heads": self.heads_attention, "expansion": self.expansion, "dtype": dtype}
        encoder = perceiver.Encoder(self.latents, absorb=self.absorb, **sizes, name="encoder")
        stack = perceiver.LatentStack(self.layers, remat=self.remat, **sizes, name="latent_stack")
        latents = stack(encoder(inputs, rows, rates.dropout), rates.dropout)
        floor = (
            linear_path.LinearPath(self.modalities, self.heads, name=linear_path.NAME)(batch, rows)
            if self.linear
            else None
        )
        outputs = self.decode(latents, pooled, floor, rates.dropout, dtype)
        return {**outputs, EMBEDDING: latents.astype(jnp.float32).mean(axis=1)}

    def tokens(
        self, batch: PyTree, rows: int, rates: Rates, dtype: jnp.dtype
    ) -> tuple[list[Packed], Float[Array, "b k d"]]:
        """The tokens of each modality; modalities share one time line.

        The second value is one vector per participant and modality: the mean of its valid tokens, or for n-gram ids its
        TF-IDF vector, embedded.
        """
        inputs, pooled = [], []
        for modality in self.modalities:
            values, length = batch[modality.name], batch[f"{modality.name}_length"]
            row, name = batch[f"{modality.name}_row"], f"{modality.name}_adapter"
            if modality.kind == "ids":
                adapter = perceiver.IdsAdapter(self.width, modality.vocabulary, self.embedding_scale, dtype, name=name)
                tokens, mask, bag = adapter(values, length, row, rows, rates.ngram)
            elif modality.kind == "frames":
                tokens, mask = perceiver.FramesAdapter(self.width, self.patch, dtype, name=name)(values, length)
            else:
                tokens, mask = perceiver.FeaturesAdapter(self.width, dtype, name=name)(values, length)
            mask = mask & batch.get(f"{modality.name}_keep", True)
            pooled.append(bag if modality.kind == "ids" else perceiver.masked_mean(tokens, mask, row, rows))
            n = tokens.shape[1]
            steps = (jnp.arange(n, dtype=jnp.float32) + 0.5) * (self.window_seconds / n)
            position = TimePosition(self.position, self.longest_seconds, dtype=dtype, name=f"{modality.name}_position")
            code = self.param(f"{modality.name}_code", nn.initializers.normal(0.02), (self.width,))
            tokens = position(tokens, batch[f"{modality.name}_start_s"], steps) + code.astype(dtype)
            inputs.append(Packed(tokens, mask, row))
        inputs, present = self.hide(inputs, rows, rates)
        return inputs, jnp.stack(pooled, axis=1) * present[..., None]

    def hide(self, inputs: list[Packed], rows: int, rates: Rates) -> tuple[list[Packed], Bool[Array, "b m"]]:
        """The inputs after dropout of modalities and tokens, and which modalities each participant has left."""
        counts = [merge_windows(jnp.any(one.mask, axis=1).astype(jnp.float32), one.row, rows) for one in inputs]
        present = jnp.stack(counts, axis=1) > 0
        if not off(rates.modality) and len(inputs) > 1:
            present = drop_modalities(self.make_rng("dropout"), present, rates.modality)
            kept = jnp.pad(present, [(0, 1), (0, 0)])
            inputs = [one._replace(mask=one.mask & kept[one.row, i, None]) for i, one in enumerate(inputs)]
        if not off(rates.token):
            keep = lambda mask: perceiver.keep_mask(self.make_rng("dropout"), rates.token, mask.shape)  # noqa: E731
            inputs = [one._replace(mask=one.mask & keep(one.mask)) for one in inputs]
        return inputs, present

    def decode(
        self,
        latents: Float[Array, "b n d"],
        pooled: Float[Array, "b k d"],
        floor: Float[Array, "b l"] | None,
        rate: Rate,
        dtype: jnp.dtype,
    ) -> dict[str, Float[Array, "b o"]]:
        """Category priors (and one query per ordinal or regression task) read the latents; each gives one number."""
        counts = [head.n_values for head in self.heads]
        priors = self.param("priors", nn.initializers.normal(0.02), (sum(counts), self.width))
        queries = jnp.broadcast_to(priors.astype(dtype), (latents.shape[0], *priors.shape))
        decoder = perceiver.AttentionBlock(self.heads_attention, self.expansion, dtype, name="decoder")
        decoded = nn.LayerNorm(dtype=dtype, name="norm_out")(decoder(queries, latents, rate)).astype(jnp.float32)
        start = nn.initializers.normal(0.02) if floor is None else nn.initializers.zeros_init()
        readout = self.param("readout", start, priors.shape)
        values = jnp.einsum("bqd,qd->bq", decoded, readout)
        if self.pooled_prior:
            shape = (pooled.shape[1], *priors.shape)
            direct = self.param("pooled_readout", nn.initializers.zeros_init(), shape)
            values = values + jnp.einsum("bkd,kqd->bq", pooled, direct)
        if floor is not None:
            values = values + linear_path.read_out(self, self.heads, floor)
        return outputs_of(self, self.heads, values)

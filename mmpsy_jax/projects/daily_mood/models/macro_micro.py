"""Macro-micro personalisation: emotion queries shared by all people, and last layers of each person.

After Song et al., "Empowering Mental Health Monitoring Using a Macro-Micro Personalization Framework" (JMIR Mental
Health 2024, e59512).

macro: one query per emotion reads the tokens of the modalities (attention), the other emotions (attention), and an MLP.
micro: y_q = h_q (r_q + R_pq / d) + b_q + B_pq with h the emotions [q d], and R, B the differences of person p from all.
They start at zero and only days of p in training change them, so that somebody unknown has the shared layer; weight
decay pulls them back to it.

Departures from the paper: its code (repo Meishu619/mental-health-monitoring) holds the fusion variants and private
layers, but no transformer over emotions: the macro part follows the abstract, and all sizes were chosen here. Attention
runs over the modalities of one record, there over the records of a batch.
"""

from typing import Any, ClassVar, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from mmpsy_jax.models import linear_path, perceiver
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates, Scale, drop_modalities, outputs_of
from mmpsy_jax.models.perceiver import Rate, masked_mean, merge_windows, off
from mmpsy_jax.projects.daily_mood import mixed_path
from mmpsy_jax.projects.daily_mood.mixed_path import PERSON
from mmpsy_jax.rules import Count, Heads, Precision

Kind = Literal["none", "concat", "max", "attention", "gated", "self", "cross"]
FUSIONS = get_args(Kind)


class MaskedAttention(nn.Module):
    """Multi-head attention of queries over those inputs that are present; zero where there is none."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, queries: Float[Array, "b n d"], inputs: Float[Array, "b m d"], may_see: Bool[Array, "b n m"]
    ) -> Float[Array, "b n d"]:
        attend = nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype, deterministic=True, name="attention")
        read = attend(queries, inputs, inputs, mask=may_see[:, None])
        return jnp.where(may_see.any(axis=-1, keepdims=True), read, 0)


class Fusion(nn.Module):
    """Tokens of the modalities of a record to what the emotions read: one token, or one per modality.

    none: as they are. concat: one layer of all. max: the largest value of each feature. attention: mean with weights
    from a softmax over modalities. gated: sum with a sigmoid per feature. self: attention among them. cross: attention
    of each to the others. An absent modality counts nowhere.
    """

    kind: str
    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b m d"], present: Bool[Array, "b m"]
    ) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
        count, width = tokens.shape[1:]
        shown = jnp.where(present[..., None], tokens, 0)
        together = shown.reshape(tokens.shape[0], count * width)
        if self.kind == "none":
            return tokens, present
        if self.kind in ("self", "cross"):
            others = jnp.ones((count, count), bool) if self.kind == "self" else ~jnp.eye(count, dtype=bool)
            attend = MaskedAttention(self.heads, self.dtype, name="attend")
            return tokens + attend(shown, shown, present[:, None] & others), present
        if self.kind == "concat":
            one = nn.Dense(width, dtype=self.dtype, name="dense")(together)
        elif self.kind == "max":
            one = jnp.where(present[..., None], tokens, -jnp.inf).max(axis=1)
            one = jnp.where(present.any(axis=1, keepdims=True), one, 0)
        elif self.kind == "attention":
            scores = nn.Dense(count, dtype=self.dtype, name="gate")(together).astype(jnp.float32)
            weights = jax.nn.softmax(jnp.where(present, scores, -1e9), axis=-1).astype(self.dtype)
            one = jnp.einsum("bm,bmd->bd", weights, shown)
        else:
            gates = nn.sigmoid(nn.Dense(count * width, dtype=self.dtype, name="gate")(together))
            one = (gates.reshape(shown.shape) * shown).sum(axis=1)
        return one[:, None], present.any(axis=1, keepdims=True)


class EmotionBlock(nn.Module):
    """Pre-norm residual block: emotions read the tokens, then each other, then an MLP."""

    heads: int
    expansion: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b q d"], tokens: Float[Array, "b n d"], present: Bool[Array, "b n"], rate: Rate
    ) -> Float[Array, "b q d"]:
        norm = lambda name: nn.LayerNorm(dtype=self.dtype, name=name)  # noqa: E731
        may_see = jnp.broadcast_to(present[:, None], (*x.shape[:2], tokens.shape[1]))
        attend = MaskedAttention(self.heads, self.dtype, name="read")
        x = x + perceiver.Dropout()(attend(norm("norm_query")(x), norm("norm_input")(tokens), may_see), rate)
        return perceiver.AttentionBlock(self.heads, self.expansion, self.dtype, name="among")(x, None, rate)


class Model(nn.Module):
    """Days of people -> outputs per task.

    Attributes:
      modalities: the inputs; one of kind "ids" and name "person" holds the number of the person.
      heads: the outputs, each with its emotion query.
      window_seconds: not used: a token per modality and record is the mean over its windows.
      width, heads_attention, layers, expansion: sizes of the transformer.
      fusion: one of `FUSIONS`.
      micro: whether people have personal layers.
      linear: random slopes and intercepts in closed form (`mixed.py`) are added, which are the personal layers then;
        the network learns what is left.
      standardize: inputs are standardised by the training days, each column by itself; else normalised over the columns
        of a modality, which says nothing of one column, and little of columns on different scales.
      dtype: precision of the matrix products, "float32" or "bfloat16".
    """

    RATES: ClassVar[dict[str, float]] = {"dropout": 0.1, "modality_dropout": 0.0}

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    width: Count = 32
    heads_attention: Heads = 4
    layers: Count = 1
    expansion: Count = 2
    fusion: Kind = "none"
    micro: bool = True
    linear: bool = False
    standardize: bool = False
    dtype: Precision = "float32"

    def __post_init__(self):
        unread = [m.name for m in self.modalities if m.kind == "ids" and m.name != PERSON]
        if unread:
            raise ValueError(f"macro_micro reads features: leave {unread[0]!r} out of config.data.modalities")
        super().__post_init__()

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Outputs per task, and the embedding of each record: arguments and values as of `mental_perceiver.Model`."""
        dtype, rows = jnp.dtype(self.dtype), batch["valid"].shape[0]
        tokens, present = self.tokens(batch, rows, rates, dtype)
        tokens, present = Fusion(self.fusion, self.heads_attention, dtype, name="fusion")(tokens, present)
        counts = [head.n_values for head in self.heads]
        queries = self.param("emotion_queries", nn.initializers.normal(0.02), (sum(counts), self.width))
        x = jnp.broadcast_to(queries.astype(dtype), (rows, *queries.shape))
        for i in range(self.layers):
            block = EmotionBlock(self.heads_attention, self.expansion, dtype, name=f"block_{i}")
            x = block(x, tokens, present, rates.dropout)
        x = nn.LayerNorm(dtype=dtype, name="norm_out")(x).astype(jnp.float32)
        start = nn.initializers.zeros_init() if self.linear else nn.initializers.normal(0.02)
        values = jnp.einsum("bqd,qd->bq", x, self.param("readout", start, queries.shape))
        person = next((m for m in self.modalities if m.name == PERSON), None)
        known = person_of(batch, rows) if self.micro and person is not None else None
        inputs = x  # of personal layers (`adapt.py`)
        if self.linear:
            read = tuple(m for m in self.modalities if m.name != PERSON)
            sizes = (person.vocabulary if person else 1, len(linear_path.columns_of(self.heads)))
            path = mixed_path.MixedPath(read, *sizes, name=linear_path.NAME)
            ratings, numbers = path(batch, known)
            values = values + linear_path.read_out(self, self.heads, ratings)
            if numbers is not None:
                inputs = jnp.broadcast_to(numbers[:, None], (rows, x.shape[1], numbers.shape[1]))
        elif known is not None:
            values = values + self.of_person(x, known, person.vocabulary)
        self.sow("intermediates", "emotions", inputs)
        return {**outputs_of(self, self.heads, values), EMBEDDING: x.mean(axis=1)}

    def tokens(
        self, batch: PyTree, rows: int, rates: Rates, dtype: jnp.dtype
    ) -> tuple[Float[Array, "b m d"], Bool[Array, "b m"]]:
        """One token per modality, and whether the record has it."""
        tokens_of, present = [], []
        for modality in self.modalities:
            if modality.name == PERSON:
                continue
            length, row = batch[f"{modality.name}_length"], batch[f"{modality.name}_row"]
            adapter = f"{modality.name}_adapter"
            if self.standardize:
                scaled = Scale(name=f"{modality.name}_scale")(batch[modality.name].astype(jnp.float32))
                tokens = nn.Dense(self.width, dtype=dtype, name=adapter)(scaled)
                mask = jnp.arange(scaled.shape[1]) < length[:, None]
            else:
                tokens, mask = perceiver.FeaturesAdapter(self.width, dtype, name=adapter)(batch[modality.name], length)
            mask = mask & batch.get(f"{modality.name}_keep", True)
            code = self.param(f"{modality.name}_code", nn.initializers.normal(0.02), (self.width,))
            tokens_of.append(masked_mean(tokens, mask, row, rows).astype(dtype) + code.astype(dtype))
            present.append(merge_windows(mask.any(axis=1).astype(jnp.float32), row, rows) > 0)
        if not tokens_of:  # of people alone: their levels decide
            return jnp.zeros((rows, 1, self.width), dtype), jnp.zeros((rows, 1), bool)
        there = jnp.stack(present, axis=1)
        if not off(rates.modality) and len(tokens_of) > 1:
            there = drop_modalities(self.make_rng("dropout"), there, rates.modality)
        return jnp.stack(tokens_of, axis=1), there

    def of_person(self, x: Float[Array, "b q d"], person: Int[Array, " b"], vocabulary: int) -> Float[Array, "b q"]:
        """What the last layer of the person adds; nothing for number 0."""
        zeros, queries = nn.initializers.zeros_init(), x.shape[1]
        slopes = self.param("micro_readout", zeros, (vocabulary, queries, self.width))
        levels = self.param("micro_level", zeros, (vocabulary, queries))
        # A mean over features: a step of the optimiser then moves what slopes say as far as a level, not `width` times.
        added = jnp.einsum("bqd,bqd->bq", x, slopes[person]) / self.width + levels[person]
        return jnp.where((person > 0)[:, None], added, 0.0)


def person_of(batch: PyTree, rows: int) -> Int[Array, " b"]:
    """Number of the person of each record, 0 where there is none."""
    numbers = batch[PERSON][:, 0, 0] * (batch[f"{PERSON}_length"] > 0)
    return jax.ops.segment_max(numbers, batch[f"{PERSON}_row"], rows + 1, indices_are_sorted=True)[:rows].clip(0)


def fit_path(*of_run: Any) -> Any:
    """Slopes and intercepts of a run with `linear` (`projects/daily_mood/fit_mixed.py`; arguments as there)."""
    from mmpsy_jax.projects.daily_mood import fit_mixed  # which reads a corpus; a network alone needs none

    return fit_mixed.fit(*of_run)

"""What the models of MMSA share: packed pieces as padded sequences, LSTM and MLP of a modality, heads.

MMSA (https://github.com/thuiar/MMSA) is the implementation that sizes and hyper-parameters are taken from.

Departures from it, in all these models:

- Means and last states are over valid steps; there, audio and vision are averaged over the padded length.
- Where it has a batch normalisation of inputs, features are scaled by mean and deviation of the training participants,
  fitted beforehand, then by a trained weight and bias: as many parameters, and no participant depends on the others.
- An LSTM has one bias per gate; PyTorch's has two, which are only ever added: 4 h fewer parameters, the same network.
- A missing modality is zero-filled.
- Unaligned modalities are aligned by position (`align`).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PyTree

from mmpsy_jax.models import perceiver
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates, Scale, drop_modalities, outputs_of
from mmpsy_jax.models.perceiver import Rate, off
from mmpsy_jax.projects.msa.recurrent import Lstm, Padded
from mmpsy_jax.rules import Count, Share

NAMES = ("text", "audio", "vision")


class Dropout(perceiver.Dropout):
    """Dropout in training; nothing where the model is applied without random numbers."""

    def __call__(self, x: Float[Array, "..."], rate: Rate) -> Float[Array, "..."]:
        return super().__call__(x, rate) if self.has_rng("dropout") else x


def padded(
    values: Num[Array, "s t f"], length: Int[Array, " s"], row: Int[Array, " s"], rows: int, pieces: int
) -> Padded:
    """The packed pieces of a modality (docs/architecture.md, "A batch") as one sequence per participant.

    Valid steps follow each other without gaps; those beyond `pieces` pieces are left out.

    Args:
      row: of the participant of each piece, `rows` for an unused slot.
    """
    steps, longest = values.shape[1], pieces * values.shape[1]
    at, total = places(length, row, rows, steps, longest)
    # Where each step lies is scattered, not what lies there. Steps first, as LSTMs read them.
    source = jnp.arange(values.shape[0] * steps, dtype=jnp.int32).reshape(-1, steps)
    step = jnp.zeros((longest, rows), jnp.int32).at[at, row[:, None]].set(source, mode="drop")
    sequence = jnp.take(values.reshape(-1, values.shape[2]), step, axis=0, mode="clip").astype(jnp.float32)
    sequence = jnp.where((jnp.arange(longest)[:, None] < total)[..., None], sequence, 0)
    return Padded(jnp.moveaxis(sequence, 0, 1), jnp.minimum(total, longest))


def places(
    length: Int[Array, " s"], row: Int[Array, " s"], rows: int, steps: int, longest: int
) -> tuple[Int[Array, "s t"], Int[Array, " b"]]:
    """Where each step of the pieces lies in its participant's sequence, `longest` or more for none; and valid steps."""
    before = jnp.cumsum(length) - length  # valid steps of all earlier pieces
    total = jnp.zeros(rows + 1, length.dtype).at[row].add(length)
    start = (before - (jnp.cumsum(total) - total)[row])[:, None] + jnp.arange(steps)
    return jnp.where(jnp.arange(steps) < length[:, None], start, longest), total[:rows]


def align(sequences: Mapping[str, Padded]) -> tuple[list[Float[Array, "b t _"]], Int[Array, " b"]]:
    """All modalities at the steps of the first one, and how many of these each participant has.

    With a step goes the frame at the same share of the length of its modality; 0 where that is absent. Who lacks the
    first modality has as many steps as the longest of the others.
    """
    first, *_ = sequences.values()
    steps = first.values.shape[1]
    longest = jnp.max(jnp.stack([one.length for one in sequences.values()]), axis=0)
    length = jnp.where(first.length > 0, first.length, jnp.minimum(longest, steps))
    share = (jnp.arange(steps) + 0.5) / jnp.maximum(length, 1)[:, None]

    def at_steps(one: Padded) -> Float[Array, "b t _"]:
        frame = jnp.minimum((share * one.length[:, None]).astype(jnp.int32), one.values.shape[1] - 1)
        return jnp.take_along_axis(one.values, frame[..., None], axis=1)

    return [at_steps(one) for one in sequences.values()], length


def with_one(x: Float[Array, "b f"]) -> Float[Array, "b f+1"]:
    """A one before the features, so that products of modalities hold those of fewer of them, too."""
    return jnp.concatenate([jnp.ones((x.shape[0], 1)), x], axis=-1)


def values_of(heads: Sequence[Head]) -> int:
    """How many numbers the outputs of heads need."""
    return sum(head.n_values for head in heads)


class SequenceModel(nn.Module):
    """Base of the models: reads the batch as sequences, and turns features into outputs.

    Attributes:
      modalities: the inputs: features, named as in `NAMES`.
      heads: the outputs.
      window_seconds: unused: these models know no time.
      pieces: pieces of windows per participant that are read, from the start.
      scales: whether the class reads `fitted/<modality>_scale`.
    """

    RATES: ClassVar[dict[str, float]] = {"dropout": 0.1, "modality_dropout": 0.0}

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    pieces: Count = 1
    scales: ClassVar[bool] = False

    def check(self) -> None:
        """Raises ValueError where the model cannot read its modalities."""
        for modality in self.modalities:
            if modality.kind == "ids" or modality.name not in NAMES:
                raise ValueError(
                    f"this model reads features named {', '.join(NAMES)}, not {modality.kind} named "
                    f"{modality.name!r}: set config.data.modalities, or build the corpus with features"
                )

    def of(self, what: str, name: str) -> int | float | str:
        """The attribute `<modality>_<what>`."""
        return getattr(self, f"{name}_{what}")

    def sequences(self, batch: PyTree, rates: Rates) -> dict[str, Padded]:
        """The modalities of a pack of a batch, some of them hidden in training (`rates.modality`)."""
        return {name: self.sequence(batch, name, kept) for name, kept in self.kept(batch, rates).items()}

    def kept(self, batch: PyTree, rates: Rates) -> dict[str, Bool[Array, " b"] | None]:
        """Who keeps each modality in training; None where nobody loses any."""
        rows = batch["valid"].shape[0]
        names = [modality.name for modality in self.modalities]
        if off(rates.modality) or len(names) == 1:
            return dict.fromkeys(names)
        length = lambda name: batch[f"{name}_length"].astype(jnp.float32)  # noqa: E731
        steps = [perceiver.merge_windows(length(name), batch[f"{name}_row"], rows) for name in names]
        present = jnp.stack(steps, axis=1) > 0
        return dict(zip(names, drop_modalities(self.make_rng("dropout"), present, rates.modality).T, strict=True))

    def sequence(self, batch: PyTree, name: str, kept: Bool[Array, " b"] | None) -> Padded:
        """One modality of a pack of a batch."""
        rows = batch["valid"].shape[0]
        one = padded(batch[name], batch[f"{name}_length"], batch[f"{name}_row"], rows, self.pieces)
        return one if kept is None else Padded(one.values * kept[:, None, None], one.length * kept)

    def mean(
        self, batch: PyTree, name: str, kept: Bool[Array, " b"] | None
    ) -> tuple[Float[Array, "b f"], Float[Array, "b 1"]]:
        """The mean of `sequence`, which is not made, and 1 for who has the modality, else 0."""
        values, row, rows = batch[name], batch[f"{name}_row"], batch["valid"].shape[0]
        steps = values.shape[1]
        at, total = places(batch[f"{name}_length"], row, rows, steps, self.pieces * steps)
        mean = perceiver.masked_mean(values, at < self.pieces * steps, row, rows)
        present = (total > 0) if kept is None else (total > 0) & kept
        return mean * present[:, None], present.astype(jnp.float32)[:, None]

    def feed_forward(self, x: Float[Array, "b f"], widths: Sequence[int], name: str) -> Float[Array, "b o"]:
        """Dense layers with ReLU after each."""
        for number, width in enumerate(widths, 1):
            x = nn.relu(nn.Dense(width, name=f"{name}_{number}")(x))
        return x

    @property
    def joint_heads(self) -> tuple[Head, ...]:
        """The heads that read all modalities."""
        return self.heads

    @property
    def n_outputs(self) -> int:
        """Values that `outputs` needs."""
        return values_of(self.joint_heads)

    def outputs(self, values: Float[Array, "b o"]) -> dict[str, Float[Array, "b c"]]:
        """Outputs per joint head of `n_outputs` values without biases."""
        return outputs_of(self, self.joint_heads, values)

    def read_out(self, features: Float[Array, "b f"]) -> dict[str, Float[Array, "b c"]]:
        """Outputs per joint head, linear in the features."""
        return self.outputs(nn.Dense(self.n_outputs, use_bias=False, name="readout")(features))


class HeadPerModality(SequenceModel):
    """Base of Self-MM and TETFN, which have a head per modality and one of the fusion, for the objective `ulgm`.

    A subclass declares `fusion_width`, and per modality `<modality>_width` and `<modality>_dropout`.
    """

    def modality_head(self, name: str, x: Float[Array, "b d"], sequence: Padded) -> dict[str, Float[Array, "b _"]]:
        """`<modality>_value` [b 1], the score as a fraction of its maximum, `<modality>_feature` and `_present`."""
        width = [self.of("width", name)]
        feature = self.feed_forward(Dropout()(x, self.of("dropout", name)), width, name)
        value = nn.Dense(1, name=f"{name}_readout")(self.feed_forward(feature, width, f"{name}_head"))
        return {f"{name}_value": value, f"{name}_feature": feature, f"{name}_present": sequence.present}

    def fusion_head(self, joined: Sequence[Float[Array, "b _"]], rate: Rate) -> dict[str, Float[Array, "b _"]]:
        """Outputs per head, `EMBEDDING`, and `fusion_feature`, the same."""
        x = Dropout()(jnp.concatenate(joined, axis=-1), rate)
        fused = self.feed_forward(x, [self.fusion_width], "fusion")
        outputs = self.read_out(self.feed_forward(fused, [self.fusion_width], "fusion_head"))
        return {**outputs, "fusion_feature": fused, EMBEDDING: fused}


class SubnetModel(SequenceModel):
    """Base of LF-DNN, TFN and LMF: one vector per modality (MMSA's FeatureNets.py), which `fuse` makes outputs of.

    Attributes:
      text_hidden, text_out: of the LSTM over the text, and of the dense layer after it.
      audio_hidden, vision_hidden: of the three dense layers over the mean of the scaled features.
      audio_dropout, vision_dropout: before these. That of the text is not applied there, nor here.
    """

    text_hidden: Count = 128
    text_out: Count = 64
    audio_hidden: Count = 16
    vision_hidden: Count = 128
    audio_dropout: Share = 0.0
    vision_dropout: Share = 0.0
    scales: ClassVar[bool] = True

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`."""
        return self.fuse(self.subnets(batch, rates), rates)

    def fuse(self, features: dict[str, Float[Array, "b h"]], rates: Rates) -> dict[str, Float[Array, "b o"]]:
        """Outputs per joint head, and the embedding, of a vector per modality."""
        raise NotImplementedError

    def subnets(self, batch: PyTree, rates: Rates) -> dict[str, Float[Array, "b h"]]:
        """The vector of each modality; 0 for who lacks it."""
        vectors = {}
        for name, kept in self.kept(batch, rates).items():
            if name == "text":
                sequence = self.sequence(batch, name, kept)
                _, last = Lstm(self.text_hidden, name="text_lstm")(sequence)
                vector, present = nn.Dense(self.text_out, name="text_dense")(last), sequence.present
            else:
                mean, present = self.mean(batch, name, kept)
                scaled = Dropout()(Scale(name=f"{name}_scale")(mean), self.of("dropout", name))
                vector = self.feed_forward(scaled, [self.of("hidden", name)] * 3, name)
            vectors[name] = vector * present
        return vectors


class UnimodalHeads(SubnetModel):
    """Mix-in for MTFN, MLMF and MLF-DNN (Yu et al. 2020, ACL, CH-SIMS): heads that read one modality alone.

    They are trained on ratings of that modality alone, each a task; how much it counts is its weight.

    Attributes:
      text_head, audio_head, vision_head: names of these heads; of a modality without one, "".
      text_width, audio_width, vision_width: of their two layers; the dropout before them is `rates.dropout`.
    """

    text_head: str = ""
    audio_head: str = ""
    vision_head: str = ""
    text_width: Count = 64
    audio_width: Count = 4
    vision_width: Count = 8

    @property
    def joint_heads(self) -> tuple[Head, ...]:
        unimodal = {self.of("head", modality.name) for modality in self.modalities}
        return tuple(head for head in self.heads if head.name not in unimodal)

    def check(self) -> None:
        super().check()
        known = {head.name for head in self.heads}
        for modality in self.modalities:
            name = self.of("head", modality.name)
            if name and name not in known:
                raise ValueError(f"{modality.name}_head = {name!r} is none of the tasks: {', '.join(sorted(known))}")
        if not self.joint_heads:
            raise ValueError("every task is of one modality alone: add one that reads all of them to config.tasks")

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`."""
        features = self.subnets(batch, rates)
        outputs = self.fuse(features, rates)
        for name, feature in features.items():
            heads = tuple(head for head in self.heads if head.name == self.of("head", name))
            if heads:
                widths = [self.of("width", name)] * 2
                hidden = self.feed_forward(Dropout()(feature, rates.dropout), widths, f"{name}_own")
                values = nn.Dense(values_of(heads), use_bias=False, name=f"{name}_readout")(hidden)
                outputs |= outputs_of(self, heads, values)
        return outputs

"""MFN, memory fusion network (Zadeh et al. 2018, AAAI, arXiv 1802.00927), as MMSA's MFN.py.

An LSTM per modality; at every step, attention over their cells of this and the last step decides what is written into a
memory, and gates what of it is kept.

Departures from it: modalities are aligned as in EF-LSTM, and steps beyond a participant's last change nothing; there,
the padding is read on.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel, align
from mmpsy_jax.rules import Count, Share


class _Step(nn.Module):
    """One step of all LSTMs and of the memory.

    Attributes:
      hidden: of each LSTM.
      widths: of the hidden layers of attention, candidate, and the gates of keeping and writing.
      dropouts: after these layers.
    """

    hidden: tuple[int, ...]
    widths: tuple[int, int, int, int]
    dropouts: tuple[float, float, float, float]

    @nn.compact
    def __call__(
        self, carry: PyTree, inputs: tuple[list[Float[Array, "b _"]], Bool[Array, " b"]]
    ) -> tuple[PyTree, None]:
        """Carry: (cell, state) of each LSTM, and the memory [b m]."""
        (states, memory), (features, valid) = carry, inputs
        cells = [nn.OptimizedLSTMCell(size, name=f"lstm_{i}") for i, size in enumerate(self.hidden)]
        new = [cell(state, x)[0] for cell, state, x in zip(cells, states, features, strict=True)]
        both = jnp.concatenate([cell for cell, _ in states] + [cell for cell, _ in new], axis=-1)

        def two_layers(i: int, name: str, x: Float[Array, "b i"], size: int) -> Float[Array, "b o"]:
            hidden = nn.relu(nn.Dense(self.widths[i], name=f"{name}_1")(x))
            return nn.Dense(size, name=f"{name}_2")(Dropout()(hidden, self.dropouts[i]))

        size = memory.shape[-1]
        attended = jax.nn.softmax(two_layers(0, "attention", both, both.shape[-1])) * both
        candidate = jnp.tanh(two_layers(1, "candidate", attended, size))
        joined = jnp.concatenate([attended, memory], axis=-1)
        keep, write = (nn.sigmoid(two_layers(i, name, joined, size)) for i, name in ((2, "keep"), (3, "write")))
        after = (new, keep * memory + write * candidate)
        return jax.tree.map(lambda a, b: jnp.where(valid[:, None], a, b), after, carry), None


class Model(SequenceModel):
    """Participants' windows -> outputs per head.

    Attributes:
      text_hidden, audio_hidden, vision_hidden: of the LSTMs.
      memory: size of the memory.
      attention_width, candidate_width, keep_width, write_width: of hidden layers, and dropout after them.
      out_width: of the last hidden layer; the dropout after it is `rates.dropout`.
    """

    text_hidden: Count = 256
    audio_hidden: Count = 32
    vision_hidden: Count = 256
    memory: Count = 400
    attention_width: Count = 32
    candidate_width: Count = 64
    keep_width: Count = 256
    write_width: Count = 32
    out_width: Count = 128
    attention_dropout: Share = 0.2
    candidate_dropout: Share = 0.0
    keep_dropout: Share = 0.7
    write_dropout: Share = 0.5

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`."""
        sequences = self.sequences(batch, rates)
        features, length = align(sequences)
        rows, steps = features[0].shape[:2]
        parts = ("attention", "candidate", "keep", "write")
        step = nn.scan(
            _Step, variable_broadcast="params", split_rngs={"params": False, "dropout": True}, in_axes=1, out_axes=1
        )(
            hidden=tuple(self.of("hidden", name) for name in sequences),
            widths=tuple(self.of("width", name) for name in parts),
            dropouts=tuple(self.of("dropout", name) for name in parts),
            name="step",
        )
        zeros = lambda size: jnp.zeros((rows, size))  # noqa: E731
        states = [(zeros(size), zeros(size)) for size in (self.of("hidden", name) for name in sequences)]
        valid = jnp.arange(steps) < length[:, None]
        (states, memory), _ = step((states, zeros(self.memory)), (features, valid))
        last = jnp.concatenate([state for _, state in states] + [memory], axis=-1)
        hidden = self.feed_forward(last, [self.out_width], "out")
        return {**self.read_out(Dropout()(hidden, rates.dropout)), EMBEDDING: hidden}

"""MFN, memory fusion network (Zadeh et al. 2018, AAAI, arXiv 1802.00927), as MMSA's MFN.py.

An LSTM per modality; at every step, attention over their cells of this and the last step decides what is written into a
memory, and gates what of it is kept.

Departures from it: modalities are aligned as in EF-LSTM, and steps beyond a participant's last change nothing; there,
the padding is read on.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.recurrent import run
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel, align
from mmpsy_jax.rules import Count, Share


class _Layer(nn.Module):
    """The parameters of a dense layer, for who multiplies otherwise than `nn.Dense`: kernel, and bias or 0."""

    size: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Float[Array, "i o"], Float[Array, " o"]]:
        kernel = self.param("kernel", self.kernel_init, (inputs, self.size))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.size,)) if self.use_bias else None
        return kernel, jnp.zeros(self.size) if bias is None else bias


class _Lstm(nn.Module):
    """An LSTM with the parameters of Flax's `OptimizedLSTMCell`: kernels of each gate by itself."""

    hidden: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "t b f"], valid: Bool[Array, "t b"]
    ) -> tuple[Float[Array, "t b h"], Float[Array, "t b h"]]:
        """States and cells after each step."""
        steps, rows, size = inputs.shape
        of_inputs = [_Layer(self.hidden, use_bias=False, name=f"i{gate}")(size) for gate in "ifgo"]
        orthogonal = nn.initializers.orthogonal()
        of_states = [_Layer(self.hidden, orthogonal, name=f"h{gate}")(self.hidden) for gate in "ifgo"]
        (kernel, _), (recurrent, bias) = (
            tuple(jnp.concatenate(parts, axis=-1) for parts in zip(*gates, strict=True))
            for gates in (of_inputs, of_states)
        )
        products = inputs.reshape(-1, size) @ kernel + bias
        return run(products.reshape(steps, rows, -1), recurrent, valid)


class _Steps(nn.Module):
    """All steps of the LSTMs and of the memory.

    Attention, the candidate and most of the gates need the cells alone, so they are computed for all steps at once;
    what reads the memory goes step by step.

    Attributes:
      hidden: of each LSTM.
      widths: of the hidden layers of attention, candidate, and the gates of keeping and writing.
      dropouts: after these layers.
      memory: size of the memory.
    """

    hidden: tuple[int, ...]
    widths: tuple[int, int, int, int]
    dropouts: tuple[float, float, float, float]
    memory: int

    @nn.compact
    def __call__(
        self, features: Sequence[Float[Array, "t b _"]], valid: Bool[Array, "t b"]
    ) -> tuple[list[Float[Array, "b _"]], Float[Array, "b m"]]:
        """The last state of each LSTM, and of the memory."""
        lstms = [_Lstm(size, name=f"lstm_{i}") for i, size in enumerate(self.hidden)]
        states, cells = zip(*(lstm(x, valid) for lstm, x in zip(lstms, features, strict=True)), strict=True)
        before = [jnp.concatenate([jnp.zeros_like(cell[:1]), cell[:-1]]) for cell in cells]
        # Mapped over the steps, so that each has random numbers for itself.
        of_cells = nn.vmap(
            _Steps.of_cells,
            variable_axes={"params": None},
            split_rngs={"params": False, "dropout": True},
            out_axes=(0, None),
        )
        ahead, (of_memory, last) = of_cells(self, jnp.concatenate([*before, *cells], axis=-1))

        def step(memory: Float[Array, "b m"], at: PyTree) -> tuple[Float[Array, "b m"], None]:
            seen, candidate, from_cells, kept = at
            hidden = jnp.split(nn.relu(from_cells + memory @ of_memory) * kept, [self.widths[2]], axis=-1)
            keep, write = (nn.sigmoid(x @ kernel + bias) for x, (kernel, bias) in zip(hidden, last, strict=True))
            return jnp.where(seen[:, None], keep * memory + write * candidate, memory), None

        start = jnp.zeros((valid.shape[1], self.memory))
        memory, _ = jax.lax.scan(step, start, (valid, *ahead))
        return [state[-1] for state in states], memory

    def of_cells(self, both: Float[Array, "b c"]) -> tuple[PyTree, PyTree]:
        """What a step needs beside the memory, from the cells after the last step and this one.

        Returns:
          candidate [b m], and of both gates side by side what the cells add to the hidden layer, and what dropout
          multiplies it by [b w]; then parameters: of the memory to the hidden layers [m w], and of the last layers.
        """
        size, cells = self.memory, both.shape[-1]

        def two_layers(i: int, name: str, x: Float[Array, "b i"], size: int) -> Float[Array, "b o"]:
            hidden = nn.relu(nn.Dense(self.widths[i], name=f"{name}_1")(x))
            return nn.Dense(size, name=f"{name}_2")(Dropout()(hidden, self.dropouts[i]))

        attended = jax.nn.softmax(two_layers(0, "attention", both, cells)) * both
        candidate = jnp.tanh(two_layers(1, "candidate", attended, size))
        gates = [(self.widths[i], self.dropouts[i], name) for i, name in ((2, "keep"), (3, "write"))]
        first = [_Layer(width, name=f"{name}_1")(cells + size) for width, _, name in gates]
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*first, strict=True))
        kept = [Dropout()(jnp.ones((len(both), width)), rate) for width, rate, _ in gates]
        last = [_Layer(size, name=f"{name}_2")(width) for width, _, name in gates]
        return (candidate, attended @ kernel[:cells] + bias, jnp.concatenate(kept, axis=-1)), (kernel[cells:], last)


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
        parts = ("attention", "candidate", "keep", "write")
        steps = _Steps(
            hidden=tuple(self.of("hidden", name) for name in sequences),
            widths=tuple(self.of("width", name) for name in parts),
            dropouts=tuple(self.of("dropout", name) for name in parts),
            memory=self.memory,
            name="step",
        )
        valid = jnp.arange(features[0].shape[1]) < length[:, None]
        states, memory = steps([jnp.moveaxis(x, 1, 0) for x in features], valid.T)
        last = jnp.concatenate([*states, memory], axis=-1)
        hidden = self.feed_forward(last, [self.out_width], "out")
        return {**self.read_out(Dropout()(hidden, rates.dropout)), EMBEDDING: hidden}

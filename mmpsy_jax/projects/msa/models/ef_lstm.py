"""EF-LSTM: one LSTM over the joined features of every step, as MMSA's EF_LSTM.py (Williams et al. 2018).

Departures from it: features are scaled (2 parameters each); there, a batch normalisation acts on the steps instead of
the features (2 t parameters for t steps). There, modalities must be aligned.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates, Scale
from mmpsy_jax.projects.msa.recurrent import Lstm, Padded
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel, align
from mmpsy_jax.rules import Count


class Model(SequenceModel):
    """Participants' windows -> outputs per head.

    Attributes:
      hidden: of each layer.
      layers: of the LSTM, with `rates.dropout` between them.
    """

    hidden: Count = 128
    layers: Count = 4
    scales: ClassVar[bool] = True

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`."""
        sequences = self.sequences(batch, rates)
        features, length = align(sequences)
        parts = [
            Scale(name=f"{name}_scale")(x) * one.present[..., None]
            for (name, one), x in zip(sequences.items(), features, strict=True)
        ]
        joined = Padded(jnp.concatenate(parts, axis=-1), length)
        for layer in range(1, self.layers):
            states, _ = Lstm(self.hidden, name=f"lstm_{layer}")(joined)
            joined = Padded(Dropout()(states, rates.dropout), length)
        _, last = Lstm(self.hidden, name=f"lstm_{self.layers}")(joined)
        hidden = self.feed_forward(Dropout()(last, rates.dropout), [self.hidden], "dense")
        return {**self.read_out(Dropout()(hidden, rates.dropout)), EMBEDDING: hidden}

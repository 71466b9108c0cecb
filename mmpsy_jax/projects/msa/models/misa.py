"""MISA (Hazarika et al. 2020, arXiv 2005.03545): shared and private codes of modalities, for `misa`.

As MMSA's MISA.py.

Departures from it: no BERT; text is the mean of precomputed features. What never reaches its loss is left out: the
discriminator of shared and private codes, and a normalisation of the text (3,588 parameters). Audio and vision keep
their lengths; there, they end where the text does.
"""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.crossmodal import EPSILON, MaskedAttention
from mmpsy_jax.projects.msa.recurrent import Lstm, Padded
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel
from mmpsy_jax.rules import whole

# Of the transformer over the six codes: PyTorch's defaults, which MMSA leaves alone.
HIDDEN, TRANSFORMER_DROPOUT, HEADS = 2048, 0.1, 2


class Model(SequenceModel):
    """Participants' windows -> outputs per head, and what `misa` asks for.

    Attributes:
      width: of all codes.
    """

    width: Annotated[int, whole(HEADS, multiple_of=HEADS)] = 128

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments as `mental_perceiver.Model`.

        Returns:
          outputs per head and `EMBEDDING`, and of each modality `<modality>_given` [b width], the input of its
          codes, `<modality>_private`, `<modality>_shared`, `<modality>_remade` and `<modality>_present` [b 1].
        """
        shared = nn.Dense(self.width, name="shared")
        outputs, has = {}, {}
        for name, kept in self.kept(batch, rates).items():
            if name == "text":
                x, has[name] = self.mean(batch, name, kept)
            else:
                sequence = self.sequence(batch, name, kept)
                x, has[name] = self.recurrent(name, sequence), sequence.present
            features = nn.LayerNorm(epsilon=EPSILON, name=f"{name}_norm")(self.feed_forward(x, [self.width], name))
            private = nn.sigmoid(nn.Dense(self.width, name=f"{name}_private")(features))
            common = nn.sigmoid(shared(features))
            remade = nn.Dense(self.width, name=f"{name}_remake")(private + common)
            outputs |= {f"{name}_given": features, f"{name}_private": private, f"{name}_shared": common}
            outputs |= {f"{name}_remade": remade, f"{name}_present": has[name]}
        kinds = ("private", "shared")
        codes = jnp.stack([outputs[f"{name}_{kind}"] for kind in kinds for name in has], axis=1)
        present = jnp.concatenate([*has.values()] * len(kinds), axis=1)
        fused = (self.transformer(codes, present > 0) * present[..., None]).reshape(codes.shape[0], -1)
        hidden = nn.Dense(self.width * 3, name="fusion")(fused)
        hidden = nn.relu(Dropout()(hidden, rates.dropout))
        return {**self.read_out(hidden), **outputs, EMBEDDING: hidden}

    def recurrent(self, name: str, sequence: Padded) -> Float[Array, "b _"]:
        """The last states of two LSTMs of both directions, as wide as the features, normalised between them."""
        size, last = sequence.values.shape[-1], []
        for number in (1, 2):
            forward, ended = Lstm(size, name=f"{name}_lstm_{number}")(sequence)
            backward, began = Lstm(size, reverse=True, name=f"{name}_lstm_{number}_backward")(sequence)
            last.append([ended, began])
            if number == 1:
                joined = jnp.concatenate([forward, backward], axis=-1)
                joined = nn.LayerNorm(epsilon=EPSILON, name=f"{name}_lstm_norm")(joined)
                sequence = Padded(joined * sequence.mask[..., None], sequence.length)
        return jnp.concatenate([state for direction in zip(*last, strict=True) for state in direction], axis=-1)

    def transformer(self, x: Float[Array, "b n d"], valid: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        """One layer over the codes, normalised after each addition."""
        rate = TRANSFORMER_DROPOUT
        mask = jnp.broadcast_to(valid[:, None], (*x.shape[:2], x.shape[1]))
        attended = MaskedAttention(HEADS, rate, name="attention")(x, x, mask)
        x = nn.LayerNorm(epsilon=EPSILON, name="norm_attention")(x + Dropout()(attended, rate))
        hidden = Dropout()(nn.relu(nn.Dense(HIDDEN, name="up")(x)), rate)
        hidden = Dropout()(nn.Dense(self.width, name="down")(hidden), rate)
        return nn.LayerNorm(epsilon=EPSILON, name="norm_network")(x + hidden)

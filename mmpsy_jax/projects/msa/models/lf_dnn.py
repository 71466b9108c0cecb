"""LF-DNN: late fusion of a text LSTM with means of audio and vision, as MMSA's LF_DNN.py (Cambria et al. 2017)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmpsy_jax.models.base import EMBEDDING, Rates
from mmpsy_jax.projects.msa.sequences import Dropout, SubnetModel
from mmpsy_jax.rules import Count


class Model(SubnetModel):
    """Participants' windows -> outputs per head.

    Attributes:
      fusion_width: of the layers after the fusion; the dropout before them is `rates.dropout`.
    """

    fusion_width: Count = 128

    def fuse(self, features: dict[str, Float[Array, "b h"]], rates: Rates) -> dict[str, Float[Array, "b o"]]:
        """See `SubnetModel`."""
        joined = jnp.concatenate(list(features.values()), axis=-1)
        widths = [self.fusion_width, self.fusion_width]
        fused = self.feed_forward(Dropout()(joined, rates.dropout), widths, "fusion")
        return {**self.read_out(fused), EMBEDDING: fused}

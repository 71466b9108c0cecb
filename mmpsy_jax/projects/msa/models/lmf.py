"""LMF, low-rank multimodal fusion (Liu et al. 2018, arXiv 1806.00064), as MMSA's LMF.py.

Departures from it: the weights and the bias of the fusion are trained, and `rates.dropout` applies to the fused
features; there, the former are left out of the optimizer, and the latter is not applied.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmpsy_jax.models.base import EMBEDDING, Rates
from mmpsy_jax.projects.msa.sequences import Dropout, SubnetModel, with_one
from mmpsy_jax.rules import Count


class Model(SubnetModel):
    """Participants' windows -> outputs per head.

    Attributes:
      rank: of the factors whose product stands for the tensor of weights.
    """

    rank: Count = 3

    def fuse(self, features: dict[str, Float[Array, "b h"]], rates: Rates) -> dict[str, Float[Array, "b o"]]:
        """See `SubnetModel`; `EMBEDDING` is the features of all modalities."""
        fused = 1.0
        for name, feature in features.items():
            one = with_one(feature)
            shape = (self.rank, one.shape[-1], self.n_outputs)
            factor = self.param(f"{name}_factor", nn.initializers.glorot_normal(batch_axis=0), shape)
            fused = fused * jnp.einsum("bi,rio->bro", one, factor)
        weights = self.param("fusion_weights", nn.initializers.glorot_normal(), (1, self.rank))
        values = jnp.einsum("bro,r->bo", Dropout()(fused, rates.dropout), weights[0])
        return {**self.outputs(values), EMBEDDING: jnp.concatenate(list(features.values()), axis=-1)}

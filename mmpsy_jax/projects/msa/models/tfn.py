"""TFN, tensor fusion network (Zadeh et al. 2017, arXiv 1707.07250): the outer product of all modalities.

As MMSA's TFN.py.

Departures from it: a score is tanh(x / 2) of its maximum. There, the output is 6 sigmoid(x) - 3 for every corpus,
though the labels of SIMS lie between -1 and 1; for labels between -3 and 3 both are the same.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmpsy_jax.models.base import EMBEDDING, Rates
from mmpsy_jax.projects.msa.sequences import Dropout, SubnetModel, with_one
from mmpsy_jax.rules import Count
from mmpsy_jax.tasks import kind_of


class Model(SubnetModel):
    """Participants' windows -> outputs per head.

    Attributes:
      fusion_width: of the layers after the fusion; the dropout before them is `rates.dropout`.
    """

    fusion_width: Count = 64

    def fuse(self, features: dict[str, Float[Array, "b h"]], rates: Rates) -> dict[str, Float[Array, "b o"]]:
        """See `SubnetModel`."""
        product = None
        for feature in features.values():
            one = with_one(feature)
            product = one if product is None else jnp.einsum("bi,bj->bij", product, one).reshape(one.shape[0], -1)
        widths = [self.fusion_width, self.fusion_width]
        fused = self.feed_forward(Dropout()(product, rates.dropout), widths, "fusion")
        outputs = self.read_out(fused)
        bounded = {head.name for head in self.joint_heads if kind_of(head.kind).scaled}
        outputs = {name: jnp.tanh(value / 2) if name in bounded else value for name, value in outputs.items()}
        return {**outputs, EMBEDDING: fused}

"""Ridge regression on TF-IDF of character n-grams and on pooled numbers: no gradient steps, everything in closed form.

The floor that a network has to reach. On transcripts of a thousand people it is hard to beat (docs/transcripts.md).
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates, outputs_of
from mmpsy_jax.models.linear_path import NAME, LinearPath, read_out


class Model(nn.Module):
    """Participants' windows -> outputs per task.

    Attributes:
      modalities: the inputs, in order; what is absent from a participant adds nothing.
      heads: the outputs.
      window_seconds: of no matter here.
    """

    RATES: ClassVar[dict[str, float]] = {}
    closed_form: ClassVar[bool] = True

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Outputs per task; the embedding of a participant is what the linear path says of each label.

        Args:
          batch: one pack of a packed batch (docs/architecture.md).
          rates: nothing is dropped.
        """
        del rates
        linear = LinearPath(self.modalities, self.heads, name=NAME)(batch, batch["valid"].shape[0])
        return {**outputs_of(self, self.heads, read_out(self, self.heads, linear)), EMBEDDING: linear}

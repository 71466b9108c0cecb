"""MulT, multimodal transformer (Tsai et al. 2019, arXiv 1906.00295): every modality reads every other.

As MMSA's MULT.py, which has no positions.

Departures from it: the step that is read out is the last valid one; there it is the last one of the padding.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.crossmodal import CrossmodalModel
from mmpsy_jax.projects.msa.recurrent import Padded
from mmpsy_jax.projects.msa.sequences import Dropout
from mmpsy_jax.rules import Count, Heads, Share

# Layers that the transformers over what was read have at least.
LEAST_MEMORY_LAYERS = 3


class Model(CrossmodalModel):
    """Participants' windows -> outputs per head.

    Attributes:
      width: of each modality after its convolution; what it has read from two others is twice as wide.
      heads_attention, layers: of the transformers.
      text_kernel, audio_kernel, vision_kernel: steps of the convolutions.
      text_attention_dropout, audio_attention_dropout, vision_attention_dropout: of attention to the modality; that of
        the text also where a modality attends to what it has read.
      relu_dropout, residual_dropout, input_dropout: see `Crossmodal`.
      text_dropout: of the text features; that before the last layer but one is `rates.dropout`.
    """

    width: Count = 50
    heads_attention: Heads = 10
    layers: Count = 4
    text_kernel: Count = 5
    audio_kernel: Count = 5
    vision_kernel: Count = 5
    text_attention_dropout: Share = 0.3
    audio_attention_dropout: Share = 0.2
    vision_attention_dropout: Share = 0.0
    relu_dropout: Share = 0.0
    residual_dropout: Share = 0.0
    input_dropout: Share = 0.2
    text_dropout: Share = 0.5

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`."""
        inputs = {}
        for name, sequence in self.sequences(batch, rates).items():
            if name == "text":
                sequence = Padded(Dropout()(sequence.values, self.text_dropout), sequence.length)
            inputs[name] = self.convolved(name, sequence)
        last = []
        for name, sequence in inputs.items():
            read = [
                self.transformer(f"{name}_from_{other}", other, self.layers)(sequence, source)
                for other, source in inputs.items()
                if other != name
            ]
            last.append(self.remember(name, sequence, read, max(self.layers, LEAST_MEMORY_LAYERS)))
        fused = jnp.concatenate(last, axis=-1)
        hidden = Dropout()(self.feed_forward(fused, [fused.shape[-1]], "residual"), rates.dropout)
        fused = fused + nn.Dense(fused.shape[-1], name="residual_out")(hidden)
        return {**self.read_out(fused), EMBEDDING: fused}

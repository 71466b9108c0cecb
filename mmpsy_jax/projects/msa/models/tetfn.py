"""TETFN, text enhanced transformer fusion network (Wang et al. 2023, Pattern Recognition 136), for `ulgm`.

As MMSA's TETFN.py, without its BERT. Audio and vision read each other by way of the text, text reads both, and of each
modality the maximum over its steps has a head, as in Self-MM.

Departures from it: maxima and last steps are over valid steps; there, over the padding, too. There, the vision has the
kernel of the audio (`conv1d_kernel_size_v` is never read), as in `published.csv`.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import NO_DROPOUT, Rates
from mmpsy_jax.models.perceiver import MASKED_SCORE
from mmpsy_jax.projects.msa.crossmodal import CrossmodalModel
from mmpsy_jax.projects.msa.recurrent import Lstm, Padded
from mmpsy_jax.projects.msa.sequences import HeadPerModality
from mmpsy_jax.rules import Count, Heads, Share

LAYERS = 2  # of every transformer but the one that reads the text on the way: that has one


class Model(CrossmodalModel, HeadPerModality):
    """Participants' windows -> outputs per head, and what `ulgm` asks for. Text must be among the modalities.

    Attributes:
      width, heads_attention: of each modality after its convolution; heads of the transformers.
      audio_hidden, vision_hidden: of the LSTMs.
      text_kernel, audio_kernel, vision_kernel: steps of the convolutions.
      fusion_width, text_width, audio_width, vision_width: of the heads.
      text_attention_dropout, audio_attention_dropout, vision_attention_dropout: of attention to the modality; that of
        the text also of all others.
      relu_dropout, residual_dropout, input_dropout: see `Crossmodal`.
      text_dropout, audio_dropout, vision_dropout: before the heads of the modalities; that before the fusion is
        `rates.dropout`.
    """

    width: Count = 50
    heads_attention: Heads = 5
    audio_hidden: Count = 16
    vision_hidden: Count = 64
    text_kernel: Count = 1
    audio_kernel: Count = 1
    vision_kernel: Count = 1
    fusion_width: Count = 64
    text_width: Count = 32
    audio_width: Count = 32
    vision_width: Count = 16
    text_attention_dropout: Share = 0.1
    audio_attention_dropout: Share = 0.0
    vision_attention_dropout: Share = 0.1
    relu_dropout: Share = 0.0
    residual_dropout: Share = 0.1
    input_dropout: Share = 0.0
    text_dropout: Share = 0.0
    audio_dropout: Share = 0.0
    vision_dropout: Share = 0.0

    def check(self) -> None:
        super().check()
        if "text" not in {modality.name for modality in self.modalities}:
            raise ValueError("tetfn reads all other modalities by way of the text: put 'text' into the modalities")

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments as `mental_perceiver.Model`, returns as `self_mm.Model`."""
        inputs, outputs = {}, {}
        for name, sequence in self.sequences(batch, rates).items():
            if name != "text":
                states, _ = Lstm(self.of("hidden", name), name=f"{name}_lstm")(sequence)
                sequence = Padded(states * sequence.mask[..., None], sequence.length)
            inputs[name] = one = self.convolved(name, sequence)
            most = jnp.where(one.mask[..., None], one.values, MASKED_SCORE).max(axis=1) * one.present
            outputs |= self.modality_head(name, most, one)
        last = []
        for name, sequence in inputs.items():
            read = [self.read(name, other, inputs) for other in inputs if other != name]
            last.append(self.remember(name, sequence, read, LAYERS))
        return {**outputs, **self.fusion_head(last, rates.dropout)}

    def read(self, name: str, other: str, inputs: dict[str, Padded]) -> Padded:
        """What a modality reads of another: of two that are not the text, after the other has read the text."""
        if "text" in (name, other):
            return self.transformer(f"{name}_from_{other}", other, LAYERS)(inputs[name], inputs[other])
        by_text = self.transformer(f"{name}_by_text_{other}", "text", 1, positions=True)
        enhanced = by_text(inputs[other], inputs["text"])
        return self.transformer(f"{name}_from_{other}", "text", LAYERS, positions=True)(inputs[name], enhanced)

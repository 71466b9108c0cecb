"""TETFN, text enhanced transformer fusion network (Wang et al. 2023, Pattern Recognition 136), for `ulgm`.

As MMSA's TETFN.py, without its BERT. Audio and vision read each other by way of the text, text reads both, and of each
modality the maximum over its steps has a head of its own, as in Self-MM. There, the vision has the kernel of the audio
(`conv1d_kernel_size_v` is never read), and maxima and last steps are over the padding, too.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.models.perceiver import MASKED_SCORE
from mmpsy_jax.projects.msa.crossmodal import Convolution, Crossmodal, last_step
from mmpsy_jax.projects.msa.sequences import Lstm, Padded, SequenceModel
from mmpsy_jax.rules import Count, Heads, Share

LAYERS = 2  # of every transformer but the one that reads the text on the way: that has one


class Model(SequenceModel):
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
        inputs, made = {}, {}
        for name, sequence in self.sequences(batch, rates).items():
            if name != "text":
                states, _ = Lstm(self.of("hidden", name), name=f"{name}_lstm")(sequence)
                sequence = Padded(states * sequence.mask[..., None], sequence.length)
            inputs[name] = one = Convolution(self.width, self.of("kernel", name), name=f"{name}_in")(sequence)
            most = jnp.where(one.mask[..., None], one.values, MASKED_SCORE).max(axis=1) * one.present
            feature = self.feed_forward(self.drop(most, self.of("dropout", name)), [self.of("width", name)], name)
            hidden = self.feed_forward(feature, [self.of("width", name)], f"{name}_head")
            made[f"{name}_value"] = nn.Dense(1, name=f"{name}_readout")(hidden)
            made |= {f"{name}_feature": feature, f"{name}_present": one.present}
        last = []
        for name, sequence in inputs.items():
            others = [other for other in inputs if other != name]
            read = [self.read(name, other, inputs).values for other in others]
            joined = Padded(jnp.concatenate(read, axis=-1), sequence.length) if read else sequence
            last.append(last_step(self.transformer(f"{name}_memory", "text", LAYERS)(joined)))
        joined = self.drop(jnp.concatenate(last, axis=-1), rates.dropout)
        fused = self.feed_forward(joined, [self.fusion_width], "fusion")
        outputs = self.read_out(self.feed_forward(fused, [self.fusion_width], "fusion_head"))
        return {**outputs, **made, "fusion_feature": fused, EMBEDDING: fused}

    def read(self, name: str, other: str, inputs: dict[str, Padded]) -> Padded:
        """What a modality reads of another: of two that are not the text, after the other has read the text."""
        if "text" in (name, other):
            return self.transformer(f"{name}_from_{other}", other, LAYERS)(inputs[name], inputs[other])
        by_text = self.transformer(f"{name}_by_text_{other}", "text", 1, positions=True)
        enhanced = by_text(inputs[other], inputs["text"])
        return self.transformer(f"{name}_from_{other}", "text", LAYERS, positions=True)(inputs[name], enhanced)

    def transformer(self, name: str, attended: str, layers: int, positions: bool = False) -> Crossmodal:
        """A transformer that attends to a modality; its dropout is 0 outside of training."""
        rate = lambda value: value if self.has_rng("dropout") else 0.0  # noqa: E731
        return Crossmodal(
            self.heads_attention,
            layers,
            attention_dropout=rate(self.of("attention_dropout", attended)),
            relu_dropout=rate(self.relu_dropout),
            residual_dropout=rate(self.residual_dropout),
            input_dropout=rate(self.input_dropout),
            positions=positions,
            name=name,
        )

"""Self-MM (Yu et al. 2021, arXiv 2102.04830): late fusion with a head per modality, for the objective `ulgm`.

As MMSA's SELF_MM.py.

Departures from it: no BERT; text is the first step of its features, BERT's [CLS], precomputed. There are 4 h parameters
fewer per LSTM (`sequences.py`): 159,140 instead of 159,332 with the sizes for MOSI.
"""

import flax.linen as nn
from jaxtyping import Array, Float, PyTree

from mmpsy_jax.models.base import NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.recurrent import Lstm
from mmpsy_jax.projects.msa.sequences import HeadPerModality
from mmpsy_jax.rules import Count, Share


class Model(HeadPerModality):
    """Participants' windows -> outputs per head, and what `ulgm` asks for.

    Attributes:
      audio_hidden, vision_hidden: of the LSTMs.
      audio_out, vision_out: features of a modality that go into the fusion; of text, all of its features do.
      fusion_width, text_width, audio_width, vision_width: of the heads.
      text_dropout, audio_dropout, vision_dropout: before the heads of the modalities; that before the fusion is
        `rates.dropout`.
    """

    audio_hidden: Count = 16
    vision_hidden: Count = 32
    audio_out: Count = 16
    vision_out: Count = 32
    fusion_width: Count = 128
    text_width: Count = 32
    audio_width: Count = 16
    vision_width: Count = 32
    text_dropout: Share = 0.1
    audio_dropout: Share = 0.1
    vision_dropout: Share = 0.0

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments as `mental_perceiver.Model`.

        Returns:
          outputs per head, `EMBEDDING` and `fusion_feature` (the same), and of each modality `<modality>_value` [b 1],
          the score as a fraction of its maximum, `<modality>_feature` and `<modality>_present` [b 1].
        """
        outputs, encoded = {}, []
        for name, sequence in self.sequences(batch, rates).items():
            if name == "text":
                x = sequence.values[:, 0]
            else:
                _, last = Lstm(self.of("hidden", name), name=f"{name}_lstm")(sequence)
                x = nn.Dense(self.of("out", name), name=f"{name}_dense")(last) * sequence.present
            encoded.append(x)
            outputs |= self.modality_head(name, x, sequence)
        return {**outputs, **self.fusion_head(encoded, rates.dropout)}

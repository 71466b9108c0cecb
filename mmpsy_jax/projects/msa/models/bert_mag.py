"""MAG-BERT (Rahman et al. 2020, arXiv 1908.05787): BERT whose embeddings of words sound and image move.

As MMSA's BERT_MAG.py: all of BERT is trained, and the pooled [CLS] is read out.

Departures from it: sound and image of another length than the text are aligned by position (`sequences.align`), and a
missing one moves nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from mmpsy_jax import encoders
from mmpsy_jax.encoders.checkpoint import read_json
from mmpsy_jax.encoders.config import build
from mmpsy_jax.encoders.layers import INIT
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Rates
from mmpsy_jax.projects.msa.crossmodal import EPSILON
from mmpsy_jax.projects.msa.sequences import Dropout, SequenceModel, align
from mmpsy_jax.rules import number

TOKENS = "tokens"
# config.json of a random BERT for tests and the demo.
TINY: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
}


class Gate(nn.Module):
    """The multimodal adaptation gate: moves embeddings z of words by what goes with them.

    With x of each modality: m = sum of ReLU(W_h [x; z]) * (W x), then
    LayerNorm(z + min(beta |z| / (|m| + 1e-6), 1) m).

    Attributes:
      beta_shift: how far, as a share of the length of z.
    """

    beta_shift: float = 1.0

    @nn.compact
    def __call__(
        self, z: Float[Array, "b t d"], frames: Mapping[str, tuple[Float[Array, "b t _"], Float[Array, "b 1"]]]
    ) -> Float[Array, "b t d"]:
        """`frames` has, by modality, its values at the steps of the words, and 1 for who has it, else 0."""
        dense = lambda name: nn.Dense(z.shape[-1], kernel_init=INIT, name=name)  # noqa: E731
        moved = jnp.zeros_like(z)
        for name, (x, present) in frames.items():
            weight = nn.relu(dense(f"{name}_weight")(jnp.concatenate([x, z], axis=-1)))
            moved += present[..., None] * weight * dense(f"{name}_shift")(x)
        longest = self.beta_shift * jnp.linalg.norm(z, axis=-1, keepdims=True)
        square = jnp.square(moved).sum(axis=-1, keepdims=True)
        length = jnp.sqrt(jnp.where(square > 0, square, 1.0))  # the root has no gradient at zero
        moved *= jnp.minimum(longest / (length + 1e-6), 1.0)
        return nn.LayerNorm(epsilon=EPSILON, name="norm")(z + moved)


class Model(SequenceModel):
    """Participants' tokens, sound and image -> outputs per head.

    `modalities` are `tokens`, ids and types of BERT's tokens, with `audio`, `vision` or both; without them it is BERT.

    Attributes:
      beta_shift: see `Gate`; the dropout after the gate is `rates.dropout`, all others are BERT's.
      folder: of Hugging Face, with a BERT whose tokenizer made the ids; "" is a tiny random one.
    """

    beta_shift: Annotated[float, number(0)] = 1.0
    folder: str = ""

    def check(self) -> None:
        """Raises ValueError where the model cannot read its modalities."""
        kinds = {one.name: one.kind.replace("frames", "features") for one in self.modalities}
        if kinds.pop(TOKENS, "") != "ids" or not set(kinds.items()) <= {("audio", "features"), ("vision", "features")}:
            raise ValueError(
                "bert_mag reads ids named 'tokens' and features named audio, vision: set config.data.modalities, or "
                "build the corpus again from a feature file with text_bert"
            )

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b o"]]:
        """Arguments and outputs as `mental_perceiver.Model`; `EMBEDDING` is the pooled [CLS].

        Raises:
          InputError: more ids than BERT has words, more types of tokens, or more tokens than it has positions.
        """
        config = config_of(self.folder)
        module = build(config, pooler=True)
        known = next(modality.vocabulary for modality in self.modalities if modality.name == TOKENS)
        if known > module.vocabulary:
            raise InputError(
                f"ids of tokens go up to {known - 1}, but BERT has {module.vocabulary} words: set config.model.folder "
                "to the folder of the BERT whose tokenizer made them"
            )
        if module.types < 2:
            raise InputError("tokens are of types 0 and 1, but BERT has one: set config.model.folder to another BERT")
        sequences = self.sequences(batch, rates)
        words = sequences.pop(TOKENS)
        (tokens, *values), length = align({TOKENS: words, **sequences})
        frames = {name: (x, one.present) for (name, one), x in zip(sequences.items(), values, strict=True)}
        gate = Gate(self.beta_shift, name="gate")

        def between(z: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
            return Dropout()(gate(z, frames), rates.dropout)

        options: dict[str, Any] = {"deterministic": not self.has_rng("dropout")}
        if not options["deterministic"]:
            options["rngs"] = {"dropout": self.make_rng("dropout")}
        ids, types = jnp.moveaxis(tokens.astype(jnp.int32), -1, 0)
        params = self.param("encoder", lambda _: encoders.make(config, pooler=True).params)
        mask = jnp.arange(ids.shape[1]) < length[:, None]
        out = module.apply(
            {"params": params}, ids, mask, token_types=types, between=between if frames else None, **options
        )
        pooled = out["pooled"]
        return {**self.read_out(Dropout()(pooled, module.dropout)), EMBEDDING: pooled}


def config_of(folder: str) -> dict[str, Any]:
    """config.json of the BERT.

    Raises:
      InputError: the folder is of another network.
    """
    if not folder:
        return TINY
    config = read_json(Path(folder) / "config.json")
    if config.get("model_type") != "bert":
        raise InputError(f"{folder} holds a {config.get('model_type')!r}: config.model.folder must be of a 'bert'")
    return config


def pretrained(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where BERT starts, with its pooler, under "encoder": the same for every seed. Nothing is frozen.

    Args:
      arguments: of `Model`.

    Raises:
      InputError: the folder cannot be read, is of another network, or has no pooler.
    """
    folder, config = arguments["folder"], config_of(arguments["folder"])
    encoder = encoders.load(folder, pooler=True) if folder else encoders.make(config, pooler=True)
    return {"encoder": jax.tree.map(np.asarray, encoder.params)}, {}

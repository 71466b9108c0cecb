"""Pretrained encoders: BERT and RoBERTa, wav2vec 2.0 and HuBERT, Whisper.

    encoder = encoders.load("folder with config.json and model.safetensors", dtype=jnp.bfloat16)
    encoder = encoders.make({"model_type": "bert", "vocab_size": ..., ...}, seed=0)     # random, from a config.json

    out = encoder.module.apply(
        {"params": encoder.params}, inputs, mask,
        deterministic=True,             # False drops activations and needs rngs={"dropout": key}
        output_hidden_states=False,
    )
    out["last_hidden_state"]            # [b n d], in the `dtype` of the module
    out["mask"]                         # bool [b n]: positions that are not padding, for pooling
    out["hidden_states"]                # where asked for: before the first layer and after each, layers + 1 of [b n d]

| network | `inputs` | `mask` (bool, True where there is something; padding behind it) | more arguments |
|---|---|---|---|
| `Bert` | token ids i32 [b n] | [b n] | `token_types`, `between` (embeddings and layers) |
| `Wav2Vec2` (also HuBERT) | waveforms f32 [b samples] | [b samples], or None where the feature extractor gives none | |
| `Whisper` | log-mel f32 [b mels frames] | [b frames], for `out["mask"]` only | `decoder_ids`, `decoder_mask` |

Whisper given `decoder_ids` returns the decoder's states, and the encoder's under `out["encoder"]`. Attributes of every
module: `dtype` (of the computation; parameters are cast on the way), `remat` (activations are computed again in the
backward pass), `implementation` (of attention: "auto", the fastest, or one by name, see `layers.attend`);
`module.width` is d, `Module.FRONT_END` the pattern of the parameters that are usually frozen (`finetune.partition`).

Further: `encode` (frozen, batched by length), `finetune` (whole, in part, LoRA), `text` (transcripts to token
embeddings), `processors` (tokenizer and feature extractor of `transformers`). What is supported and how close it is to
`transformers`: docs/encoders.md.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmpsy_jax.encoders.bert import Bert
from mmpsy_jax.encoders.checkpoint import read_tensors
from mmpsy_jax.encoders.config import build
from mmpsy_jax.encoders.convert import our_parameters
from mmpsy_jax.encoders.layers import Dtype
from mmpsy_jax.encoders.wav2vec2 import Wav2Vec2
from mmpsy_jax.encoders.whisper import Whisper
from mmpsy_jax.io import InputError, read_json

__all__ = ["Bert", "Encoder", "Wav2Vec2", "Whisper", "load", "make"]


class Encoder(NamedTuple):
    """A network with its parameters (nested dictionaries) and the config.json that it comes from."""

    module: nn.Module
    params: dict[str, Any]
    config: dict[str, Any]


def load(
    folder: str | os.PathLike, *, decoder: bool = True, param_dtype: Dtype = jnp.float32, **options: Any
) -> Encoder:
    """The encoder of a local Hugging Face folder: config.json with model.safetensors or its shards.

    Args:
      folder: where the files lie; nothing is downloaded.
      decoder: of Whisper; False leaves it out, and then the files need not hold it.
      param_dtype: type of the parameters, numpy arrays on the host.
      **options: attributes of the module, such as `dtype` and `remat`.

    Raises:
      InputError: files are missing, damaged or pickled; config.json is of another architecture or does not fit the
        tensors.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json", "give the folder of a Hugging Face model")
    tensors = read_tensors(folder)
    try:
        module = build(config, **options)
        shapes = jax.eval_shape(lambda: _start(module, jnp.dtype(param_dtype), decoder, jax.random.key(0)))
        params = our_parameters(config["model_type"], tensors, shapes, param_dtype)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return Encoder(module, params, config)


def make(config: Mapping[str, Any], *, seed: int = 0, param_dtype: Dtype = jnp.float32, **options: Any) -> Encoder:
    """An encoder with random parameters, for tests, benchmarks and training from nothing.

    Args:
      config: the content of a config.json.
      seed: of the parameters.
      param_dtype, **options: as in `load`.

    Raises:
      InputError: the config is not one that we know.
    """
    module = build(config, **options)
    alone = module.clone(parent=None)  # of whatever network asks for it
    return Encoder(module, _start(alone, jnp.dtype(param_dtype), True, jax.random.key(seed)), dict(config))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _start(module: nn.Module, dtype: jnp.dtype, decoder: bool, key: jax.Array) -> dict[str, Any]:
    """Random parameters; traced once per module, since a network asks for them again whenever it is traced."""
    return jax.tree.map(lambda x: x.astype(dtype), _init(module, key, decoder))


def _init(module: nn.Module, key: jax.Array, decoder: bool) -> dict[str, Any]:
    """Random parameters, found on the smallest input."""
    ids = jnp.zeros((1, 1), jnp.int32)
    if isinstance(module, Bert):
        return module.init(key, ids)["params"]
    if isinstance(module, Wav2Vec2):
        return module.init(key, jnp.zeros((1, module.shortest)))["params"]
    mel = jnp.zeros((1, module.mels, 2 * module.positions))
    return module.init(key, mel, decoder_ids=ids if decoder else None)["params"]

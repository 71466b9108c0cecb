"""config.json of a Hugging Face folder -> one of our networks, with its sizes."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from mmpsy_jax.encoders.bert import Bert
from mmpsy_jax.encoders.wav2vec2 import Wav2Vec2
from mmpsy_jax.encoders.whisper import Whisper
from mmpsy_jax.errors import InputError, one_of


class Fields:
    """Fields of a config.json; a missing one is an error that names it."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = config

    def __call__(self, name: str) -> Any:
        if name not in self.config:
            raise InputError(f"config.json of a {self.config['model_type']!r} has no {name!r}: take the original file")
        return self.config[name]

    def only(self, name: str, usual: Any) -> None:
        """Refuses any value of a field but the usual one, which is also what an absent field means."""
        value = self.config.get(name, usual)
        if value != usual:
            raise InputError(f"config.json has {name} = {value!r}: only {usual!r} is supported")


def _bert(read: Fields) -> dict[str, Any]:
    read.only("position_embedding_type", "absolute")
    read.only("is_decoder", False)
    return {
        "vocabulary": read("vocab_size"),
        "positions": read("max_position_embeddings"),
        "types": read("type_vocab_size"),
        "width": read("hidden_size"),
        "layers": read("num_hidden_layers"),
        "heads": read("num_attention_heads"),
        "hidden": read("intermediate_size"),
        "activation": read("hidden_act"),
        "epsilon": read("layer_norm_eps"),
        "dropout": read("hidden_dropout_prob"),
    }


def _roberta(read: Fields) -> dict[str, Any]:
    return _bert(read) | {"padding_id": read("pad_token_id")}


def _wav2vec2(read: Fields) -> dict[str, Any]:
    read.only("add_adapter", False)
    read.only("adapter_attn_dim", None)
    read.only("conv_pos_batch_norm", False)
    norm = read("feat_extract_norm")
    if norm not in ("group", "layer"):
        raise one_of("feat_extract_norm", norm, ("group", "layer"))
    return {
        "widths": tuple(read("conv_dim")),
        "kernels": tuple(read("conv_kernel")),
        "strides": tuple(read("conv_stride")),
        "conv_bias": read("conv_bias"),
        "group_norm": norm == "group",
        "front_activation": read("feat_extract_activation"),
        # HuBERT only, and not in its first files
        "projection_norm": read.config.get("feat_proj_layer_norm", True),
        "width": read("hidden_size"),
        "layers": read("num_hidden_layers"),
        "heads": read("num_attention_heads"),
        "hidden": read("intermediate_size"),
        "activation": read("hidden_act"),
        "epsilon": read("layer_norm_eps"),
        "stable": read("do_stable_layer_norm"),
        "position_kernel": read("num_conv_pos_embeddings"),
        "position_groups": read("num_conv_pos_embedding_groups"),
        "projection_dropout": read("feat_proj_dropout"),
        "dropout": read("hidden_dropout"),
        "activation_dropout": read("activation_dropout"),
    }


def _whisper(read: Fields) -> dict[str, Any]:
    return {
        "mels": read("num_mel_bins"),
        "positions": read("max_source_positions"),
        "vocabulary": read("vocab_size"),
        "token_positions": read("max_target_positions"),
        "width": read("d_model"),
        "encoder_layers": read("encoder_layers"),
        "encoder_heads": read("encoder_attention_heads"),
        "encoder_hidden": read("encoder_ffn_dim"),
        "decoder_layers": read("decoder_layers"),
        "decoder_heads": read("decoder_attention_heads"),
        "decoder_hidden": read("decoder_ffn_dim"),
        "activation": read("activation_function"),
        "start_id": read("decoder_start_token_id"),
        "dropout": read("dropout"),
        "activation_dropout": read("activation_dropout"),
    }


# model_type of config.json -> network, and its arguments from the fields
FAMILIES: dict[str, tuple[type[nn.Module], Callable[[Fields], dict[str, Any]]]] = {
    "bert": (Bert, _bert),
    "roberta": (Bert, _roberta),
    "xlm-roberta": (Bert, _roberta),
    "wav2vec2": (Wav2Vec2, _wav2vec2),
    "hubert": (Wav2Vec2, _wav2vec2),
    "whisper": (Whisper, _whisper),
}


def build(config: Mapping[str, Any], **options: Any) -> nn.Module:
    """The network that a config.json describes.

    Args:
      config: the content of config.json.
      **options: `dtype`, `remat`, `implementation` and other attributes of the network that config.json does not say.

    Raises:
      InputError: the model type is none of `FAMILIES`, or a field is missing or has a value that is not supported.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise one_of("model_type in config.json", kind, FAMILIES)
    network, arguments = FAMILIES[kind]
    return network(**arguments(Fields(config)), **options)

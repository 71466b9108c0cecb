"""config.json of a Hugging Face folder -> one of our networks, with its sizes."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from mmpsy_jax import rules
from mmpsy_jax.encoders.bert import Bert
from mmpsy_jax.encoders.wav2vec2 import Wav2Vec2
from mmpsy_jax.encoders.whisper import Whisper
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.rules import Rule

KINDS: dict[str, Rule] = {  # what a field may hold
    "size": rules.whole(1),
    "id": rules.whole(0),
    "epsilon": rules.number(0, above=True),
    "rate": rules.SHARE,
    "sizes": rules.WIDTHS,
    "flag": rules.FLAG,
    "name": rules.NAME,
}


class Fields:
    """Fields of a config.json; one that is missing, or holds what it cannot, is an error that names it."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = config

    def __call__(self, name: str, kind: str = "size", **default: Any) -> Any:
        """The value of a field, which is of one of `KINDS`; `default=` is what an absent one means."""
        if name not in self.config and not default:
            raise InputError(f"config.json of a {self.config['model_type']!r} has no {name!r}: take the original file")
        value = self.config.get(name, default.get("default"))
        self.rule(KINDS[kind].test(value), name, value, KINDS[kind].text)
        return value

    def rule(self, holds: bool, name: str, value: Any, rule: str) -> None:
        """Raises InputError where a field breaks a rule."""
        if not holds:
            raise InputError(f"config.json has {name} = {repr(value)[:60]}, must be {rule}: take the original file")

    def only(self, name: str, default: Any) -> None:
        """Refuses any value of a field but the usual one, which is also what an absent field means."""
        value = self.config.get(name, default)
        if value != default:
            raise InputError(f"config.json has {name} = {value!r}: only {default!r} is supported")

    def heads(self, name: str, width: int) -> int:
        """The number of heads, among which the width is divided."""
        heads = self(name)
        self.rule(width % heads == 0, name, heads, f"a divisor of the width {width}")
        return heads


def _bert(read: Fields) -> dict[str, Any]:
    read.only("position_embedding_type", "absolute")
    read.only("is_decoder", False)
    width = read("hidden_size")
    return {
        "vocabulary": read("vocab_size"),
        "positions": read("max_position_embeddings"),
        "types": read("type_vocab_size"),
        "width": width,
        "layers": read("num_hidden_layers"),
        "heads": read.heads("num_attention_heads", width),
        "hidden": read("intermediate_size"),
        "activation": read("hidden_act", "name"),
        "epsilon": read("layer_norm_eps", "epsilon"),
        "dropout": read("hidden_dropout_prob", "rate"),
    }


def _roberta(read: Fields) -> dict[str, Any]:
    arguments, padding = _bert(read), read("pad_token_id", "id")
    last = min(arguments["vocabulary"], arguments["positions"] - 1) - 1
    read.rule(padding <= last, "pad_token_id", padding, f"at most {last}, to be a row of the table and leave positions")
    return arguments | {"padding_id": padding}


def _wav2vec2(read: Fields) -> dict[str, Any]:
    read.only("add_adapter", False)
    read.only("adapter_attn_dim", None)
    read.only("conv_pos_batch_norm", False)
    norm = read("feat_extract_norm", "name")
    if norm not in ("group", "layer"):
        raise one_of("feat_extract_norm", norm, ("group", "layer"))
    convolutions = {name: tuple(read(f"conv_{name[:-1]}", "sizes")) for name in ("kernels", "strides")}
    widths, width = tuple(read("conv_dim", "sizes")), read("hidden_size")
    for name, values in convolutions.items():
        rule = f"{len(widths)} numbers, one for each of conv_dim"
        read.rule(len(values) == len(widths), f"conv_{name[:-1]}", values, rule)
    groups = read("num_conv_pos_embedding_groups")
    read.rule(width % groups == 0, "num_conv_pos_embedding_groups", groups, f"a divisor of the width {width}")
    return {
        "widths": widths,
        **convolutions,
        "conv_bias": read("conv_bias", "flag"),
        "group_norm": norm == "group",
        "front_activation": read("feat_extract_activation", "name"),
        # HuBERT only, and not in its first files
        "projection_norm": read("feat_proj_layer_norm", "flag", default=True),
        "width": width,
        "layers": read("num_hidden_layers"),
        "heads": read.heads("num_attention_heads", width),
        "hidden": read("intermediate_size"),
        "activation": read("hidden_act", "name"),
        "epsilon": read("layer_norm_eps", "epsilon"),
        "stable": read("do_stable_layer_norm", "flag"),
        "position_kernel": read("num_conv_pos_embeddings"),
        "position_groups": groups,
        "projection_dropout": read("feat_proj_dropout", "rate"),
        "dropout": read("hidden_dropout", "rate"),
        "activation_dropout": read("activation_dropout", "rate"),
    }


def _whisper(read: Fields) -> dict[str, Any]:
    width, vocabulary, start = read("d_model"), read("vocab_size"), read("decoder_start_token_id", "id")
    rule = f"below vocab_size = {vocabulary}"
    read.rule(start < vocabulary, "decoder_start_token_id", start, rule)
    return {
        "mels": read("num_mel_bins"),
        "positions": read("max_source_positions"),
        "vocabulary": vocabulary,
        "token_positions": read("max_target_positions"),
        "width": width,
        "encoder_layers": read("encoder_layers"),
        "encoder_heads": read.heads("encoder_attention_heads", width),
        "encoder_hidden": read("encoder_ffn_dim"),
        "decoder_layers": read("decoder_layers"),
        "decoder_heads": read.heads("decoder_attention_heads", width),
        "decoder_hidden": read("decoder_ffn_dim"),
        "activation": read("activation_function", "name"),
        "start_id": start,
        "dropout": read("dropout", "rate"),
        "activation_dropout": read("activation_dropout", "rate"),
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
      InputError: the model type is none of `FAMILIES`, or a field is missing or has a value that cannot be or is
        not supported.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise one_of("model_type in config.json", kind, FAMILIES)
    network, arguments = FAMILIES[kind]
    return network(**arguments(Fields(config)), **options)

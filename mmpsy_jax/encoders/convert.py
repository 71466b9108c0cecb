"""Other projects' tensors -> our parameters. The only file that knows their names.

Which tensors are read, by rule:

1. A checkpoint of a network with a head on top has the network under a prefix (`bert.`, `wav2vec2.`, `model.`, ...).
   Where any tensor has it, what has it not belongs to a head and is ignored.
2. Where no tensor has it, the network stands at the top; names in `HEADS` are heads and are ignored.
3. Inside the network, `IGNORED` (poolers, buffers, SpecAugment's embedding) is ignored too, unless ours has it.
4. Anything else that we do not know is an error, as is anything that we need and do not find.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from mmpsy_jax.errors import InputError

PREFIXES = {
    "bert": "bert.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "whisper": "model.",
}
HEADS = re.compile(r"(cls|lm_head|classifier|projector|qa_outputs|quantizer|project_q|project_hid|proj_out|score)\..*")
IGNORED = re.compile(r"pooler\..*|embeddings\.(position_ids|token_type_ids)|masked_spec_embed")

# The first files of BERT and of wav2vec 2.0 have other names for the same: (pattern, name that is meant).
OLD_NAMES = (
    (r"(.*LayerNorm)\.gamma", r"\1.weight"),
    (r"(.*LayerNorm)\.beta", r"\1.bias"),
    (r"(.*)\.weight_g", r"\1.parametrizations.weight.original0"),
    (r"(.*)\.weight_v", r"\1.parametrizations.weight.original1"),
)

# Our path without its last part -> their name without its last part.
_BERT = (
    (r"word_table", "embeddings.word_embeddings"),
    (r"position_table", "embeddings.position_embeddings"),
    (r"type_table", "embeddings.token_type_embeddings"),
    (r"embedding_norm", "embeddings.LayerNorm"),
    (r"pooler", "pooler.dense"),
    (r"layer_(\d+)/attention/(query|key|value)", r"encoder.layer.\1.attention.self.\2"),
    (r"layer_(\d+)/attention/out", r"encoder.layer.\1.attention.output.dense"),
    (r"layer_(\d+)/attention_norm", r"encoder.layer.\1.attention.output.LayerNorm"),
    (r"layer_(\d+)/up", r"encoder.layer.\1.intermediate.dense"),
    (r"layer_(\d+)/down", r"encoder.layer.\1.output.dense"),
    (r"layer_(\d+)/mlp_norm", r"encoder.layer.\1.output.LayerNorm"),
)
_WAV2VEC2 = (
    (r"front_end/conv_(\d+)", r"feature_extractor.conv_layers.\1.conv"),
    (r"front_end/norm_(\d+)", r"feature_extractor.conv_layers.\1.layer_norm"),
    (r"projection_norm", "feature_projection.layer_norm"),
    (r"projection", "feature_projection.projection"),
    (r"position_conv", "encoder.pos_conv_embed.conv"),
    (r"norm", "encoder.layer_norm"),
    (r"layer_(\d+)/attention/query", r"encoder.layers.\1.attention.q_proj"),
    (r"layer_(\d+)/attention/key", r"encoder.layers.\1.attention.k_proj"),
    (r"layer_(\d+)/attention/value", r"encoder.layers.\1.attention.v_proj"),
    (r"layer_(\d+)/attention/out", r"encoder.layers.\1.attention.out_proj"),
    (r"layer_(\d+)/attention_norm", r"encoder.layers.\1.layer_norm"),
    (r"layer_(\d+)/up", r"encoder.layers.\1.feed_forward.intermediate_dense"),
    (r"layer_(\d+)/down", r"encoder.layers.\1.feed_forward.output_dense"),
    (r"layer_(\d+)/mlp_norm", r"encoder.layers.\1.final_layer_norm"),
)
_WHISPER_PARTS = (("attention", "self_attn"), ("cross", "encoder_attn"))
_WHISPER_PROJECTIONS = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
_WHISPER = (
    (r"conv_0", "encoder.conv1"),
    (r"conv_1", "encoder.conv2"),
    (r"position_table", "encoder.embed_positions"),
    (r"word_table", "decoder.embed_tokens"),
    (r"token_position_table", "decoder.embed_positions"),
    (r"(encoder|decoder)/norm", r"\1.layer_norm"),
    *(
        (rf"(encoder|decoder)/layer_(\d+)/{part}/{projection}", rf"\1.layers.\2.{their_part}.{theirs}")
        for part, their_part in _WHISPER_PARTS
        for projection, theirs in _WHISPER_PROJECTIONS
    ),
    *(
        (rf"(encoder|decoder)/layer_(\d+)/{part}_norm", rf"\1.layers.\2.{their_part}_layer_norm")
        for part, their_part in _WHISPER_PARTS
    ),
    (r"(encoder|decoder)/layer_(\d+)/up", r"\1.layers.\2.fc1"),
    (r"(encoder|decoder)/layer_(\d+)/down", r"\1.layers.\2.fc2"),
    (r"(encoder|decoder)/layer_(\d+)/mlp_norm", r"\1.layers.\2.final_layer_norm"),
)
NAMES = {
    "bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "wav2vec2": _WAV2VEC2, "hubert": _WAV2VEC2,
    "whisper": _WHISPER,
}  # fmt: skip


def their_name(kind: str, path: str) -> str:
    """Their name of our parameter `path` ("layer_0/up/kernel") in a model of type `kind`."""
    place, _, leaf = path.rpartition("/")
    if leaf.endswith("_table"):
        place, leaf = path, "embedding"
    ours = next((pattern, theirs) for pattern, theirs in NAMES[kind] if re.fullmatch(pattern, place))
    return f"{re.sub(*ours, place)}.{'bias' if leaf == 'bias' else 'weight'}"


def our_parameters(
    kind: str, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Any], dtype: Any = np.float32
) -> dict[str, Any]:
    """Parameters of our network from the tensors of a checkpoint.

    Args:
      kind: `model_type` of config.json.
      tensors: {their name: array}.
      shapes: our parameters, nested, as arrays or anything else with a `shape`.
      dtype: of the parameters that come back.

    Returns:
      the same nesting as `shapes`, with numpy arrays.

    Raises:
      InputError: tensors are missing, unknown, or of another shape than config.json says; the first few are named.
    """
    found = _of_network(kind, tensors)
    made, missing, wrong = {}, [], []
    for path, wanted in traverse_util.flatten_dict(shapes, sep="/").items():
        name = their_name(kind, path)
        if name not in found:
            missing.append(name)
            continue
        value = found.pop(name)
        if path.endswith("/kernel"):
            value = value.T  # matrices [out, in] -> [in, out], convolutions [out, in, k] -> [k, in, out]
        if value.shape != wanted.shape:
            wrong.append(f"{name} (made {list(value.shape)} for our {path}, config.json says {list(wanted.shape)})")
        made[path] = np.ascontiguousarray(value, dtype)
    unknown = sorted(name for name in found if not IGNORED.fullmatch(name))
    for problem, names in (("lacks", missing), ("has tensors of other sizes:", wrong), ("has unknown", unknown)):
        if names:
            raise InputError(
                f"the checkpoint {problem} {_some(names)}: is config.json from the same model, of type {kind!r}?"
            )
    return traverse_util.unflatten_dict(made, sep="/")


def _of_network(kind: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of the network itself, without prefix, under their present names, weight norm folded."""
    prefix = PREFIXES[kind]
    if any(name.startswith(prefix) for name in tensors):
        inner = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    else:
        inner = {name: value for name, value in tensors.items() if not HEADS.fullmatch(name)}
    kept = {}
    for name, value in inner.items():
        for pattern, meant in OLD_NAMES:
            name = re.sub(f"^{pattern}$", meant, name)
        kept[name] = value
    scales = [name for name in kept if name.endswith(".parametrizations.weight.original0")]
    for scale in scales:
        direction = f"{scale.removesuffix('0')}1"
        if direction in kept:
            kept[f"{scale.removesuffix('.parametrizations.weight.original0')}.weight"] = weight_norm(
                kept.pop(scale), kept.pop(direction)
            )
    return kept


def weight_norm(scale: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """g v / |v| with one norm per position of the kernel (Salimans and Kingma 2016, arXiv 1602.07868).

    Args:
      scale: g, [1, 1, kernel].
      direction: v, [out, in, kernel].
    """
    direction = direction.astype(np.float32)
    return scale.astype(np.float32) * direction / np.sqrt(np.square(direction).sum((0, 1), keepdims=True))


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")

"""Other projects' tensors -> our parameters. The only file that knows their names.

Which tensors are read, by rule:

1. The network lies where the most of its tensors are: under the usual prefix (`bert.`, `wav2vec2.`, `model.`, ...), at
   the top, or under any other prefix (`model.bert.`, `module.`). Where two places are as good, the usual prefix is
   taken, then the top; two others are refused. Whisper's encoder may stand there by itself.
2. What lies outside, or begins with a part that the network does not have, is a head, a pooler, SpecAugment's embedding
   or another network, and is ignored.
3. `IGNORED` (buffers) is ignored too. Any other tensor inside a part of the network that we do not know is an error, as
   is any that we need and do not find, that holds no floats, or that is not finite.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mmpsy_jax.io import InputError

PREFIXES = {
    "bert": "bert.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "whisper": "model.",
}
IGNORED = re.compile(r"embeddings\.(position_ids|token_type_ids)")

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
        (rf"(encoder|decoder)/layer_(\d+)/{part}/{projection}", rf"\1.layers.\2.{their_part}.{their}")
        for part, their_part in _WHISPER_PARTS
        for projection, their in _WHISPER_PROJECTIONS
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
    pair = next((pattern, their) for pattern, their in NAMES[kind] if re.fullmatch(pattern, place))
    return f"{re.sub(*pair, place)}.{'bias' if leaf == 'bias' else 'weight'}"


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
      InputError: tensors are missing, unknown, of another shape than config.json says, of whole numbers or not finite;
        the first few are named. Or the checkpoint holds several such networks.
    """
    flat = traverse_util.flatten_dict(shapes, sep="/")
    needed = {their_name(kind, path): (path, x.shape) for path, x in flat.items()}
    inner = _of_network(kind, tensors, needed)
    missing = [name for name in needed if name not in inner]
    if len(missing) == len(needed):
        raise InputError(f"the checkpoint has no tensor of a {kind!r}: give the folder of such a network, whole")
    params, wrong, quantised, infinite = {}, [], [], []
    for name, (path, shape) in needed.items():
        if name not in inner:
            continue
        value = inner.pop(name)
        if path.endswith("/kernel"):
            value = value.T  # matrices [out, in] -> [in, out], convolutions [out, in, k] -> [k, in, out]
        if value.shape != shape:
            wrong.append(f"{name} (made {list(value.shape)} for our {path}, config.json says {list(shape)})")
        if not jnp.issubdtype(value.dtype, jnp.floating):
            quantised.append(f"{name} ({value.dtype})")
        with np.errstate(over="ignore"):  # refused below
            params[path] = np.ascontiguousarray(value, dtype)
        if not np.isfinite(params[path]).all():
            infinite.append(name)
    unknown = sorted(name for name in inner if not IGNORED.fullmatch(name))
    again = "download all files of the model again"
    if all(name.startswith("decoder.") for name in missing):
        again = "it is a Whisper without its decoder, which serves launch.py embed alone"
    as_floats = "take the file with float32, float16 or bfloat16"
    for problem, names, remedy in (
        (f"has {len(needed) - len(missing)} of {len(needed)} tensors of a {kind!r} and lacks", missing, again),
        ("has tensors of other sizes:", wrong, f"is config.json from the same model, of type {kind!r}?"),
        (f"has tensors unknown in a {kind!r}:", unknown, "take one without adapters, with its own config.json"),
        ("is quantised:", quantised, as_floats),
        (f"is not finite as {np.dtype(dtype)} in", infinite, f"copy it again, or {as_floats}"),
    ):
        if names:
            raise InputError(f"the checkpoint {problem} {_some(names)}: {remedy}")
    return traverse_util.unflatten_dict(params, sep="/")


def _of_network(kind: str, tensors: Mapping[str, np.ndarray], needed: Container[str]) -> dict[str, np.ndarray]:
    """The tensors of the network itself, without prefix, under their present names, weight norm folded.

    Raises:
      InputError: several networks are there.
    """
    kept = _folded({_present_name(name): value for name, value in tensors.items()})
    if kind == "whisper" and "conv1.weight" in kept:  # its encoder by itself
        kept = {f"encoder.{name}": value for name, value in kept.items()}
    prefix = _prefix(kind, kept, needed)
    inner = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
    parts = {name.split(".")[0] for name in needed}
    return {name: value for name, value in inner.items() if name.split(".")[0] in parts}


def _prefix(kind: str, names: Iterable[str], needed: Container[str]) -> str:
    """Under which prefix the most wanted tensors lie.

    Raises:
      InputError: under several as many, none of which is the usual one or none at all.
    """
    places: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in needed:
                places[".".join([*parts[:start], ""])] += 1
    best = sorted(place for place, count in places.items() if count == max(places.values()))
    default = next((place for place in (PREFIXES[kind], "") if place in best), None)
    if default is None and len(best) > 1:
        raise InputError(
            f"the checkpoint holds {len(best)} networks of type {kind!r}, under {', '.join(best)}: keep one of them"
        )
    return default if default is not None else "".join(best)


def _present_name(name: str) -> str:
    for pattern, meant in OLD_NAMES:
        name = re.sub(f"^{pattern}$", meant, name)
    return name


def _folded(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors with the weight norm of convolutions folded into their kernels."""
    kept = dict(tensors)
    for scale in [name for name in kept if name.endswith(".parametrizations.weight.original0")]:
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

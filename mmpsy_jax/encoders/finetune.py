"""Fine-tuning a pretrained encoder: whole, in part, or by low-rank updates (LoRA).

Parameters that are trained and parameters that are not are separate trees, so that gradients and the optimiser's state
exist for the former only:

    trained, frozen = partition(encoder.params, train=(r"layer_1[01]/.*",))
    loss = lambda trained: ... encoder.module.apply({"params": combine(trained, frozen)}, ...)

    low_rank = lora_init(key, encoder.params, rank=8)
    loss = lambda low_rank: ... encoder.module.apply({"params": lora_merge(encoder.params, low_rank, alpha=16.0)}, ...)

Patterns are regular expressions that match a whole path, "layer_0/attention/query/kernel". With
`freeze=(encoder.module.FRONT_END,)` the front end stays as it is. `load(folder, remat=True)` checkpoints gradients.

Departure from the paper of LoRA: the Gaussian that `down` starts from, of which it names no scale, has 1 / sqrt(in).
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from mmpsy_jax.io import InputError

Params = dict[str, Any]

QUERIES_AND_VALUES = (r".*attention/(query|value)/kernel",)  # what Hu et al. adapt, in every self-attention


def partition(params: Params, train: Sequence[str] = (".*",), freeze: Sequence[str] = ()) -> tuple[Params, Params]:
    """Two trees: parameters that some pattern of `train` and none of `freeze` matches, and all others.

    Raises:
      InputError: a pattern matches nothing, or nothing is left to train.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    chosen = _matching(flat, train) - _matching(flat, freeze)
    if not chosen:
        raise InputError(f"nothing to train: freeze {list(freeze)} covers all that train {list(train)} matches")
    parts = ({path: x for path, x in flat.items() if (path in chosen) == is_trained} for is_trained in (True, False))
    trained, frozen = (traverse_util.unflatten_dict(part, sep="/") for part in parts)
    return trained, frozen


def combine(trained: Params, frozen: Params) -> Params:
    """The one tree that `partition` made two of."""
    flat = [traverse_util.flatten_dict(part, sep="/") for part in (trained, frozen)]
    return traverse_util.unflatten_dict(flat[0] | flat[1], sep="/")


def lora_init(
    key: jax.Array, params: Params, *, rank: int, patterns: Sequence[str] = QUERIES_AND_VALUES
) -> dict[str, dict[str, jax.Array]]:
    """Low-rank updates of some matrices, all zero at first (Hu et al. 2021, arXiv 2106.09685).

    A matrix W [in, out] is used as W + alpha / rank * down up. `down` is normal with standard deviation
    1 / sqrt(in), `up` is zero.

    Args:
      params: of the encoder; they stay as they are.
      rank: of the updates.
      patterns: which matrices are updated.

    Returns:
      {path of the matrix: {"down": f32 [in, rank], "up": f32 [rank, out]}}.

    Raises:
      InputError: a pattern matches nothing, or what is no matrix; or the rank is no rank of such a matrix.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    updates = {}
    for number, path in enumerate(sorted(_matching(flat, patterns))):
        shape = flat[path].shape
        if len(shape) != 2:
            raise InputError(f"{path} has the shape {list(shape)}: LoRA is for matrices, choose kernels of projections")
        if not 1 <= rank <= min(shape):
            raise InputError(f"rank {rank} is no rank of {path}: choose 1 to {min(shape)}")
        down = jax.random.normal(jax.random.fold_in(key, number), (shape[0], rank)) / jnp.sqrt(shape[0])
        updates[path] = {"down": down, "up": jnp.zeros((rank, shape[1]))}
    return updates


def lora_merge(params: Params, low_rank: dict[str, dict[str, jax.Array]], *, alpha: float) -> Params:
    """Parameters with W + alpha / rank * down up in place of W: for training inside the loss, or once, to keep.

    The sum is taken in float32 and has the type of W.
    """
    flat = dict(traverse_util.flatten_dict(params, sep="/"))
    for path, update in low_rank.items():
        scale = alpha / update["up"].shape[0]
        flat[path] = (flat[path] + scale * (update["down"] @ update["up"])).astype(flat[path].dtype)
    return traverse_util.unflatten_dict(flat, sep="/")


def _matching(flat: dict[str, Any], patterns: Sequence[str]) -> set[str]:
    matches: set[str] = set()
    for pattern in patterns:
        paths = {path for path in flat if re.fullmatch(pattern, path)}
        if not paths:
            raise InputError(f"pattern {pattern!r} matches no parameter: there are {', '.join(sorted(flat)[:3])}, ...")
        matches |= paths
    return matches

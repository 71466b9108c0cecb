"""What replicas take in memory: an estimate made before anything is compiled, and the memory there is."""

import os
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import PyTree

from mmpsy_jax.io import InputError
from mmpsy_jax.modality import Modality


def bytes_of(tree: PyTree) -> int:
    """Bytes of the arrays of a tree (or of its shapes)."""
    return sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


def widest(parameters: PyTree) -> int:
    """Numbers that the widest layer of a network gives: its width, where it has no argument of that name."""
    return max((x.shape[-1] for x in jax.tree.leaves(parameters) if len(x.shape) > 1), default=1)


def estimate(state: PyTree, batch: PyTree, modalities: Sequence[Modality], width: int, patch: int) -> tuple[int, int]:
    """Bytes of a replica that waits, and of a step of one replica while it runs, from shapes.

    A waiting replica holds its state, the next one while a chunk runs, and its best parameters. A step holds gradients
    and updates (as large as the parameters each), the batch in float32, and eight float32 activations per token and
    unit of width, forward and backward (a rule of thumb; `replicas.py` logs what XLA reports beside it).
    """
    parameters = bytes_of(state["params"])
    values = {m.name: int(np.prod(batch[m.name].shape)) for m in modalities}
    tokens = 0
    for m in modalities:
        windows = values[m.name] // int(np.prod(m.shape))
        each = m.shape[0] // patch if m.kind == "frames" else m.shape[0]
        tokens += windows * each * (m.shape[1] if m.kind == "ids" else 1)  # every n-gram id becomes a vector
    step = 2 * parameters + 4 * sum(values.values()) + 8 * 4 * width * tokens
    return 2 * bytes_of(state) + parameters, step


def fitting(corpus: int, replica: int, step: int, budget: int, layout: str, at_once: int = 1) -> int:
    """Replicas that fit into `budget` bytes under a layout (`auto` may come to `vmap`).

    Args:
      corpus: bytes of the corpus, which is there once.
      replica, step: from `estimate`.
      budget: bytes.
      layout: `config.replicas.layout`.
      at_once: replicas that run beside each other where not all do.

    Raises:
      InputError: not even one.
    """
    stepping = step if layout in ("vmap", "auto") else 0
    left = budget - corpus - (0 if stepping else at_once * step)
    fit = left // (replica + stepping)
    if fit < 1:
        raise InputError(
            f"config.replicas.memory_gb: the corpus takes {corpus / 2**30:.2f} GB and one replica "
            f"{(replica + step) / 2**30:.2f} GB of the {budget / 2**30:.2f} GB at hand: take a smaller "
            "batch or model, or --config.replicas.layout=off, which may stream the corpus"
        )
    return int(fit)


def budget(gigabytes: float) -> int:
    """Bytes that replicas may take: as given, or 0.9 of a device's memory, or half of what the host has free."""
    if gigabytes:
        return int(gigabytes * 2**30)
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(0.9 * stats["bytes_limit"])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

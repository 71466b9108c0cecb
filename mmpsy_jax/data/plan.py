"""Which participants meet in which batch, as pure functions of counts, seed and epoch.

Batches have static shapes so that each is compiled once: the windows of a participant are padded to one of a few bucket
sizes, and a batch holds one bucket. The plan of an epoch is that of the whole (global) batch; a process takes its
contiguous rows of every batch. It therefore does not depend on how many processes there are, every participant is seen
exactly once per epoch, and one or two processes give the same losses.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from mmpsy_jax.errors import InputError

MOST_BUCKETS = 6
_LIMIT_BUCKETS = 12  # each is a compilation of every step, and `_remainders` tries all subsets


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedBatch:
    """One global batch.

    Attributes:
      members: position of the participant in the corpus per row, -1 for a padding row (those come last).
      windows: the bucket size W.
    """

    members: Int32[np.ndarray, " b"]
    windows: int


def bucket_sizes(
    n_windows: Int[np.ndarray, " n"], limit: int | None = None, *, most: int = MOST_BUCKETS, spare: float = 0.05
) -> tuple[int, ...]:
    """Few bucket sizes that keep the padding low.

    For every number of buckets up to `most` the sizes that pad least are found exactly (dynamic programming over the
    distinct counts); taken is the smallest number that pads at most the share `spare` more than `most` buckets would.
    Each bucket costs a compilation of every step function, which is why a few percent of padding are given for fewer.

    Args:
      n_windows: of every participant, each at least 1.
      limit: windows beyond this many are cut off; None for no limit.
      most: the largest number of buckets.
      spare: see above.

    Returns:
      Ascending sizes; the last one is the largest count (after `limit`).
    """
    counts = _counts(n_windows, limit)
    if most < 1:
        raise InputError(f"buckets: at most {most} wanted, at least 1 is needed")
    sizes, people = np.unique(counts, return_counts=True)
    # cost[j, i]: slots of participants j..i-1 (by distinct size) when all are padded to sizes[i - 1].
    below = np.concatenate([[0], np.cumsum(people)])
    n = len(sizes)
    best = np.full((min(most, n) + 1, n + 1), np.inf)
    best[0, 0] = 0
    origin = np.zeros(best.shape, int)
    for k, i in itertools.product(range(1, len(best)), range(1, n + 1)):
        slots = best[k - 1, :i] + (below[i] - below[:i]) * sizes[i - 1]
        origin[k, i] = int(np.argmin(slots))
        best[k, i] = slots[origin[k, i]]
    share = 1 - counts.sum() / best[1:, n]
    k = 1 + int(np.flatnonzero(share <= share[-1] + spare)[0])
    chosen, i = [], n
    while k:
        chosen.append(int(sizes[i - 1]))
        k, i = k - 1, origin[k, i]
    return tuple(reversed(chosen))


def epoch_plan(
    n_windows: Int[np.ndarray, " n"],
    members: Int[np.ndarray, " m"],
    *,
    batch_size: int,
    buckets: Sequence[int],
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
) -> list[PlannedBatch]:
    """All batches of one epoch: every member exactly once, rest rows padded, nothing dropped.

    A bucket's remainder either fills up the batches of the next bigger bucket or becomes a partial batch of its own,
    whichever needs fewer window slots over the whole epoch (see `_remainders`). That choice depends on counts only, so
    that every epoch has the same number of batches of each shape.

    Args:
      n_windows: of every participant of the corpus.
      members: positions of the participants to use.
      batch_size: rows B of the global batch.
      buckets: ascending sizes; who has more windows than the last one is put there and cut.
      seed, epoch: determine the order together with `members`.
      shuffle: False keeps the order of `members` inside each bucket, and the buckets ascending.

    Raises:
      InputError: no members, a member twice or not in the corpus, a batch size below 1, unusable buckets.
    """
    if seed < 0 or epoch < 0:
        raise InputError(f"seed {seed} and epoch {epoch} must not be negative")
    groups = _groups(n_windows, members, batch_size, buckets)
    rng = np.random.default_rng([seed, epoch])
    if shuffle:
        groups = [rng.permutation(group) for group in groups]
    batches: list[PlannedBatch] = []
    carried = np.zeros(0, np.int32)
    emits = _remainders([len(group) for group in groups], batch_size, buckets)
    for group, windows, emit in zip(groups, buckets, emits, strict=True):
        # The carried ones go first: behind the others they would be carried, and padded, further.
        group = np.concatenate([carried, group])
        full = len(group) if emit else len(group) // batch_size * batch_size
        carried = group[full:]
        for start in range(0, full, batch_size):
            rows = np.full(batch_size, -1, np.int32)
            part = group[start : min(start + batch_size, full)]
            rows[: len(part)] = part
            batches.append(PlannedBatch(rows, int(windows)))
    return [batches[i] for i in rng.permutation(len(batches))] if shuffle else batches


def rows_of_process(batch_size: int, process_index: int, process_count: int) -> slice:
    """The contiguous rows of a global batch that one process reads.

    Raises:
      InputError: the batch cannot be divided.
    """
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index {process_index} must be between 0 and process_count - 1 ({process_count - 1})")
    if batch_size % process_count:
        raise InputError(
            f"batch_size {batch_size} is not divisible by the {process_count} processes: choose a multiple of "
            f"{process_count}"
        )
    rows = batch_size // process_count
    return slice(process_index * rows, (process_index + 1) * rows)


def padding_report(
    plan: Sequence[PlannedBatch],
    n_windows: Int[np.ndarray, " n"],
    tokens: Mapping[str, tuple[Int[np.ndarray, " n"], int]] | None = None,
) -> dict[str, Any]:
    """How much of the batches of an epoch is padding.

    Args:
      plan: of one epoch.
      n_windows: of every participant of the corpus.
      tokens: per modality, the valid frames or tokens of every participant, and how many fit into one window.

    Returns:
      `batches`, `partial_batches`, `buckets` {W: batches}, and shares between 0 and 1 of what is computed in vain:
      `rows`, `windows` (rows and windows), `tokens` {modality: share} (everything).
    """
    members = np.concatenate([batch.members[batch.members >= 0] for batch in plan])
    rows = sum(len(batch.members) for batch in plan)
    slots = sum(len(batch.members) * batch.windows for batch in plan)
    kept = sum(int(np.minimum(n_windows[b.members[b.members >= 0]], b.windows).sum()) for b in plan)
    buckets = sorted({batch.windows for batch in plan})
    return {
        "batches": len(plan),
        "partial_batches": sum(bool((batch.members < 0).any()) for batch in plan),
        "buckets": {size: sum(batch.windows == size for batch in plan) for size in buckets},
        "rows": 1 - len(members) / rows,
        "windows": 1 - kept / slots,
        "tokens": {
            name: 1 - float(valid[members].sum()) / (slots * per_window)
            for name, (valid, per_window) in (tokens or {}).items()
        },
    }


def _counts(n_windows: Int[np.ndarray, " n"], limit: int | None) -> Int[np.ndarray, " n"]:
    counts = np.asarray(n_windows)
    if counts.size == 0 or counts.min() < 1:
        raise InputError("window counts: there must be at least one participant, each with at least one window")
    if limit is not None and limit < 1:
        raise InputError(f"max_windows {limit} must be at least 1, or None for no limit")
    return counts if limit is None else np.minimum(counts, limit)


def _groups(
    n_windows: Int[np.ndarray, " n"], members: Int[np.ndarray, " m"], batch_size: int, buckets: Sequence[int]
) -> list[Int32[np.ndarray, " g"]]:
    """Members by bucket, in the order given."""
    members = np.asarray(members, np.int32)
    if members.ndim != 1 or not members.size:
        raise InputError("members: there is nobody to make batches of: check the split or the fold")
    if members.min() < 0 or members.max() >= len(n_windows):
        raise InputError(f"members: positions must lie between 0 and {len(n_windows) - 1}")
    if len(np.unique(members)) != len(members):
        raise InputError("members: a participant is listed twice; every participant is used once per epoch")
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size} must be at least 1")
    if not buckets or buckets[0] < 1 or any(a >= b for a, b in itertools.pairwise(buckets)):
        raise InputError(f"buckets {tuple(buckets)} must be positive and ascending, at least one")
    if len(buckets) > _LIMIT_BUCKETS:
        raise InputError(f"{len(buckets)} buckets, at most {_LIMIT_BUCKETS} are allowed: give fewer window sizes")
    counts = _counts(n_windows[members], buckets[-1])
    which = np.searchsorted(buckets, counts)
    return [members[which == b] for b in range(len(buckets))]


def _remainders(counts: Sequence[int], batch_size: int, buckets: Sequence[int]) -> tuple[bool, ...]:
    """Per bucket, whether its remainder becomes a partial batch (True) or moves into the next bigger bucket (False).

    All choices are tried: fewest window slots first, then fewest batches. The last bucket always emits.
    """

    def cost(emits: tuple[bool, ...]) -> tuple[int, int]:
        slots = batches = carried = 0
        for count, windows, emit in zip(counts, buckets, emits, strict=True):
            pool = carried + count
            made = -(-pool // batch_size) if emit else pool // batch_size
            carried = 0 if emit else pool - made * batch_size
            slots, batches = slots + made * batch_size * windows, batches + made
        return slots, batches

    choices = itertools.product((False, True), repeat=len(counts) - 1)
    return min(((*choice, True) for choice in choices), key=cost)

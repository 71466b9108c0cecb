"""Which participants meet in which batch, as pure functions of counts, seed and epoch.

Batches have one static shape: G packs of B participants, whose pieces (windows, or equal parts of them, `pieces.py`)
lie one behind the other in S_m slots of each modality m. A plan fills the packs so that the pieces of every modality
fit and few slots stay empty. It is that of the whole (global) batch; a process takes its packs of every batch. It
therefore does not depend on how many processes there are, every participant is seen exactly once per epoch, and one or
two processes give the same losses.

Counts of pieces and numbers of slots are dictionaries by modality. Who lacks a modality has zero pieces of it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int32

from mmpsy_jax.io import InputError

# Tried in turn until the pieces fit; without noise they do, by the choice of the number of batches.
JITTERS = (0.3, 0.15, 0.07, 0.0)


def window_slots(
    counts: Mapping[str, Int[np.ndarray, " n"]], batch_size: int, packs: int, *, spare: float = 0.02
) -> dict[str, int]:
    """Slots S_m of a pack: the pieces of `batch_size / packs` average participants, but at least of the longest.

    Args:
      counts: pieces of every participant of the corpus, by modality.
      batch_size, packs: participants and packs of the global batch.
      spare: share of slots on top of the average, without which hardly any assignment would fit.
    """
    rows = _rows(batch_size, packs)
    return {name: max(1, int(n.max()), math.ceil((1 + spare) * rows * n.mean())) for name, n in counts.items()}


def batches_needed(
    counts: Mapping[str, Int[np.ndarray, " n"]],
    members: Int[np.ndarray, " m"],
    *,
    batch_size: int,
    packs: int,
    slots: Mapping[str, int],
    batches: int | None = None,
) -> int:
    """Batches per epoch: the smallest number, at least `batches`, in which rows and slots suffice.

    It depends on counts only, so that it is the same in every epoch and for every seed. Beyond 200 batches the search
    goes in steps of a hundredth. Arguments and errors: `epoch_plan`.
    """
    table, sizes = _table(counts, slots)
    table = table[check_members(len(table), members)]
    rows = _rows(batch_size, packs)
    if batches is not None and batches < 1:
        raise InputError(f"batches {batches} must be at least 1, or None for as few as possible")
    for name, longest in zip(slots, table.max(axis=0).tolist(), strict=True):
        if longest > slots[name]:
            raise InputError(
                f"slots {slots[name]} of {name}: a participant has {longest} pieces, a pack must hold the longest "
                f"one: give at least {longest} slots, or lower max_windows"
            )
    table = table[_order(table, sizes)]
    fewest = max(-(-len(table) // (rows * packs)), *-(-table.sum(axis=0) // (sizes * packs)), batches or 1)
    # Ends at the latest when everybody has a pack of their own.
    while (_deal(table, fewest * packs, rows, sizes)[1] > sizes).any():
        fewest += max(1, fewest // 100)
    return int(fewest)


def epoch_plan(
    counts: Mapping[str, Int[np.ndarray, " n"]],
    members: Int[np.ndarray, " m"],
    *,
    batch_size: int,
    packs: int,
    slots: Mapping[str, int],
    batches: int | None = None,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
) -> Int32[np.ndarray, "n g b"]:
    """All batches of one epoch: every member exactly once, the pieces of a pack within its slots of each modality.

    The members are ordered by their pieces (with `shuffle`: by pieces times noise, so that other participants meet in
    every epoch) and dealt to all packs of the epoch, see `_order` and `_deal`. No batch stays without anybody unless
    there are more batches than members.

    Args:
      counts: pieces of every participant of the corpus, by modality (`pieces.cut`).
      members: positions of the participants to use.
      batch_size: participants G * B of the global batch.
      packs: G.
      slots: pieces S_m that fit into a pack, by modality.
      batches: at least so many, for instance those of another fold; by default as few as possible.
      seed, epoch: determine the order together with `members`.
      shuffle: False always gives the same plan; inside a pack the order of `members` is kept.

    Returns:
      position of the participant in the corpus per batch, pack and row; -1 for a padding row (last in its pack).

    Raises:
      InputError: no members, a member twice or not in the corpus, a batch size that is not a multiple of the packs, a
        member with more pieces than slots, a negative seed.
    """
    if seed < 0 or epoch < 0:
        raise InputError(f"seed {seed} and epoch {epoch} must not be negative")
    sizes = {"batch_size": batch_size, "packs": packs, "slots": slots}
    n_batches = batches_needed(counts, members, **sizes, batches=batches)
    members, bins, rows = np.asarray(members, np.int32), n_batches * packs, batch_size // packs
    rng = np.random.default_rng([seed, epoch])
    if shuffle:
        members = rng.permutation(members)
    table, capacity = _table(counts, slots)
    table = table[members]
    for jitter in JITTERS if shuffle else (0.0,):
        order = _order(table, capacity, 1 + rng.uniform(-jitter, jitter, len(table)))
        bin_of, sums = _deal(table[order], bins, rows, capacity)
        if (sums <= capacity).all():
            break
    nobody = len(members)
    # Members by bin, each bin's from its first row on.
    by_bin = np.argsort(bin_of, kind="stable")
    filled = np.bincount(bin_of, minlength=bins)
    places = np.full((bins, rows), nobody, np.int32)
    places[np.arange(rows) < filled[:, None]] = order[by_bin]
    places.sort(axis=1)  # the order of `members`, which is random with `shuffle`; nobody last
    arranged = rng.permutation(bins) if shuffle else np.arange(bins)
    # The fuller packs first, dealt over the batches: no batch stays empty while there is somebody for it.
    arranged = arranged[np.argsort(-filled[arranged], kind="stable")]
    planned = np.append(members, np.int32(-1))[places[arranged]]
    return planned.reshape(packs, n_batches, -1).swapaxes(0, 1)


def poisson_plan(
    counts: Mapping[str, Int[np.ndarray, " n"]],
    members: Int[np.ndarray, " m"],
    *,
    rate: float,
    batch_size: int,
    packs: int,
    slots: Mapping[str, int],
    batches: int,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
) -> Int32[np.ndarray, "n g 1"]:
    """Batches that draw each member by itself with probability `rate`, a pack for each who is drawn.

    Of more than `batch_size` who are drawn, so many stay, chosen at random.

    Args:
      counts, members, slots, seed, epoch: as `epoch_plan`.
      batch_size, packs: the same number: room for those who are drawn.
      batches: per epoch.
      shuffle: must be True.

    Raises:
      InputError: as `epoch_plan` of members, or packs of several participants.
    """
    members = check_members(len(next(iter(counts.values()))), members)
    if packs != batch_size or not shuffle or set(slots) - set(counts):
        raise InputError(f"batches drawn at random need a pack per participant: {packs} packs for {batch_size} rows")
    rng = np.random.default_rng([seed, epoch])
    planned = np.full((batches, batch_size, 1), -1, np.int32)
    for batch in planned:
        drawn = members[rng.random(len(members)) < rate]
        drawn = rng.permutation(drawn)[:batch_size]
        batch[: len(drawn), 0] = drawn
    return planned


def rows_of_slots(counts: Int[np.ndarray, "*g b"], slots: int) -> Int32[np.ndarray, "*g s"]:
    """Row of the participant in each slot of a pack for one modality, B in unused slots, which are last.

    Args:
      counts: pieces per row, 0 for padding rows and for who lacks the modality.
      slots: S_m.

    Raises:
      InputError: a pack has more pieces than slots.
    """
    ends = np.cumsum(counts, axis=-1)
    if ends.max(initial=0) > slots:
        raise InputError(f"slots {slots}: a pack has {ends.max()} pieces: plan the batches with these slots")
    # The row of a slot is the number of participants that end at or before it.
    flat = ends.reshape(-1, ends.shape[-1])
    marks = np.zeros((len(flat), slots + 1), np.int32)
    np.add.at(marks, (np.arange(len(flat))[:, None], flat), 1)
    return np.cumsum(marks[:, :-1], axis=1, dtype=np.int32).reshape(*ends.shape[:-1], slots)


def packs_of_process(packs: int, process_index: int, process_count: int) -> slice:
    """The contiguous packs of a global batch that one process reads.

    Raises:
      InputError: the packs cannot be divided.
    """
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index {process_index} must be between 0 and process_count - 1 ({process_count - 1})")
    if packs % process_count:
        raise InputError(
            f"packs {packs} is not divisible by the {process_count} processes: choose a multiple of {process_count}"
        )
    share = packs // process_count
    return slice(process_index * share, (process_index + 1) * share)


def padding_report(
    plan: Int32[np.ndarray, "n g b"],
    counts: Mapping[str, Int[np.ndarray, " n"]],
    slots: Mapping[str, int],
    tokens: Mapping[str, tuple[Int[np.ndarray, " n"], int]],
) -> dict[str, Any]:
    """How much of the batches of an epoch is padding.

    Args:
      plan: of one epoch.
      counts: pieces of every participant of the corpus, by modality.
      slots: S_m, by modality.
      tokens: per modality, the valid frames or tokens of every participant, and how many fit into one piece.

    Returns:
      `batches`, and shares between 0 and 1 of what is computed in vain: `rows`, and by modality `slots` (that are
      empty) and `tokens` (everything).
    """
    members = plan[plan >= 0]
    in_slots = {name: plan.shape[0] * plan.shape[1] * n for name, n in slots.items()}
    return {
        "batches": len(plan),
        "rows": 1 - len(members) / plan.size,
        "slots": {name: 1 - int(counts[name][members].sum()) / n for name, n in in_slots.items()},
        "tokens": {
            name: 1 - float(valid[members].sum()) / (in_slots[name] * per_piece)
            for name, (valid, per_piece) in tokens.items()
        },
    }


def limited(counts: Int[np.ndarray, " n"], limit: int | None) -> Int[np.ndarray, " n"]:
    """The counts after cutting off the windows beyond `limit`.

    Raises:
      InputError: nobody, somebody without windows, a limit below 1.
    """
    counts = np.asarray(counts)
    if counts.size == 0 or counts.min() < 1:
        raise InputError("window counts: there must be at least one participant, each with at least one window")
    if limit is not None and limit < 1:
        raise InputError(f"max_windows {limit} must be at least 1, or None for no limit")
    return counts if limit is None else np.minimum(counts, limit)


def check_members(participants: int, members: Int[np.ndarray, " m"]) -> Int32[np.ndarray, " m"]:
    """The members, once it is sure that there are some, each in a corpus of `participants` and listed once.

    Raises:
      InputError: otherwise.
    """
    members = np.asarray(members, np.int32)
    if members.ndim != 1 or not members.size:
        raise InputError("members: there is nobody to make batches of: check the split or the fold")
    if members.min() < 0 or members.max() >= participants:
        raise InputError(f"members: positions must lie between 0 and {participants - 1}")
    if np.bincount(members).max() > 1:
        raise InputError("members: a participant is listed twice; every participant is used once per epoch")
    return members


def _rows(batch_size: int, packs: int) -> int:
    if batch_size < 1 or packs < 1:
        raise InputError(f"batch_size {batch_size} and packs {packs} must be at least 1")
    if batch_size % packs:
        raise InputError(f"batch_size {batch_size} is not divisible by the {packs} packs: choose a multiple")
    return batch_size // packs


def _table(
    counts: Mapping[str, Int[np.ndarray, " n"]], slots: Mapping[str, int]
) -> tuple[Int[np.ndarray, "n k"], Int[np.ndarray, " k"]]:
    """Counts and slots as arrays, with a column for each of the k modalities."""
    return np.stack([counts[name] for name in slots], axis=1).astype(np.int64), np.array(list(slots.values()))


def _order(
    counts: Int[np.ndarray, "m k"], slots: Int[np.ndarray, " k"], noise: Float[np.ndarray, " m"] | float = 1.0
) -> Int[np.ndarray, " m"]:
    """The largest first: by the share of the slots that somebody takes, over modalities, times noise.

    Ties are broken by the counts, so that without noise the ordered counts do not depend on how they came.
    """
    return np.lexsort((*counts.T, -(counts / slots).sum(axis=1) * noise))


def _deal(
    counts: Int[np.ndarray, "m k"], bins: int, rows: int, slots: Int[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, "bins k"]]:
    """Assigns counts, which come roughly descending, to bins of `rows` rows and `slots` slots: a heuristic.

    One round after the other gives somebody to each bin. It looks at the modality in which the bins differ most so far:
    who has most of it goes to the bin that has least. A bin that would overflow if its free rows got average counts (a
    long interview is in it) waits for the small ones.

    Returns:
      The bin of each count, and the sums of the bins; some exceed the slots where the assignment failed.
    """
    rest = np.cumsum(counts[::-1], axis=0)[::-1]
    bin_of, sums, free = np.empty(len(counts), np.int64), np.zeros((bins, len(slots)), np.int64), np.full(bins, rows)
    start = 0
    while start < len(counts):
        per_row = rest[start] / free.sum()
        fits = (free > 0) & (sums + free[:, None] * per_row <= slots).all(axis=1)
        takes = np.flatnonzero(fits if fits.any() else free)
        block, filled = counts[start : start + len(takes)], sums[takes]
        most = np.argmax((filled.max(axis=0) - filled.min(axis=0)) / slots)
        # Equal ones by the share of the slots of all modalities.
        largest = np.lexsort(((block / slots).sum(axis=1), block[:, most]))[::-1]
        emptiest = takes[np.lexsort(((filled / slots).sum(axis=1), filled[:, most]))[: len(block)]]
        bin_of[start + largest] = emptiest
        sums[emptiest] += block[largest]
        free[emptiest] -= 1
        start += len(block)
    return bin_of, sums

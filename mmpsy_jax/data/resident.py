"""All pieces of windows of some participants in memory, and the pure function that makes batches of them.

`gather` runs in numpy, in a jitted step, or in a scan over the plans of whole epochs: what changes from batch to batch
is a plan of a few small integers.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int, Int32

from mmpsy_jax.data.assemble import Batch
from mmpsy_jax.data.pieces import cut
from mmpsy_jax.data.plan import check_members, rows_of_slots
from mmpsy_jax.data.records import Corpus, choose
from mmpsy_jax.errors import InputError, one_of

Arrays = dict[str, Any]


class Resident:
    """The pieces of M participants in ragged arrays, read once, for every loader and fold that uses them.

    Args:
      corpus: of N participants.
      members: positions of those to hold.
      modalities, labels: names; all by default.
      max_windows: keep the first so many windows of a participant only.
      parts: that each window is cut into; pieces in which none of the modalities has anything are left out.

    Attributes:
      arrays: a pytree of numpy arrays, P pieces in all:
        `values` {modality: [pieces that have it + 1, T / parts, F]}, time-major, the last one zero for every piece of
        length 0, so that a modality takes no memory where it has nothing;
        `at` {modality: i32 [P + 1]}, the row of `values` of each piece;
        `length` {modality: i32 [P + 1]}, `window_start_s` f32 [P + 1]: 0 for piece P, which stands for an unused slot;
        `labels` {name: f32 [N + 1]}, the last one NaN.
      pieces: of the whole corpus.
      counts: pieces of each participant, i32 [N].

    Raises:
      InputError: an unknown name, members that are not in the corpus or listed twice, a limit below 1, parts that do
        not divide a window, a damaged shard.
    """

    def __init__(
        self,
        corpus: Corpus,
        members: Int[np.ndarray, " m"],
        *,
        modalities: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        max_windows: int | None = None,
        parts: int = 1,
    ):
        members = check_members(corpus.n_windows, members)
        self.pieces = pieces = cut(corpus, modalities, parts, max_windows)
        self.counts = pieces.counts
        counts = self.counts[members]
        self._total = int(counts.sum())
        self._first = np.full(len(corpus), self._total, np.int32)
        self._first[members] = np.cumsum(counts) - counts
        self._on_device: dict[NamedSharding, Arrays] = {}
        own = np.arange(self._total) + np.repeat(pieces.first[members] - self._first[members], counts)
        labels = choose("label", labels, corpus.labels)
        self.arrays: Arrays = {
            "values": {},
            "at": {},
            "length": {name: np.append(length[own], np.int32(0)) for name, length in pieces.length.items()},
            "window_start_s": np.zeros(self._total + 1, np.float32),
            "labels": {name: np.append(corpus.labels[name], np.float32(np.nan)) for name in labels},
        }
        for name, modality in pieces.modalities.items():
            has = self.arrays["length"][name] > 0
            self.arrays["at"][name] = np.where(has, np.cumsum(has) - 1, has.sum()).astype(np.int32)
            others = np.delete(modality.shape, modality.time_axis)
            self.arrays["values"][name] = np.zeros((int(has.sum()) + 1, pieces.steps(name), *others), modality.dtype)
        self._fill(corpus, members)

    def _fill(self, corpus: Corpus, members: Int32[np.ndarray, " m"]) -> None:
        arrays, pieces = self.arrays, self.pieces
        for member in members.tolist():
            own = slice(self._first[member], self._first[member] + self.counts[member])
            present = [name for name, length in arrays["length"].items() if length[own].any()]
            record = corpus.reader.read(member, ["window_start_s", *present])
            arrays["window_start_s"][own] = pieces.starts(member, record["window_start_s"])
            for name in present:
                time_major = np.moveaxis(pieces.split(name, record[name]), 2 + pieces.modalities[name].time_axis, 2)
                pieces.copy(member, name, time_major, arrays["values"][name], arrays["at"][name][own])

    @property
    def nbytes(self) -> int:
        """Bytes of one copy of the arrays."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.arrays))

    def check(self, members: Int[np.ndarray, " m"]) -> None:
        """Raises InputError where the pieces of somebody are not in memory."""
        if (self._first[members] == self._total).any():
            raise InputError("members: the windows of some are not in memory: name them when making the Resident")

    def plan_arrays(self, members: Int32[np.ndarray, "*n b"], slots: int) -> dict[str, Int32[np.ndarray, "..."]]:
        """What `gather` takes, for groups of members under any leading axes ([G, B], or [batches, G, B] for an epoch).

        Args:
          members: positions in the corpus, -1 for padding rows (last in their group).
          slots: S.

        Returns:
          `piece` i32 [*n, S], `row` i32 [*n, S], `index` i32 [*n, B].

        Raises:
          InputError: a member that is not in memory, or a group with more pieces than slots.
        """
        valid = members >= 0
        self.check(members[valid])
        counts = np.where(valid, self.counts[members], 0)
        row = rows_of_slots(counts, slots)
        # From slots of the group to pieces in memory; one more entry for the row B of unused slots.
        offset = self._first[members] - (np.cumsum(counts, axis=-1) - counts)
        offset = np.append(offset, np.zeros((*offset.shape[:-1], 1), offset.dtype), axis=-1)
        piece = np.take_along_axis(offset, row, axis=-1) + np.arange(slots)
        piece[row == members.shape[-1]] = self._total
        return {"piece": piece.astype(np.int32), "row": row, "index": members.astype(np.int32)}

    def on_device(self, sharding: NamedSharding) -> Arrays:
        """`arrays` as jax arrays, whole on every device of the sharding's mesh; transferred once per mesh."""
        replicated = NamedSharding(sharding.mesh, PartitionSpec())
        if replicated not in self._on_device:
            self._on_device[replicated] = jax.tree.map(lambda leaf: put(leaf, replicated, leaf.shape), self.arrays)
        return self._on_device[replicated]


def gather(arrays: Arrays, plan: dict[str, Any], xp: ModuleType = jnp) -> Batch:
    """The batch (docs/architecture.md, "A batch") of a plan: pure, and traceable with `xp=jnp`.

    Args:
      arrays: `Resident.arrays`, or `select` of them.
      plan: from `Resident.plan_arrays`; the leading axes of its leaves become those of the batch.
      xp: numpy for numpy arrays, jax.numpy for jax arrays.
    """

    def take(values: Any, at: Any) -> Any:
        # In range by construction. "clip" spares numpy a buffer and jax a fill value.
        return xp.take(values, at, axis=0, mode="clip")

    piece, index = plan["piece"], plan["index"]
    batch = {"row": plan["row"], "index": index, "valid": index >= 0}
    batch["labels"] = {
        name: take(scores, xp.where(index < 0, len(scores) - 1, index)) for name, scores in arrays["labels"].items()
    }
    batch["window_start_s"] = take(arrays["window_start_s"], piece)
    for name, values in arrays["values"].items():
        batch[f"{name}_length"] = take(arrays["length"][name], piece)
        batch[name] = take(values, take(arrays["at"][name], piece))
    return batch


def select(arrays: Arrays, modalities: Sequence[str], labels: Sequence[str]) -> Arrays:
    """The arrays of some modalities and labels, not copied.

    Raises:
      InputError: one of them is not in memory.
    """
    wanted = {"values": modalities, "at": modalities, "length": modalities, "labels": labels}
    for kind, names in wanted.items():
        for name in names:
            if name not in arrays[kind]:
                raise one_of("modality or label in memory", name, [*arrays["values"], *arrays["labels"]])
    return {**arrays, **{kind: {name: arrays[kind][name] for name in names} for kind, names in wanted.items()}}


def put(value: np.ndarray, sharding: NamedSharding, shape: tuple[int, ...]) -> jax.Array:
    """An explicit transfer of this process's part of an array that has `shape` over all processes."""
    if jax.process_count() == 1:
        return jax.device_put(value, sharding)
    with jax.transfer_guard("allow"):  # JAX takes this call for an implicit transfer
        return jax.make_array_from_process_local_data(sharding, value, shape)

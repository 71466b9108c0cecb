"""All pieces of windows of some participants in memory, and the pure function that makes batches of them.

`gather` runs in numpy, in a jitted step, or in a scan over the plans of whole epochs: what changes from batch to batch
is a plan of a few small integers.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int, Int32

from mmpsy_jax.data.assemble import Batch
from mmpsy_jax.data.pieces import Pieces, cut
from mmpsy_jax.data.plan import check_members, rows_of_slots
from mmpsy_jax.data.records import Corpus, choose
from mmpsy_jax.io import InputError, one_of

Arrays = dict[str, Any]


class Resident:
    """The pieces of M participants in ragged arrays, read once, for every loader and fold that uses them.

    Args:
      corpus: of N participants.
      members: positions of those to hold.
      modalities, labels: names; all by default.
      max_windows: keep the first so many windows of a participant only.
      parts: that each window is cut into.

    Attributes:
      arrays: a pytree of numpy arrays, by modality with P_m pieces in all:
        `values` {modality: [P_m + 1, T / parts, F]}, time-major, `length` {modality: i32 [P_m + 1]},
        `start_s` {modality: f32 [P_m + 1]}: 0 for piece P_m, which stands for an unused slot;
        `labels` {name: f32 [N + 1]}, the last one NaN.
      pieces: of the whole corpus.

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
        members = check_members(len(corpus), members)
        self.pieces = pieces = cut(corpus, modalities, parts, max_windows)
        self._held = np.zeros(len(corpus), bool)
        self._held[members] = True
        # By modality: where the pieces of those who are held begin, and how many there are.
        self._first: dict[str, Int32[np.ndarray, " n"]] = {}
        self._total: dict[str, int] = {}
        self._on_device: dict[NamedSharding, Arrays] = {}
        labels = choose("label", labels, corpus.labels)
        self.arrays: Arrays = {
            **{name: {} for name in ("values", "length", "start_s")},
            "labels": {name: np.append(corpus.labels[name], np.float32(np.nan)) for name in labels},
        }
        for name, modality in pieces.modalities.items():
            counts = pieces.counts[name][members]
            total = int(counts.sum())
            first = np.zeros(len(corpus), np.int32)
            first[members] = np.cumsum(counts) - counts
            places = np.arange(total) + np.repeat(pieces.first[name][members] - first[members], counts)
            others = np.delete(modality.shape, modality.time_axis)
            self._first[name], self._total[name] = first, total
            self.arrays["values"][name] = np.zeros((total + 1, pieces.steps(name), *others), modality.dtype)
            self.arrays["length"][name] = np.append(pieces.length[name][places], np.int32(0))
            self.arrays["start_s"][name] = np.zeros(total + 1, np.float32)
        self._fill(corpus, members)

    def _fill(self, corpus: Corpus, members: Int32[np.ndarray, " m"]) -> None:
        pieces = self.pieces
        for member in members.tolist():
            present = [name for name in pieces.modalities if pieces.counts[name][member]]
            record = corpus.reader.read(member, ["window_start_s", *present])
            for name in present:
                places = slice(self._first[name][member], self._first[name][member] + pieces.counts[name][member])
                self.arrays["start_s"][name][places] = pieces.starts(name, member, record["window_start_s"])
                time_major = np.moveaxis(pieces.split(name, record[name]), 2 + pieces.modalities[name].time_axis, 2)
                pieces.copy(name, member, time_major, self.arrays["values"][name][places])

    @property
    def nbytes(self) -> int:
        """Bytes of one copy of the arrays."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.arrays))

    def check(self, members: Int[np.ndarray, " m"]) -> None:
        """Raises InputError where the pieces of somebody are not in memory."""
        if not self._held[members].all():
            raise InputError("members: the windows of some are not in memory: name them when making the Resident")

    def plan_arrays(self, members: Int32[np.ndarray, "*n b"], slots: Mapping[str, int]) -> dict[str, Any]:
        """What `gather` takes, for packs of members under any leading axes ([G, B], or [batches, G, B] for an epoch).

        Args:
          members: positions in the corpus, -1 for padding rows (last in their pack).
          slots: S_m, by modality.

        Returns:
          `piece` {modality: i32 [*n, S_m]}, `row` {modality: i32 [*n, S_m]}, `index` i32 [*n, B].

        Raises:
          InputError: a member that is not in memory, or a pack with more pieces than slots.
        """
        valid = members >= 0
        self.check(members[valid])
        plan: dict[str, Any] = {"piece": {}, "row": {}, "index": members.astype(np.int32)}
        for name, n in slots.items():
            counts = np.where(valid, self.pieces.counts[name][members], 0)
            plan["row"][name] = row = rows_of_slots(counts, n)
            # From slots of the pack to pieces in memory; one more entry for the row B of unused slots.
            offset = self._first[name][members] - (np.cumsum(counts, axis=-1) - counts)
            offset = np.append(offset, np.zeros((*offset.shape[:-1], 1), offset.dtype), axis=-1)
            piece = np.take_along_axis(offset, row, axis=-1) + np.arange(n)
            piece[row == members.shape[-1]] = self._total[name]
            plan["piece"][name] = piece.astype(np.int32)
        return plan

    def on_device(self, sharding: NamedSharding) -> Arrays:
        """`arrays` as jax arrays, whole on every device of the sharding's mesh; transferred once per mesh."""
        replicated = NamedSharding(sharding.mesh, PartitionSpec())
        if replicated not in self._on_device:
            self._on_device[replicated] = jax.tree.map(lambda leaf: put(leaf, replicated, leaf.shape), self.arrays)
        return self._on_device[replicated]


def shapes_of(pieces: Pieces, members: Int[np.ndarray, " m"], labels: Iterable[str]) -> Arrays:
    """Shapes and types of `Resident.arrays`, without reading anything."""
    spec = jax.ShapeDtypeStruct
    totals = {name: int(pieces.counts[name][members].sum()) + 1 for name in pieces.modalities}
    shapes = {name: modality.piece(pieces.parts).shape for name, modality in pieces.modalities.items()}
    return {
        "values": {m: spec((n, *shapes[m]), pieces.modalities[m].dtype) for m, n in totals.items()},
        "length": {m: spec((n,), np.int32) for m, n in totals.items()},
        "start_s": {m: spec((n,), np.float32) for m, n in totals.items()},
        "labels": {name: spec((len(pieces.counts[next(iter(totals))]) + 1,), np.float32) for name in labels},
    }


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

    index = plan["index"]
    batch = {"index": index, "valid": index >= 0}
    batch["labels"] = {
        name: take(scores, xp.where(index < 0, len(scores) - 1, index)) for name, scores in arrays["labels"].items()
    }
    for name, values in arrays["values"].items():
        piece = plan["piece"][name]
        batch[name] = take(values, piece) if xp is np else widen(take(values, piece))
        batch[f"{name}_length"] = take(arrays["length"][name], piece)
        batch[f"{name}_start_s"] = take(arrays["start_s"][name], piece)
        batch[f"{name}_row"] = plan["row"][name]
    return batch


def widen(values: jax.Array) -> jax.Array:
    """Float16 as float32 on CPUs, which convert while they gather at no cost, but not in the middle of a step."""
    narrow = values.dtype == jnp.float16 and jax.default_backend() == "cpu"
    return values.astype(jnp.float32) if narrow else values


def select(arrays: Arrays, modalities: Sequence[str], labels: Sequence[str]) -> Arrays:
    """The arrays of some modalities and labels, not copied.

    Raises:
      InputError: one of them is not in memory.
    """
    chosen = {**dict.fromkeys(("values", "length", "start_s"), modalities), "labels": labels}
    for kind, names in chosen.items():
        for name in names:
            if name not in arrays[kind]:
                raise one_of("modality or label in memory", name, [*arrays["values"], *arrays["labels"]])
    return {kind: {name: arrays[kind][name] for name in names} for kind, names in chosen.items()}


def put(value: np.ndarray, sharding: NamedSharding, shape: tuple[int, ...]) -> jax.Array:
    """An explicit transfer of this process's part of an array that has `shape` over all processes."""
    if jax.process_count() == 1:
        return jax.device_put(value, sharding)
    with jax.transfer_guard("allow"):  # JAX takes this call for an implicit transfer
        return jax.make_array_from_process_local_data(sharding, value, shape)

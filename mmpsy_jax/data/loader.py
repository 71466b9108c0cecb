"""Batches for training and evaluation: one iterator over three places where the windows can live.

| placement | the windows live in | a batch is made by |
|---|---|---|
| `device` | accelerator memory, replicated over the mesh | a jitted gather from a plan of small integers |
| `host` | host memory | the same gather in numpy, then a transfer |
| `stream` | the records on disk | zero-copy decoding into the batch, then a transfer |

All give equal numbers; on a CPU, the jitted gather gives float16 as float32 (`in_memory.widen`). Reading, gathering and
the transfer run two batches ahead in threads (Grain), so that they overlap with the step that consumes them. Every
transfer is explicit: `jax.transfer_guard("disallow")` may be active.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int, Int32

from mmpsy_jax.data.assemble import Batch, FromRecords, Plans
from mmpsy_jax.data.in_memory import Arrays, Resident, gather, put, select
from mmpsy_jax.data.pieces import Pieces, cut
from mmpsy_jax.data.plan import check_members, packs_of_process, padding_report, window_slots
from mmpsy_jax.data.records import Corpus, choose
from mmpsy_jax.io import InputError, one_of

Placement = Literal["auto", "host", "device", "stream"]
PLACEMENTS: tuple[Placement, ...] = ("auto", "host", "device", "stream")
MEMORY_LIMIT_BYTES = 4 << 30
PREFETCH = 2  # batches; Grain's default of 500 counts batches too and would hold an epoch
ENDLESS = 1 << 40  # batches
_STATE_FORMAT = 4
_log = logging.getLogger(__name__)


class Loader(Iterator[Batch]):
    """An iterator of batches (docs/architecture.md, "A batch") whose position is a small JSON-able state.

    Made by `make_loader`. The state counts the batches handed out, never those prefetched. It may be restored under
    another number of processes, another placement or another mesh, because the plan depends on none of these.

    Attributes:
      placement: "device", "host" or "stream".
      packs, slots: G and, by modality, S_m of every batch.
      batches_per_epoch: the same for every epoch.
    """

    def __init__(
        self, plans: Plans, pieces: Pieces, identity: dict[str, Any], epochs: int | None, *, placement: str,
        make: Callable[[np.ndarray], Batch], arrays: Arrays | None, sharding: NamedSharding | None, share: slice,
        workers: int,
    ):  # fmt: skip
        self._plans, self._pieces, self._identity = plans, pieces, identity
        self._make, self._arrays, self._sharding = make, arrays, sharding
        self._share, self._workers = share, workers
        # Records are streamed as they are: modalities that are not time-major are turned afterwards.
        streamed = pieces.modalities.items() if placement == "stream" else ()
        self._turn = {name: modality.time_axis for name, modality in streamed if modality.time_axis}
        self._stop = ENDLESS if epochs is None else epochs * plans.per_epoch
        self._position = 0
        self._batches: Any = None
        self.placement: str = placement
        self.packs: int = identity["packs"]
        self.slots: dict[str, int] = identity["slots"]
        self.batches_per_epoch = plans.per_epoch

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self._position >= self._stop:
            self._end_run()
            raise StopIteration
        if self._batches is None:
            self._batches = self._run()
        batch = self._finish(next(self._batches))
        self._position += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Where the iterator stands and what it belongs to; JSON-able."""
        return {"format": _STATE_FORMAT, "position": self._position, **self._identity}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues after the batches that had been handed out when `state` was taken.

        Args:
          state: from `state()`, of this loader or one with the same arguments. `{"position": n}` alone is accepted: the
            caller then answers for what it belongs to.

        Raises:
          InputError: the state is of a loader with other members, pieces, batch shape, number of batches, seed or
            shuffling.
        """
        expected = {"format": _STATE_FORMAT, **self._identity}
        for name, value in state.items():
            if name != "position" and value != expected.get(name):
                raise InputError(
                    f"state of the data iterator: {name} is {value!r}, but this run has {expected.get(name)!r}: "
                    "continue with the configuration and the corpus of the checkpoint, or start in a new workdir"
                )
        position = state.get("position")
        if not isinstance(position, int) or not 0 <= position <= self._stop:
            raise InputError(f"state of the data iterator: position {position!r} must be between 0 and {self._stop}")
        self._end_run()
        self._position = position

    def rewind(self) -> None:
        """Starts again with the first batch; the arrays in memory are kept."""
        self._end_run()
        self._position = 0

    def members(self, position: int) -> Int32[np.ndarray, "g b"]:
        """Who is in the batch at `position`: positions in the corpus, -1 for nobody."""
        return self._plans[position]

    def padding_report(self, epoch: int = 0) -> dict[str, Any]:
        """`plan.padding_report` of one epoch."""
        pieces = self._pieces
        tokens = {name: (pieces.valid(name), pieces.steps(name)) for name in pieces.modalities}
        return padding_report(self._plans.epoch(epoch), pieces.counts, self.slots, tokens)

    def close(self) -> None:
        """Stops the prefetching and frees the arrays; the loader cannot be used again."""
        self._end_run()
        self._stop = self._position
        self._make = self._arrays = None

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_run(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _run(self) -> Any:
        """A Grain iterator over the batches that are left."""
        batches = grain.MapDataset.range(self._position, self._stop).map(_Make(self._plans, self._share, self._make))
        streamed = self.placement == "stream"
        # Two threads gain where there is something to wait for; from memory they only compete for the interpreter.
        threads = 2 if streamed and not self._workers else 1
        batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCH))
        if streamed and self._workers:
            batches = batches.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self._workers), worker_init_fn=_quiet_worker
            )
            # Out of shared memory, which Grain frees noisily or not at all where a batch outlives the iterator.
            batches = batches.map(functools.partial(jax.tree.map, np.array))
        if self._sharding is not None:
            # Without `self`: a loader that is let go takes its threads along.
            transfer = functools.partial(_transfer, sharding=_rank(self._sharding), packs=self.packs)
            batches = grain.experimental.ThreadPrefetchIterDataset(batches.map(transfer), prefetch_buffer_size=PREFETCH)
        return iter(batches)

    def _finish(self, batch: Batch) -> Batch:
        """What has to happen in the consumer's thread: dispatching programs.

        The prefetching thread must not: with several processes, all of them have to launch theirs in the same order.
        """
        if self.placement == "device":
            return _gather_to(_rank(self._sharding))(self._arrays, batch)
        for name, axis in self._turn.items():
            if self._sharding is None:
                batch[name] = np.moveaxis(batch[name], 2 + axis, 2)
            else:
                batch[name] = _turn_to(_rank(self._sharding), axis)(batch[name])
        return batch


class _Make:
    """Position in the run -> this process's packs of the batch (a class, so that it can be pickled for workers)."""

    def __init__(self, plans: Plans, share: slice, make: Callable[[np.ndarray], Batch]):
        self._plans, self._share, self._make = plans, share, make

    def __call__(self, position: int) -> Batch:
        return self._make(self._plans[position][self._share])


def _transfer(batch: Batch, sharding: NamedSharding, packs: int) -> Batch:
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)  # one call for all leaves
    return jax.tree.map(lambda leaf: put(leaf, sharding, (packs, *leaf.shape[1:])), batch)


def _on_host(arrays: Arrays, plan: Callable[[np.ndarray], Batch]) -> Callable[[np.ndarray], Batch]:
    return lambda members: gather(arrays, plan(members), np)


# Programs are cached here, not in the loader, so that all loaders of a run share their compilation.
@functools.cache
def _gather_to(sharding: NamedSharding) -> Callable[[Arrays, Batch], Batch]:
    return jax.jit(gather, out_shardings=sharding)


@functools.cache
def _turn_to(sharding: NamedSharding, axis: int) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda pieces: jnp.moveaxis(pieces, 2 + axis, 2), out_shardings=sharding)


def make_loader(
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
    *,
    batch_size: int,
    packs: int = 1,
    slots: dict[str, int] | None = None,
    batches: int | None = None,
    rate: float = 0.0,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    placement: Placement = "auto",
    sharding: NamedSharding | None = None,
    labels: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    max_windows: int | None = None,
    parts: int = 1,
    resident: Resident | None = None,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    process_index: int | None = None,
    process_count: int | None = None,
    workers: int = 0,
) -> Loader:
    """Batches of some participants of a corpus, every one of them exactly once per epoch.

    For evaluation: `shuffle=False, epochs=1`; padding rows have `valid` False and `index` -1.

    Args:
      corpus: from `open_corpus`.
      members: positions in the corpus.
      batch_size: participants of the global batch, over all processes and devices.
      packs: that the batch is divided into, a multiple of the devices of the batch axis.
      slots: pieces of each modality that fit into a pack; by default `plan.window_slots` over the whole corpus, so
        that all its loaders share their compiled steps.
      batches: at least so many per epoch, for instance those of another fold; by default as few as possible.
      rate: batches draw everybody with this probability instead (`plan.poisson_plan`); 0 for everybody once per epoch.
      seed: of the order; the order depends on (seed, epoch, members) only.
      shuffle: False makes the same batches in every epoch.
      epochs: None for endless.
      placement: see the top of this file. "auto" is memory where the windows fit into `memory_limit_bytes`, otherwise
        "stream".
      sharding: of the packs over a mesh; batches are then global jax arrays. Without it they are numpy arrays, or
        with placement "device" jax arrays on the default device.
      labels: score columns to include; all by default.
      modalities: to include; all by default.
      max_windows: use the first so many windows of a participant only.
      parts: that each window is cut into along time. Pieces in which a modality has nothing take no slot of it.
      resident: pieces in memory, with the same `max_windows` and `parts`, for "device" and "host": nothing is read
        again, and all loaders share one copy on the device.
      memory_limit_bytes: for "auto": limit of the windows of the members, in the memory that would hold them.
      process_index, process_count: whose packs of each batch to read; by default those of jax where a sharding is
        given, else all packs.
      workers: for "stream": worker processes (spawned). 0 reads in threads, which is faster unless decoding is slow.

    Raises:
      InputError: any argument that does not fit the corpus, the batch size, the mesh or the processes; a damaged shard.
    """
    chosen = choose("modality", modalities, corpus.modalities)
    label_names = choose("label", labels, corpus.labels)
    members = check_members(len(corpus), members)
    pieces = cut(corpus, chosen, parts, max_windows)
    if resident is not None and not _same(resident.pieces, pieces):
        raise InputError(
            f"resident: made of another corpus, with other parts than {parts} or another max_windows than {max_windows}"
        )
    if slots is None:
        slots = window_slots(pieces.counts, batch_size, packs)
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs} must be at least 1, or None for no end")
    if process_index is None or process_count is None:
        process_index, process_count = (jax.process_index(), jax.process_count()) if sharding is not None else (0, 1)
    share = packs_of_process(packs, process_index, process_count)
    options = {"seed": seed, "shuffle": shuffle, "batch_size": batch_size, "packs": packs, "slots": slots}
    options |= {"rate": rate} if rate else {}
    plans = Plans(pieces.counts, members=members, batches=batches, **options)
    placed = _place(placement, sharding, pieces.nbytes(members), memory_limit_bytes, resident is not None)
    if placed == "device" and sharding is None:
        mesh = jax.make_mesh((1,), ("batch",), (jax.sharding.AxisType.Auto,), devices=jax.local_devices()[:1])
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
    if sharding is not None:
        _check_sharding(sharding, packs, share)
    arrays = None
    if placed == "stream":
        make = FromRecords(corpus.reader, pieces, {name: corpus.labels[name] for name in label_names}, slots)
    else:
        windows = resident or Resident(
            corpus, members, modalities=chosen, labels=label_names, max_windows=max_windows, parts=parts
        )
        windows.check(members)
        make = functools.partial(windows.plan_arrays, slots=slots)
        if placed == "host":
            make = _on_host(select(windows.arrays, chosen, label_names), make)
        else:
            arrays = select(windows.on_device(sharding), chosen, label_names)
            if resident is None:
                windows.arrays = {}  # the host copy has served
    counts = np.stack([pieces.counts[name][members] for name in chosen], axis=1).tolist()
    names = "\n".join(f"{corpus.participants[i]} {n}" for i, n in zip(members, counts, strict=True))
    identity = {"parts": parts, "members": hashlib.sha256(names.encode()).hexdigest()[:16], **options}
    identity["batches_per_epoch"] = plans.per_epoch
    kept = {"placement": placed, "make": make, "arrays": arrays, "sharding": sharding, "share": share}
    return Loader(plans, pieces, identity, epochs, **kept, workers=workers)


def _same(resident: Pieces, pieces: Pieces) -> bool:
    """Whether pieces in memory are those that a loader plans, in the modalities of both."""
    both = resident.counts.keys() & pieces.counts.keys()
    return resident.parts == pieces.parts and all(np.array_equal(resident.counts[n], pieces.counts[n]) for n in both)


def _place(placement: str, sharding: NamedSharding | None, needed: int, limit: int, resident: bool) -> str:
    if placement not in PLACEMENTS:
        raise one_of("placement", placement, PLACEMENTS)
    if resident and placement == "stream":
        raise InputError("placement 'stream' reads records, but resident windows are given: leave one of the two out")
    if placement != "auto":
        return placement
    memory = "host" if sharding is None else "device"
    if resident:
        return memory
    if sharding is not None and sharding.mesh.devices.flat[0].platform == "cpu":
        # CPU devices share one memory: a replica for each would be paid in full.
        needed *= len(sharding.addressable_devices)
    placed = memory if needed <= limit else "stream"
    _log.info("placement %s: %.2f GB of windows, limit %.2f GB", placed, needed / 1e9, limit / 1e9)
    return placed


def _check_sharding(sharding: NamedSharding, packs: int, share: slice) -> None:
    axes = sharding.spec[0] if len(sharding.spec) else None
    axes = () if axes is None else axes if isinstance(axes, tuple) else (axes,)
    devices = int(np.prod([sharding.mesh.shape[axis] for axis in axes]))
    if any(axis is not None for axis in sharding.spec[1:]):
        raise InputError(f"sharding {sharding.spec} must divide the first axis of a batch only")
    if packs % devices:
        raise InputError(
            f"packs {packs} is not divisible by the {devices} devices of the batch axis: choose a multiple of {devices}"
        )
    if jax.process_count() > 1:
        owned = [index[0].indices(packs) for index in sharding.addressable_devices_indices_map((packs,)).values()]
        if (min(part[0] for part in owned), max(part[1] for part in owned)) != (share.start, share.stop):
            raise InputError(
                f"mesh {dict(sharding.mesh.shape)}: process {jax.process_index()} does not hold the packs "
                f"{share.start} to {share.stop} of a batch: order the mesh by process (jax.make_mesh over "
                "jax.devices())"
            )


@functools.cache
def _rank(sharding: NamedSharding) -> NamedSharding:
    """The sharding without trailing Nones, so that it fits arrays of any rank."""
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))


def _quiet_worker(worker: int, count: int) -> None:
    """Keeps a worker process off the accelerators, should anything in it start jax."""
    import os

    del worker, count
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

"""Batches for training and evaluation: one iterator over three places where the windows can live.

| placement | the windows live in | a batch is made by |
|---|---|---|
| `device` | accelerator memory, replicated over the mesh | a jitted gather from a small index array |
| `host` | host memory | `numpy.take`, then a transfer |
| `stream` | the records on disk | zero-copy decoding into the batch, then a transfer |

All give equal bytes. Reading, gathering and the transfer run two batches ahead in threads (Grain), so that they overlap
with the step that consumes them. Every transfer is explicit: `jax.transfer_guard("disallow")` may be active.
"""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int

from mmpsy_jax.data.assemble import Batch, Columns, FromRecords, Plans, WindowArrays
from mmpsy_jax.data.plan import MOST_BUCKETS, bucket_sizes, padding_report, rows_of_process
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.errors import InputError, one_of

Placement = Literal["auto", "host", "device", "stream"]
PLACEMENTS: tuple[Placement, ...] = ("auto", "host", "device", "stream")
MEMORY_LIMIT_BYTES = 4 << 30
PREFETCH = 2  # batches; Grain's default of 500 counts batches too and would hold an epoch
ENDLESS = 1 << 40  # batches
_STATE_FORMAT = 1
_log = logging.getLogger(__name__)


class Loader(Iterator[Batch]):
    """An iterator of batches (docs/architecture.md, "A batch") whose position is a small JSON-able state.

    Made by `make_loader`. The state counts the batches handed out, never those prefetched. It may be restored under
    another number of processes, another placement or another mesh, because the plan depends on none of these.

    Attributes:
      placement: "device", "host" or "stream".
      buckets: the window sizes W that occur.
      batches_per_epoch: the same for every epoch.
    """

    def __init__(
        self, plans: Plans, pipeline: "_Pipeline", corpus: Corpus, identity: dict[str, Any], epochs: int | None
    ):
        self._plans, self._pipeline, self._corpus, self._identity = plans, pipeline, corpus, identity
        self._stop = ENDLESS if epochs is None else epochs * plans.per_epoch
        self._position = 0
        self._batches: Any = None
        self.placement: str = pipeline.placement
        self.buckets = tuple(identity["buckets"])
        self.batches_per_epoch = plans.per_epoch

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self._position >= self._stop:
            self._end_run()
            raise StopIteration
        if self._batches is None:
            self._batches = self._pipeline.run(self._plans, self._position, self._stop)
        batch = self._pipeline.finish(next(self._batches))
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
          InputError: the state is of a loader with other members, batch size, buckets, seed or shuffling.
        """
        expected = {"format": _STATE_FORMAT, **self._identity}
        for name in state.keys() - {"position"}:
            if state[name] != expected.get(name):
                raise InputError(
                    f"state of the data iterator: {name} is {state[name]!r}, but this run has {expected.get(name)!r}: "
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

    def epoch_of(self, position: int) -> int:
        """The epoch (from 0) that the batch at `position` (batches handed out before it) belongs to."""
        return position // self.batches_per_epoch

    def padding_report(self, epoch: int = 0) -> dict[str, Any]:
        """`plan.padding_report` of one epoch; token shares are left out where windows were cut off."""
        modalities = self._corpus.modalities
        cut = self._corpus.n_windows.max() > self.buckets[-1]
        tokens = {
            name: (self._corpus.valid_lengths[name], modalities[name].shape[modalities[name].time_axis])
            for name in self._pipeline.modalities
        }
        return padding_report(self._plans.epoch(epoch), self._corpus.n_windows, None if cut else tokens)

    def close(self) -> None:
        """Stops the prefetching and frees the arrays; the loader cannot be used again."""
        self._end_run()
        self._stop = self._position
        self._pipeline.free()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_run(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None


class _Pipeline:
    """Turns planned batches into batches where they are consumed."""

    def __init__(
        self, placement: str, source: WindowArrays | FromRecords, rows: slice, modalities: Sequence[str],
        sharding: NamedSharding | None, batch_size: int, workers: int,
    ):  # fmt: skip
        self.placement, self.modalities = placement, tuple(modalities)
        self._source, self._rows, self._sharding = source, rows, sharding
        self._batch_size, self._workers = batch_size, workers
        if placement == "device":
            replicated = NamedSharding(sharding.mesh, PartitionSpec())
            self._values = {name: _put(values, replicated, None) for name, values in source.values.items()}
            source.values = {}  # the host copy has served
            self._gather = jax.jit(
                lambda values, at: jnp.take(values, at, axis=0, mode="clip"), out_shardings=_rank(sharding)
            )

    def run(self, plans: Plans, start: int, stop: int) -> Any:
        """A Grain iterator over the batches `start` to `stop`."""
        make = _Make(plans, self._source, self._rows, gather=self.placement != "device")
        batches = grain.MapDataset.range(start, stop).map(make)
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
            batches = grain.experimental.ThreadPrefetchIterDataset(
                batches.map(self._transfer), prefetch_buffer_size=PREFETCH
            )
        return iter(batches)

    def _transfer(self, batch: Batch) -> Batch:
        if jax.process_count() == 1:
            return jax.device_put(batch, _rank(self._sharding))  # one call for all leaves
        return jax.tree.map(lambda leaf: _put(leaf, self._sharding, self._batch_size), batch)

    def finish(self, batch: Batch) -> Batch:
        """What has to happen in the consumer's thread.

        The gather is dispatched here, not by the prefetching thread: with several processes, all of them have to launch
        their programs in the same order.
        """
        rows = batch.pop("rows", None)
        for name, at in (rows or {}).items():
            batch[name] = self._gather(self._values[name], at)
        return batch

    def free(self) -> None:
        self._values = {}
        self._source = None


class _Make:
    """Position in the run -> this process's rows of the batch (a class, so that it can be pickled for workers)."""

    def __init__(self, plans: Plans, source: WindowArrays | FromRecords, rows: slice, gather: bool):
        self._plans, self._source, self._rows, self._gather = plans, source, rows, gather

    def __call__(self, position: int) -> Batch:
        planned = self._plans[position]
        members = planned.members[self._rows]
        if self._gather:
            return self._source(members, planned.windows)
        batch, rows = self._source.rows(members, planned.windows)
        return {**batch, "rows": rows}


def make_loader(
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    placement: Placement = "auto",
    sharding: NamedSharding | None = None,
    labels: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    max_windows: int | None = None,
    buckets: int | Sequence[int] = MOST_BUCKETS,
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
      batch_size: rows of the global batch, over all processes and devices.
      seed: of the order; the order depends on (seed, epoch, members) only.
      shuffle: False keeps the order of `members` inside each bucket.
      epochs: None for endless.
      placement: see the top of this file. "auto" is memory where the windows fit into `memory_limit_bytes`, otherwise
        "stream".
      sharding: of the batch axis over a mesh; batches are then global jax arrays. Without it they are numpy arrays, or
        with placement "device" jax arrays on the default device.
      labels: score columns to include; all by default.
      modalities: to include; all by default.
      max_windows: use the first so many windows of a participant only.
      buckets: at most so many window sizes (chosen over the whole corpus, so that all its loaders share their compiled
        steps), or the sizes themselves; windows beyond the last size are cut off.
      memory_limit_bytes: for "auto": limit of the windows of the members, in the memory that would hold them.
      process_index, process_count: whose rows of each batch to read; by default those of jax where a sharding is
        given, else all rows.
      workers: for "stream": worker processes (spawned). 0 reads in threads, which is faster unless decoding is slow.

    Raises:
      InputError: any argument that does not fit the corpus, the batch size, the mesh or the processes; a damaged shard.
    """
    chosen = _choose("modality", modalities, corpus.modalities)
    label_columns = {name: corpus.labels[name] for name in _choose("label", labels, corpus.labels)}
    members = np.asarray(members, np.int32)
    sizes = bucket_sizes(corpus.n_windows, max_windows, most=buckets) if isinstance(buckets, int) else tuple(buckets)
    if max_windows is not None and sizes[-1] > max_windows:
        raise InputError(f"buckets {sizes} exceed max_windows {max_windows}: leave one of the two out")
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs} must be at least 1, or None for no end")
    if process_index is None or process_count is None:
        process_index, process_count = (jax.process_index(), jax.process_count()) if sharding is not None else (0, 1)
    rows = rows_of_process(batch_size, process_index, process_count)
    columns = Columns(label_columns, np.minimum(corpus.n_windows, sizes[-1]).astype(np.int32))
    options = {"batch_size": batch_size, "buckets": sizes, "seed": seed, "shuffle": shuffle}
    plans = Plans(columns.n_windows, members=members, **options)
    placed = _place(placement, corpus, members, columns, chosen, sharding, memory_limit_bytes)
    if placed == "device" and sharding is None:
        mesh = jax.make_mesh((1,), ("batch",), (jax.sharding.AxisType.Auto,), devices=jax.local_devices()[:1])
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
    if sharding is not None:
        _check_sharding(sharding, batch_size, rows)
    has = {name: corpus.has[name] for name in chosen}
    kinds = {name: corpus.modalities[name] for name in chosen}
    if placed == "stream":
        source = FromRecords(corpus.reader, columns, kinds, has)
    else:
        source = WindowArrays(corpus.reader, members, columns, kinds, has)
    pipeline = _Pipeline(placed, source, rows, chosen, sharding, batch_size, workers)
    names = "\n".join(f"{corpus.participants[i]} {columns.n_windows[i]}" for i in members)
    identity = {**options, "buckets": list(sizes), "members": hashlib.sha256(names.encode()).hexdigest()[:16]}
    return Loader(plans, pipeline, corpus, identity, epochs)


def _choose(what: str, wanted: Sequence[str] | None, known: Any) -> list[str]:
    if wanted is None:
        return list(known)
    for name in wanted:
        if name not in known:
            raise one_of(what, name, known)
    return [name for name in known if name in wanted]


def _place(
    placement: str, corpus: Corpus, members: np.ndarray, columns: Columns, modalities: Sequence[str],
    sharding: NamedSharding | None, limit: int,
) -> str:  # fmt: skip
    if placement not in PLACEMENTS:
        raise one_of("placement", placement, PLACEMENTS)
    if placement != "auto":
        return placement
    windows = columns.n_windows[members]
    needed = sum(int(windows[corpus.has[m][members]].sum()) * corpus.modalities[m].window_bytes for m in modalities)
    memory = "host" if sharding is None else "device"
    if sharding is not None and sharding.mesh.devices.flat[0].platform == "cpu":
        # CPU devices share one memory: a replica for each would be paid in full.
        needed *= len(sharding.addressable_devices)
    placed = memory if needed <= limit else "stream"
    _log.info("placement %s: %.2f GB of windows, limit %.2f GB", placed, needed / 1e9, limit / 1e9)
    return placed


def _check_sharding(sharding: NamedSharding, batch_size: int, rows: slice) -> None:
    axes = sharding.spec[0] if len(sharding.spec) else None
    axes = () if axes is None else axes if isinstance(axes, tuple) else (axes,)
    devices = int(np.prod([sharding.mesh.shape[axis] for axis in axes]))
    if any(axis is not None for axis in sharding.spec[1:]):
        raise InputError(f"sharding {sharding.spec} must divide the first axis of a batch only")
    if batch_size % devices:
        raise InputError(
            f"batch_size {batch_size} is not divisible by the {devices} devices of the batch axis: choose a multiple "
            f"of {devices}"
        )
    if jax.process_count() > 1:
        owned = [
            index[0].indices(batch_size) for index in sharding.addressable_devices_indices_map((batch_size,)).values()
        ]
        if (min(part[0] for part in owned), max(part[1] for part in owned)) != (rows.start, rows.stop):
            raise InputError(
                f"mesh {dict(sharding.mesh.shape)}: process {jax.process_index()} does not hold the rows {rows.start} "
                f"to {rows.stop} of a batch: order the mesh by process (jax.make_mesh over jax.devices())"
            )


def _put(value: np.ndarray, sharding: NamedSharding, batch_size: int | None) -> jax.Array:
    """An explicit transfer; `batch_size` rows over all processes, or None for an array that each process has whole."""
    if jax.process_count() == 1:
        return jax.device_put(value, _rank(sharding))
    shape = value.shape if batch_size is None else (batch_size, *value.shape[1:])
    with jax.transfer_guard("allow"):  # JAX takes this call for an implicit transfer
        return jax.make_array_from_process_local_data(_rank(sharding), value, shape)


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

"""Devices and processes: one mesh of `replica` x `data`, and where batches and states lie on it."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from mmpsy_jax.io import InputError

FSDP_ELEMENTS = 4096


def start_distributed(heartbeat_seconds: int) -> None:
    """Joins the other processes of this run (TPU pod, Slurm, or JAX_COORDINATOR_ADDRESS and friends).

    Without a cluster that JAX recognises, the environment names the run: `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`. A dead peer makes the others abort after `heartbeat_seconds`.
    """
    if jax.distributed.is_initialized():
        return
    known = {"num_processes": os.environ.get("JAX_NUM_PROCESSES"), "process_id": os.environ.get("JAX_PROCESS_ID")}
    numbers = {key: int(value) for key, value in known.items() if value is not None}
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat_seconds, **numbers)
    except ValueError as error:
        raise InputError(
            f"config.distributed=True, but this process cannot find the others ({error}): start it on a TPU pod or "
            "under Slurm, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error


def make_mesh(replica: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Devices along the axes `replica` (independent trainings) and `data` (parts of a batch).

    Auto axes: JAX's newer Explicit default raises ShardingTypeError in cross-attention with dropout.

    Args:
      replica: parts that the devices are divided into.
      devices: all of all processes by default.

    Raises:
      InputError: the devices cannot be divided into that many replicas.
    """
    count = jax.device_count() if devices is None else len(devices)
    if replica < 1 or count % replica:
        raise InputError(
            f"config.mesh.replica = {replica}: the {count} devices of this run must be divisible by it; 1 gives all "
            "of them to each training"
        )
    shape, axes = (replica, count // replica), (AxisType.Auto,) * 2
    return jax.make_mesh(shape, ("replica", "data"), axis_types=axes, devices=devices)


def one_device() -> Mesh:
    """A mesh of the first device alone."""
    return make_mesh(devices=jax.devices()[:1])


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_data(mesh: Mesh) -> NamedSharding:
    """The leading axis (packs of a batch) divided along `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_host(tree: PyTree, mesh: Mesh) -> PyTree:
    """Numpy arrays of a tree that may be divided over the devices of all processes; every process must call it."""
    return jax.device_get(jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree))


def state_shardings(state: PyTree, mesh: Mesh, *, fsdp: bool) -> PyTree:
    """Where each array of a state lies: everywhere, or with `fsdp` divided along its largest axis that can be.

    Small arrays (below `FSDP_ELEMENTS`) stay everywhere: gathering them costs more than they take.
    """
    parts = mesh.shape["data"]

    def place(x: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [i for i, size in enumerate(x.shape) if size % parts == 0]
        if not fsdp or not axes or math.prod(x.shape) < FSDP_ELEMENTS:
            return replicated(mesh)
        largest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "data"))

    return jax.tree.map(place, state)


def on_each_device(
    run: Callable[[PyTree, PyTree, PyTree], PyTree], mesh: Mesh, *, fsdp: bool
) -> Callable[[PyTree, PyTree, PyTree], PyTree]:
    """`run(variables, common, packs)`, which every device computes on its own packs; what it returns is everywhere.

    XLA left to itself sends something wherever it multiplies, of a network of 0.4 M parameters in seven all-reduces,
    and under `fsdp` in 160 operations. Here a device sends three times: it gathers what is divided of the variables,
    gathers the results, and adds up the gradients of the variables, which is the transpose of the first.

    Args:
      run: its results have packs (or rows of packs) as their leading axis, as `packs` has.
      fsdp: whether `variables` are divided as `state_shardings` says.
    """
    if mesh.shape["data"] == 1:
        return run

    def call(variables: PyTree, common: PyTree, packs: PyTree) -> PyTree:
        specs = jax.tree.map(lambda placed: placed.spec, state_shardings(variables, mesh, fsdp=fsdp))

        def on_one(variables: PyTree, common: PyTree, packs: PyTree) -> PyTree:
            def whole(x: jax.Array, spec: PartitionSpec) -> jax.Array:
                return jax.lax.all_gather(x, "data", axis=len(spec) - 1, tiled=True) if len(spec) else x

            return run(jax.tree.map(whole, variables, specs), common, packs)

        sharded = jax.shard_map(
            on_one,
            mesh=mesh,
            in_specs=(specs, PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
            # Where XLA divides an axis beside it, jax lowers every operation with a constraint for that axis.
            axis_names={name for name in mesh.axis_names if name == "data" or mesh.shape[name] == 1},
            check_vma=False,  # else gradients were added up wherever a layer reads a parameter, loops included
        )
        return jax.lax.with_sharding_constraint(sharded(variables, common, packs), replicated(mesh))

    return call


def packs_of(batch_size: int, packs: int, mesh: Mesh) -> int:
    """Packs that a batch is divided into: `config.data.packs`, or one per device of the `data` axis.

    Raises:
      InputError: packs and devices, or participants and packs, cannot be divided evenly.
    """
    devices = mesh.shape["data"]
    packs = packs or devices
    if batch_size < 1 or batch_size % packs or packs % devices:
        raise InputError(
            f"config.data.batch_size = {batch_size} must be divisible by its packs ({packs}), and those by the "
            f"{devices} devices that share a batch: take a multiple of {devices}, or fewer devices"
        )
    return packs


def wait_for_all(name: str) -> None:
    """Returns when every process has come here; `name` tells the places apart."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_or_none(refused: InputError | None, elsewhere: str) -> None:
    """Raises on every process where the main one was refused something, so that none waits for it.

    Args:
      refused: why, on process 0; None elsewhere.
      elsewhere: what the other processes say.
    """
    bad = refused is not None
    if jax.process_count() > 1:
        bad = bool(multihost_utils.broadcast_one_to_all(np.int32(bad)))
    if bad:
        raise refused or InputError(elsewhere)

"""Devices and processes: one mesh of `replica` x `data`, and where batches and states lie on it."""

import math
import os

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


def make_mesh(replica: int = 1) -> Mesh:
    """All devices of all processes along the axes `replica` (independent trainings) and `data` (parts of a batch).

    Auto axes: JAX's newer Explicit default raises ShardingTypeError in cross-attention with dropout.

    Raises:
      InputError: the devices cannot be divided into that many replicas.
    """
    devices = jax.device_count()
    if replica < 1 or devices % replica:
        raise InputError(
            f"config.mesh.replica = {replica}: the {devices} devices of this run must be divisible by it; 1 gives all "
            "of them to each training"
        )
    return jax.make_mesh((replica, devices // replica), ("replica", "data"), axis_types=(AxisType.Auto,) * 2)


def one_device() -> Mesh:
    """A mesh of the first device alone."""
    return jax.make_mesh((1, 1), ("replica", "data"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:1])


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

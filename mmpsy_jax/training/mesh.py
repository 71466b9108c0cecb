"""Devices and processes: one mesh, batches split along `data`, everything else on every device."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmpsy_jax.errors import InputError


def start_distributed(heartbeat_seconds: int) -> None:
    """Joins the other processes of this run (TPU pod, Slurm, or JAX_COORDINATOR_ADDRESS and friends).

    Without a cluster that JAX recognises, the environment names the run: `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`. A dead peer makes the others abort after `heartbeat_seconds`.
    """
    import os

    if jax.distributed.is_initialized():
        return
    known = {"num_processes": os.environ.get("JAX_NUM_PROCESSES"), "process_id": os.environ.get("JAX_PROCESS_ID")}
    given = {key: int(value) for key, value in known.items() if value is not None}
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat_seconds, **given)
    except ValueError as error:
        raise InputError(
            f"config.distributed=True, but this process cannot find the others ({error}): start it on a TPU pod or "
            "under Slurm, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error


def make_mesh() -> Mesh:
    """All devices of all processes along one axis `data`.

    Auto axes: JAX's newer Explicit default raises ShardingTypeError in cross-attention with dropout.
    """
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_data(mesh: Mesh) -> NamedSharding:
    """The leading (participant) axis split over the mesh."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises InputError unless every device gets the same number of participants."""
    devices = mesh.devices.size
    if batch_size < 1 or batch_size % devices:
        raise InputError(
            f"config.data.batch_size = {batch_size} is not divisible by the {devices} devices of this run: take a "
            f"multiple of {devices}"
        )

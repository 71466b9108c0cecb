"""How a group of trainings is arranged, decided at its first start and kept with the run: `plan.json`.

Whether they train together, and how many make a wave, follows from the memory at hand, which differs from start to
start and from machine to machine. A checkpoint holds a whole wave, so that another arrangement could not go on from it.

{"format": 1, "trainings": [[fold, seed, {values}], ...], "together": true, "wave": 2}

Where the file is missing (a run of an earlier version) or damaged, checkpoints tell the same.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.job import TrainJob
from mmpsy_jax.training.logger import say

FILE, FORMAT = "plan.json", 1


def together(folder: Path, jobs: Sequence[TrainJob]) -> bool:
    """Whether trainings become replicas of one program: as when they were begun, or as is possible now.

    Raises:
      InputError: `plan.json` is of other trainings, or what it says cannot be done with this config.
    """
    config = jobs[0].config
    if config.replicas.layout == "off":  # a field that cannot change
        return False
    kept = _read(folder, jobs)
    if kept is None:
        begun = {"together": True} if _wave_of_checkpoints(folder) else {}
        kept = begun or {"together": possible(config, jobs[0].corpus)}
        _write(folder, jobs, **kept)
    elif kept["together"] and config.data.placement not in ("auto", "device"):
        raise InputError(
            f"config.data.placement = {config.data.placement!r}: the trainings of {folder.parent} were begun together, "
            "for which the windows lie on the device: take config.data.placement=auto, or another --workdir"
        )
    return kept["together"]


def wave_size(folder: Path, jobs: Sequence[TrainJob], parts: int, fitting: Callable[[], int]) -> int:
    """Replicas that train together, a multiple of the parts of the mesh: as when they were begun, or as many as fit.

    Args:
      folder: of the group of runs.
      parts: of the mesh, each with its own replicas.
      fitting: how many fit into the memory of a part; raises InputError where none does.

    Raises:
      InputError: as `together` and `fitting`, or the waves cannot be divided over the parts.
    """
    kept = _read(folder, jobs) or {}
    size = kept.get("wave") or _wave_of_checkpoints(folder)
    if not size:
        _, size = even_waves(len(jobs), fitting(), parts)
    elif size < len(jobs):
        say(f"{size} of {len(jobs)} trainings at once, as this run was begun")
    if size != kept.get("wave"):
        _write(folder, jobs, together=True, wave=size)
    if size % parts:
        raise InputError(
            f"config.mesh.replica = {parts}: this run trains {size} at once, which {parts} parts of the devices cannot "
            "share: take a divisor of it, or another --workdir"
        )
    return size


def even_waves(trainings: int, fitting: int, parts: int) -> tuple[int, int]:
    """How many waves, and replicas of each: all of equal size, so that they share one program.

    Args:
      fitting: replicas that fit into the memory of a part.
      parts: of the mesh.
    """
    waves = math.ceil(trainings / (fitting * parts))
    return waves, math.ceil(trainings / waves / parts) * parts


def _wave_of_checkpoints(folder: Path) -> int | None:
    """Replicas of a wave that has been saved; None where none has."""
    for path in sorted(folder.glob("wave_*/checkpoints")):
        with Checkpoints(path, keep=1) as saved:
            if saved.latest is not None:
                return len(saved.progress(saved.latest)["active"])
    return None


def possible(config: ConfigDict, corpus: Corpus) -> bool:
    """Whether several trainings become replicas: wanted, and the windows may be held on the device."""
    data = config.data
    if config.replicas.layout == "off" or data.placement not in ("auto", "device"):
        return False
    shape = batching.of(config, corpus, meshes.make_mesh(config.mesh.replica))
    needed = shape.pieces.nbytes(np.arange(len(corpus)))
    if data.placement == "auto" and needed > data.memory_gb * 2**30:
        say(f"the windows take {needed / 2**30:.1f} GB, more than config.data.memory_gb: one training after another")
        return False
    return True


def _trainings(jobs: Sequence[TrainJob]) -> list[list[Any]]:
    return [[job.fold, job.seed, {name: float(value) for name, value in job.values.items()}] for job in jobs]


def _write(folder: Path, jobs: Sequence[TrainJob], **plan: Any) -> None:
    if jax.process_index() == 0:
        write_json(folder / FILE, {"format": FORMAT, "trainings": _trainings(jobs), **plan})
    meshes.wait_for_all(f"plan of {folder}")


def _read(folder: Path, jobs: Sequence[TrainJob]) -> dict[str, Any] | None:
    """The plan; None where there is none that can be read.

    Raises:
      InputError: it is of other trainings.
    """
    path = folder / FILE
    content = path.read_bytes() if path.exists() else None
    meshes.wait_for_all(f"reading the plan of {folder}")  # nobody writes before all have read the same
    if content is None:
        return None
    try:
        plan = json.loads(content)
        whole = plan["format"] == FORMAT and isinstance(plan["together"], bool) and isinstance(plan["trainings"], list)
        whole = whole and (plan.get("wave") is None or (type(plan["wave"]) is int and plan["wave"] > 0))
    except (ValueError, RecursionError, KeyError, TypeError):
        whole = False
    if not whole:
        logging.warning("%s: damaged or of another version: the checkpoints are asked instead", path)
        return None
    if plan["trainings"] != _trainings(jobs):
        raise InputError(
            f"{path}: is of other trainings than this config asks for: take another --workdir, or the config and the "
            "corpus that it was begun with"
        )
    return plan

"""Checkpoints by Orbax, with what Orbax leaves out: checksums, a shape and dtype check, and errors of one line.

Measured with Orbax 0.12.8: a kill during a save leaves a folder that is ignored;
but flipped bits and other dtypes load silently, a mismatch raises an error that names nothing, and a damaged file of
metrics of any step raises when the folder is opened. So every finished step gets `sha256.json` beside its data: the
digest of each file, the shape and dtype of each array, and the metrics. This is the only file that imports orbax.
"""

import concurrent.futures
import contextlib
import json
from collections.abc import Iterator
from logging import LogRecord
from pathlib import Path
from types import UnionType
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from mmpsy_jax.io import InputError, file_sha256, read_json, write_atomically, write_json
from mmpsy_jax.training.mesh import all_or_none

MANIFEST, METRICS = "sha256.json", "metrics/metrics"
# How TensorStore's errors begin where a disk is full or must not be written.
_OF_DISK = ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "UNAVAILABLE", "NOT_FOUND")
policies = ocp.training.preservation_policies
# Devices that hold the same array divide the work of saving it where each part has so many bytes: cutting an array is
# a program to compile for each of its shapes.
LEAST_PART = 2**20
_CONTEXT = ocp.Context()
_CONTEXT.array.saving.min_slice_bytes_for_replica_parallel = LEAST_PART


def _is_no_repeated_error(record: LogRecord) -> bool:
    """Orbax raises an exception, and logs it with its traceback from each thread that it passes: raised is enough."""
    return not (record.exc_info and "/orbax/" in record.pathname)


logging.get_absl_logger().addFilter(_is_no_repeated_error)


def leaf_table(tree: PyTree) -> dict[str, list]:
    """{path: [shape, dtype]} of every array of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): [list(x.shape), str(np.dtype(x.dtype))] for path, x in leaves}


def _read_object(path: Path, kind: type | UnionType, *names: str) -> dict[str, Any] | None:
    """A JSON object with these entries of a kind; None for anything else."""
    with contextlib.suppress(InputError):
        value = read_json(path)
        if all(isinstance(value.get(name), kind) for name in names):
            return value
    return None


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    return _read_object(folder / MANIFEST, dict, "leaves", "files")


class Checkpoints:
    """Steps of one run: the last `keep` and the best one on validation are kept, each whole and verified.

    A step holds `state` (a pytree of arrays) and `progress` (a JSON dictionary: data iterator, clock, selection).
    Saving is asynchronous; `close` (or leaving a `with` block) waits for the last one.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        """Opens or creates `folder`; `keep` is the number of latest steps that stay beside the best one."""
        self.folder = Path(folder).absolute()
        refused = None
        try:
            if jax.process_index() == 0:
                self._mend()
        except InputError as error:
            refused = error
        all_or_none(refused, f"{self.folder}: a step is damaged, the main process says which")
        best = policies.BestN(
            get_metric_fn=lambda m: (m["value"], -m["step"]), n=1, keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.training.Checkpointer(
            self.folder, preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(max(1, keep)), best])
        )
        self._worker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint-digest")
        self._pending: concurrent.futures.Future | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def latest(self) -> int | None:
        """The newest whole step, or None."""
        newest = self._manager.latest
        return None if newest is None else newest.step

    @property
    def best(self) -> int | None:
        """The step with the highest saved value (the first of equals), or None."""
        scored = [c for c in self._manager.checkpoints if c.metrics]
        return max(scored, key=lambda c: (c.metrics["value"], -c.step)).step if scored else None

    def save(self, step: int, state: PyTree, progress: dict[str, Any], value: float | None = None) -> None:
        """Starts saving a step; the copy off the device is done on return, the writing goes on behind.

        Args:
          value: what steps are ranked by, higher is better; None keeps the step out of the ranking.

        Raises:
          InputError: the previous save failed (a full disk, for example).
        """
        self.wait()
        metrics = None if value is None else {"value": float(value), "step": step}
        table = leaf_table(state)
        with self._writing(), _CONTEXT:
            response = self._manager.save_checkpointables_async(
                step, {"state": state}, metrics=metrics, custom_metadata=progress
            )
        self._pending = self._worker.submit(self._finish, response, step, table, metrics)

    def _finish(self, response: Any, step: int, table: dict[str, list], metrics: dict[str, Any] | None) -> None:
        response.result()
        if jax.process_index() == 0:
            folder = self.folder / str(step)
            files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
            digests = {str(p.relative_to(folder)): file_sha256(p) for p in files}
            write_json(folder / MANIFEST, {"leaves": table, "files": digests, "metrics": metrics})

    def wait(self) -> None:
        """Waits until the last save is on disk with its checksums."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            with self._writing():
                pending.result()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises InputError where the disk is the cause, which TensorStore tells by the first word of a ValueError."""
        try:
            yield
        except Exception as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else ""
            if isinstance(error, ValueError) and str(error).startswith(_OF_DISK):
                full = "No space left on device"
                reason = full if "No space left" in str(error) else str(error).splitlines()[0][:200]
            if not reason:
                raise
            raise InputError(
                f"{self.folder}: a checkpoint could not be written ({reason}): make room or permit writing, then run "
                "the same command again; it goes on from the last whole checkpoint"
            ) from error

    def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """Loads a step onto the shardings of `like` (arrays or `jax.ShapeDtypeStruct`).

        Returns:
          The state, bit for bit as saved, and the progress dictionary.

        Raises:
          InputError: a file is damaged, or arrays differ in name, shape or dtype from `like`.
        """
        verified = self._verify(step, like)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        with self._reading(step, verified):
            loaded = self._manager.load_checkpointables(step, {"state": abstract})
        return loaded["state"], self.progress(step, verified)

    def progress(self, step: int, verified: bool = False) -> dict[str, Any]:
        """The progress dictionary of a step.

        Args:
          verified: whether its files are known to be as they were written.

        Raises:
          InputError: it cannot be read.
        """
        with self._reading(step, verified):
            progress = self._manager.checkpointables_metadata(step).custom_metadata
            if progress is None:
                raise ValueError("no progress")
            return progress

    @contextlib.contextmanager
    def _reading(self, step: int, verified: bool) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises bare Exception, ValueError or its own types on damaged files
            first = "".join(str(error).strip().splitlines()[:1])[:200]
            whole = "though its files are as they were written" if verified else "and its files were not verified"
            raise InputError(
                f"{self.folder / str(step)}: cannot be read ({type(error).__name__}: {first}), {whole}: run the same "
                "command again; where that does not help, take another --workdir"
            ) from error

    def _verify(self, step: int, like: PyTree) -> bool:
        """Compares a step with its manifest; False where it has none."""
        folder = self.folder / str(step)
        if not folder.exists():
            raise InputError(f"{folder}: is gone, {self._without(step)}")
        if not (folder / MANIFEST).exists():  # killed between the commit and the checksums: whole, but unverified
            logging.warning("%s has no %s: loading it unverified", folder, MANIFEST)
            return False
        manifest = _read_manifest(folder)
        if manifest is None:
            raise InputError(f"{folder / MANIFEST}: damaged: remove this one file to load the step unverified")
        table = leaf_table(like)
        for path in sorted(table.keys() | manifest["leaves"].keys()):
            ours, saved = table.get(path), manifest["leaves"].get(path)
            if ours != saved:
                raise InputError(
                    f"{folder}: array {path} is {saved or 'absent'} in the checkpoint and {ours or 'absent'} in this "
                    "config: use the config that it was trained with, or another workdir"
                )
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                raise InputError(f"{path}: missing: {self._without(step)}")
            if file_sha256(path) != expected:
                raise InputError(f"{path}: damaged (its checksum differs): {self._without(step)}")
        return True

    def _without(self, step: int) -> str:
        """What to do where a step is damaged or gone."""
        before = [other for other in self._steps() if other < step]
        if not before:
            return f"delete {self.folder} to train anew, since no step before it is left"
        later = " and all later ones" if max(self._steps()) > step else ""
        return f"delete {self.folder / str(step)}{later} to go on from step {max(before)}"

    def _mend(self) -> None:
        """Writes damaged metrics of a step again from its manifest: Orbax reads those of all steps, needed or not.

        Raises:
          InputError: metrics cannot be read, and the manifest (of an earlier version) does not know them.
        """
        for folder in self._steps().values():
            path, known = folder / METRICS, (_read_manifest(folder) or {}).get("metrics")
            metrics = _read_object(path, int | float, "value", "step")
            if known is not None and metrics != known:
                logging.warning("%s: damaged, written again from %s", path, MANIFEST)
                write_atomically(path, json.dumps(known))  # as Orbax does, so that its digest is the same
            elif known is None and path.exists() and metrics is None:
                raise InputError(f"{path}: damaged: move the folder of this step elsewhere to go on without it")

    def _steps(self) -> dict[int, Path]:
        """The folders of steps that were committed."""
        inside = self.folder.iterdir() if self.folder.is_dir() else ()
        return {int(path.name): path for path in sorted(inside) if path.name.isdecimal()}

    def close(self) -> None:
        """Waits for pending work and releases Orbax's threads.

        Raises:
          InputError: as `save`.
        """
        with contextlib.ExitStack() as stack:  # from the last to the first; Orbax repeats the error of a failed save
            stack.enter_context(self._writing())
            stack.callback(self._manager.close)
            stack.callback(self._worker.shutdown)
            self.wait()

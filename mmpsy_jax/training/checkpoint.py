"""Checkpoints by Orbax, with what Orbax leaves out: checksums, a shape and dtype check, and errors of one line.

Measured with Orbax 0.12.8 (`../shared/reference/training.md`): a kill during a save leaves a folder that is ignored;
but flipped bits and other dtypes load silently, and a mismatch raises an error that names nothing. So every finished
step gets `sha256.json` beside its data: the digest of each file, and the shape and dtype of each array. This is the
only file that imports orbax.
"""

import concurrent.futures
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from mmpsy_jax.errors import InputError
from mmpsy_jax.files import write_json

MANIFEST = "sha256.json"
policies = ocp.training.preservation_policies


def leaf_table(tree: PyTree) -> dict[str, list]:
    """{path: [shape, dtype]} of every array of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): [list(x.shape), str(np.dtype(x.dtype))] for path, x in leaves}


def digest(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """Steps of one run: the last `keep` and the best one on validation are kept, each whole and verified.

    A step holds `state` (a pytree of arrays) and `progress` (a JSON dictionary: data iterator, clock, selection).
    Saving is asynchronous; `close` (or leaving a `with` block) waits for the last one.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        """Opens or creates `folder`; `keep` is the number of latest steps that stay beside the best one."""
        self.folder = Path(folder).absolute()
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
        try:
            response = self._manager.save_checkpointables_async(
                step, {"state": state}, metrics=metrics, custom_metadata=progress
            )
        except OSError as error:
            raise InputError(self._disk_message(error)) from error
        self._pending = self._worker.submit(self._finish, response, step, table)

    def _finish(self, response: Any, step: int, table: dict[str, list]) -> None:
        response.result()
        if jax.process_index() == 0:
            folder = self.folder / str(step)
            files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
            digests = {str(p.relative_to(folder)): digest(p) for p in files}
            write_json(folder / MANIFEST, {"leaves": table, "files": digests})

    def wait(self) -> None:
        """Waits until the last save is on disk with its checksums."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                pending.result()
            except OSError as error:
                raise InputError(self._disk_message(error)) from error

    def _disk_message(self, error: OSError) -> str:
        return (
            f"{self.folder}: a checkpoint could not be written ({error.strerror or error}): make room or permit "
            "writing, then run the same command again; it goes on from the last whole checkpoint"
        )

    def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """Loads a step onto the shardings of `like` (arrays or `jax.ShapeDtypeStruct`).

        Returns:
          The state, bit for bit as saved, and the progress dictionary.

        Raises:
          InputError: a file is damaged, or arrays differ in name, shape or dtype from `like`.
        """
        self._verify(step, like)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        try:
            loaded = self._manager.load_checkpointables(step, {"state": abstract})
            progress = self._manager.checkpointables_metadata(step).custom_metadata
        except Exception as error:  # Orbax raises bare Exception, ValueError or its own types on damaged files
            first = str(error).strip().splitlines()[:1]
            raise InputError(
                f"{self.folder / str(step)}: cannot be read ({type(error).__name__}: {''.join(first)[:200]}): "
                "delete that folder to go on from the step before it"
            ) from error
        return loaded["state"], progress

    def _verify(self, step: int, like: PyTree) -> None:
        folder = self.folder / str(step)
        if not (folder / MANIFEST).exists():  # killed between the commit and the checksums: whole, but unverified
            logging.warning("%s has no %s: loading it unverified", folder, MANIFEST)
            return
        manifest = json.loads((folder / MANIFEST).read_text())
        wanted = leaf_table(like)
        for path in sorted(wanted.keys() | manifest["leaves"].keys()):
            ours, saved = wanted.get(path), manifest["leaves"].get(path)
            if ours != saved:
                raise InputError(
                    f"{folder}: array {path} is {saved or 'absent'} in the checkpoint and {ours or 'absent'} in this "
                    "config: use the config that it was trained with, or another workdir"
                )
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.exists() or digest(path) != expected:
                raise InputError(
                    f"{path}: {'damaged (its checksum differs)' if path.exists() else 'missing'}: delete {folder} to "
                    "go on from the step before it"
                )

    def close(self) -> None:
        """Waits for pending work and releases Orbax's threads."""
        try:
            self.wait()
        finally:
            self._worker.shutdown()
            self._manager.close()

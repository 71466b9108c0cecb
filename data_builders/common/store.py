"""What was extracted from recordings or videos, kept under a digest of their content and of the settings.

A build that was killed goes on where it stopped, and no file is decoded twice.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError, file_sha256, open_npz, write_npz

# Another number whenever the same file would give other arrays.
_EXTRACTION = 2
T = TypeVar("T")


class Store:
    """A folder of kept arrays.

    Args:
      folder: "" keeps nothing.
    """

    def __init__(self, folder: str):
        self._folder = Path(folder) if folder else None

    def get(
        self,
        files: Sequence[Path],
        settings: Mapping[str, Any],
        make: Callable[[], T],
        to_arrays: Callable[[T], Mapping[str, Any]],
        from_arrays: Callable[[Mapping[str, np.ndarray]], T],
    ) -> T:
        """What `make` gives, made now or before.

        Args:
          files: that it is made of.
          settings: that it is made with.
          make: makes it.
          to_arrays, from_arrays: arrays of it, and back.
        """
        if self._folder is None:
            return make()
        key = {"extraction": _EXTRACTION, **settings}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
        for path in files:
            digest.update(bytes.fromhex(file_sha256(path)))
        source = digest.hexdigest()
        file = self._folder / f"{source}.npz"
        arrays = _load(file, source)
        if arrays is not None:
            return from_arrays(arrays)
        content = make()
        arrays = {"source": np.array(source), **{name: np.asarray(value) for name, value in to_arrays(content).items()}}
        write_npz(file, **arrays)
        return content


def _load(file: Path, source: str) -> dict[str, np.ndarray] | None:
    """What was kept of some files; None where nothing was, where it is damaged, or is of other files."""
    try:
        with open_npz(file) as stored:
            arrays = dict(stored)
        if str(arrays.get("source")) != source:  # the file was renamed, or put here under the name of another
            print(f"warning: {file}: is of other recordings: they are read again", file=sys.stderr)
            return None
        return arrays
    except InputError:
        return None


def of_windows(windows: Windows | None, prefix: str = "") -> dict[str, Any]:
    """Arrays of windows, nothing of none."""
    return {f"{prefix}{name}": value for name, value in vars(windows).items()} if windows else {}


def to_windows(arrays: Mapping[str, np.ndarray], prefix: str = "") -> Windows | None:
    """The inverse of `of_windows`."""
    if f"{prefix}values" not in arrays:
        return None
    return Windows(
        **{name: arrays[f"{prefix}{name}"] for name in ("values", "lengths", "start_s")},
        duration_s=arrays[f"{prefix}duration_s"].tolist(),
        parts_s=tuple(arrays[f"{prefix}parts_s"].tolist()),
        notes=tuple(arrays[f"{prefix}notes"].tolist()),
    )

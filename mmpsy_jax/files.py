"""Writing files so that a reader never sees half of one."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from mmpsy_jax.errors import InputError


def write_atomically(path: str | os.PathLike, write: Callable[[Any], None] | str | bytes) -> None:
    """Writes `path` under a temporary name in the same folder and renames it into place.

    Args:
      path: the file to create or replace; its folder is created where missing.
      write: the whole content, or a function that is given the open binary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(write):
                write(file)
            else:
                file.write(write.encode() if isinstance(write, str) else write)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike, value: Any) -> None:
    """`write_atomically` for an indented JSON document; NaN is refused (it is not JSON)."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted name: {"data.batch_size": 32, ...}."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    parts = [flatten(v, f"{prefix}.{k}" if prefix else k) for k, v in value.items()]
    return {k: v for part in parts for k, v in part.items()}


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Rows of a file with one JSON object a line; a last line cut off by a kill is left out and said so."""
    rows = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number != len(lines):
                raise
            logging.warning("%s: the last line was cut off and is left out", path)
    return rows


def require_file(path: str | os.PathLike) -> None:
    """Refuses what is no regular file: to open a pipe or a device may wait for ever.

    Raises:
      InputError: it is not there, or a folder, pipe, device or socket.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise InputError(f"{path}: cannot be read ({reason}): correct the path, or permit access") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{path}: is {kind}, and only regular files are read: give a file")


def file_sha256(path: Path) -> bytes:
    """Digest of the content of a file.

    Raises:
      InputError: it cannot be read.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): correct the path, or permit access") from error

"""Writing files so that a reader never sees half of one."""

import hashlib
import json
import os
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
    """Rows of a `metrics.jsonl`: a step, and numbers or lists of numbers by name, None for an undefined one.

    Lines that are no such row (cut off by a kill, damaged) are left out, and a warning says how many.

    Raises:
      InputError: the file cannot be read at all.
    """
    rows, unread = [], []
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): correct the path, or permit access") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or type(row.get("step")) is not int or not all(map(_measured, row.values())):
                raise ValueError("no such row")
            rows.append(row)
        except (ValueError, RecursionError):  # also bytes that are not UTF-8
            unread.append(number)
    if unread:
        logging.warning("%s: %d of %d lines cannot be read and are left out", path, len(unread), len(lines))
    return rows


def _measured(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, int | float) for one in value)
    return value is None or isinstance(value, int | float)


def file_sha256(path: Path) -> bytes:
    """Digest of the content of a file.

    Raises:
      InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): correct the path, or permit access") from error

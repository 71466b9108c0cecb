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


def require_regular(path: str | os.PathLike) -> None:
    """Raises unless a path, or what it links to, is a regular file: a pipe or a device would be waited for.

    Raises:
      InputError: it is not.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}): correct the path, or permit access") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file (a pipe or a device)"
        raise InputError(f"{path}: cannot be read: it is {what}: give a file")


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, without a byte order mark.

    Raises:
      InputError: no regular file, unreadable, or not UTF-8.
    """
    require_regular(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:1000]:
        raise InputError(f'{path}: is UTF-16, or no text: save it as UTF-8 (in spreadsheets "CSV UTF-8")')
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path}: not UTF-8 at byte {error.start}: save it as UTF-8 (in spreadsheets "CSV UTF-8")'
        ) from None


def parse_json(where: str, text: str) -> Any:
    """The value of a JSON text in which no object has a key twice.

    Args:
      where: file, or file and line, for messages; they repeat no value, and a key only where it is there twice.
      text: of the file or line.

    Raises:
      InputError: not such a text.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Python keeps the last of two equal keys; a value would vanish without a word.
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key[:40] for key in keys if keys.count(key) > 1})
            raise InputError(f"{where}: an object has the key {', '.join(twice)} twice: keep one of each")
        return made

    try:
        return json.loads(text, object_pairs_hook=refuse_repeats)
    except json.JSONDecodeError as error:
        # `from None`: the original exception carries the whole text.
        raise InputError(
            f"{where}: not JSON ({error.msg} at line {error.lineno}, column {error.colno}): is it cut short? mend it"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply: mend it") from None

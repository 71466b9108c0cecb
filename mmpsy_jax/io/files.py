"""Writing files so that a reader never sees half of one."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from mmpsy_jax.io.errors import InputError

# Written when a place is tried: more than what a full disk still has in its last block.
_TRIAL_BYTES = 1 << 16


def write_atomically(
    path: str | os.PathLike, write: Callable[[Any], None] | str | bytes, *, private: bool = False
) -> None:
    """Writes `path` under a temporary name in the same folder and renames it into place.

    Args:
      path: the file to create or replace; its folder is created where missing.
      write: the whole content, or a function that is given the open binary file.
      private: nobody but the user may read it, whatever the umask says: for files about one person.

    Raises:
      OSError: it cannot be written; names `path`, not the temporary file. What was there before is left alone.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The kernel takes the umask off 0666; `tempfile` would ask for 0600 always.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as file:
            if callable(write):
                write(file)
            else:
                file.write(write.encode() if isinstance(write, str) else write)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def try_file(path: str | os.PathLike, option: str = "--output") -> None:
    """Finds out, before any work is done, whether a file can be written at a place; leaves nothing there.

    Args:
      path: of the file; its folder need not exist.
      option: that names it, for the message.

    Raises:
      InputError: it is a folder, or nothing can be written there.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a file as {option}")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        trial = folder / _temporary(path).name
        try:
            with trial.open("xb") as file:
                file.write(bytes(_TRIAL_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, option) from error


def try_folder(path: str | os.PathLike, option: str = "--output") -> None:
    """`try_file` for a folder that is to be filled.

    Raises:
      InputError: it is a file, or nothing can be written there.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is a file: give a folder as {option}")
    try:
        try_file(path / "trial", option)
    except InputError as error:
        raise InputError(str(error).replace(str(path / "trial"), str(path))) from error


def cannot_write(path: str | os.PathLike, error: OSError, option: str = "--output") -> InputError:
    """The one line for a place where writing failed."""
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}): make room or permit access, or give another {option}"
    )


def write_json(path: str | os.PathLike, value: Any, *, private: bool = False) -> None:
    """`write_atomically` for an indented JSON document; NaN is refused (it is not JSON)."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text + "\n", private=private)


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


def _measured(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, int | float) for one in value)
    return value is None or isinstance(value, int | float)


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


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, without a byte order mark.

    Raises:
      InputError: no regular file, unreadable, or not UTF-8.
    """
    require_file(path)
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


def public(value: Any) -> Any:
    """Nested mappings in which every absolute path is its last part, also in a text that is a JSON object.

    Lists are left alone: they hold texts and ids of people, which may look like paths.
    """
    if isinstance(value, Mapping):
        return {name: public(one) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith("{"):
        with contextlib.suppress(ValueError):
            return json.dumps(public(json.loads(value)), sort_keys=True)
    return os.path.basename(os.path.normpath(value)) if os.path.isabs(value) else value


def write_places(version_folder: Path, version: str, card: Mapping[str, Any]) -> None:
    """Keeps the absolute paths of the card of a corpus beside its version folder, where no copy of it takes them along.

    Args:
      version_folder: of the corpus, or the one beside it in which it is built.
      card: content of `corpus.json`.
    """
    places = {name: value for name, value in flatten(card).items() if isinstance(value, str) and os.path.isabs(value)}
    write_json(version_folder.parent / f".places_{version}.json", places, private=True)


def with_kinds(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card whose modalities say by `kind` that they are "frames"; earlier versions told them by their time axis.

    Args:
      card: of a corpus or a run.
    """
    entries = card.get("modalities")
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        return dict(card)
    told = {
        name: {**entry, "kind": "frames"} if (entry.get("kind"), entry.get("time_axis")) == ("features", 1) else entry
        for name, entry in entries.items()
    }
    return {**card, "modalities": told}


def with_places(version_folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a corpus with the paths that `write_places` kept, where they are still those of this card."""
    try:
        places = json.loads((version_folder.parent / f".places_{version_folder.name}.json").read_text())
    except (OSError, ValueError):
        return dict(card)
    return _restored(card, places if isinstance(places, dict) else {}, "")


def _restored(value: Any, places: Mapping[str, Any], name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _restored(one, places, f"{name}.{key}" if name else key) for key, one in value.items()}
    place = places.get(name)
    return place if isinstance(place, str) and isinstance(value, str) and public(place) == value else value

"""Files as a whole: written so that a reader never sees half of one; JSON, npz, digests; what a card tells of paths."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.io.errors import InputError

# Written when a place is tried: more than what a full disk still has in its last block.
_TRIAL_BYTES = 1 << 16
_REMEDY = "correct the path, or permit access"


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
    rows, unread = [], 0
    for line in _read_bytes(path).splitlines():
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or type(row.get("step")) is not int or not all(map(_measured, row.values())):
                raise ValueError("no such row")
            rows.append(row)
        except (ValueError, RecursionError):  # also bytes that are not UTF-8
            unread += 1
    if unread:
        from absl import logging  # see `open_npz`

        logging.warning("%s: %d of %d lines cannot be read and are left out", path, unread, len(rows) + unread)
    return rows


def _measured(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, int | float) for one in value)
    return value is None or isinstance(value, int | float)


def require_file(path: str | os.PathLike, remedy: str = _REMEDY) -> None:
    """Refuses what is no regular file: to open a pipe or a device may wait for ever.

    Raises:
      InputError: it is not there, or a folder, pipe, device or socket.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise InputError(f"{path}: cannot be read ({reason}): {remedy}") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{path}: is {kind}, and only regular files are read: give a file")


@contextlib.contextmanager
def _open(path: str | os.PathLike, remedy: str = _REMEDY) -> Iterator[Any]:
    """A regular file to read from.

    Raises:
      InputError: it cannot be read.
    """
    require_file(path, remedy)
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error


def _read_bytes(path: str | os.PathLike, remedy: str = _REMEDY) -> bytes:
    with _open(path, remedy) as file:
        return file.read()


def file_sha256(path: str | os.PathLike) -> str:
    """Digest of the content of a file, in hexadecimal digits.

    Raises:
      InputError: it cannot be read.
    """
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: str | os.PathLike, remedy: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    Args:
      path: the file.
      remedy: what to do about a file that cannot be read; by default what helps with files of a user.

    Raises:
      InputError: no regular file, unreadable, or not UTF-8.
    """
    content = _read_bytes(path, remedy or _REMEDY)
    remedy = remedy or 'save it as UTF-8 (in spreadsheets "CSV UTF-8")'
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:1000]:
        raise InputError(f"{path}: is UTF-16, or no text: {remedy}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: {remedy}") from None


def read_json(path: str | os.PathLike, remedy: str | None = None, kind: type = dict) -> Any:
    """The JSON object (or `list`, where that is the `kind`) in a file.

    Raises:
      InputError: as of `read_text` and `parse_json`, or the value is of another kind.
    """
    value = parse_json(str(path), read_text(path, remedy), remedy or "mend it")
    if not isinstance(value, kind):
        raise InputError(f"{path}: holds no JSON {'object' if kind is dict else kind.__name__}: {remedy or 'mend it'}")
    return value


@contextlib.contextmanager
def open_npz(path: str | os.PathLike, remedy: str = "delete it, so that it is written anew") -> Iterator[Any]:
    """The arrays of an npz file as a mapping that reads each when it is asked for; pickled objects are refused.

    Raises:
      InputError: cut off, changed, no such file, or an array that is asked for is not in it.
    """
    import numpy as np  # `launch.py --help` comes here, and needs neither numpy nor absl

    with _open(path) as stream:
        try:
            with np.lib.npyio.NpzFile(stream, allow_pickle=False) as arrays:
                yield arrays
        except InputError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: is damaged ({type(error).__name__}): {remedy}") from error


def write_npz(path: str | os.PathLike, **arrays: Any) -> None:
    """`write_atomically` for an uncompressed npz file."""
    import numpy as np  # see `open_npz`

    write_atomically(path, lambda stream: np.savez(stream, **arrays))


def parse_json(where: str, text: str, remedy: str = "mend it") -> Any:
    """The value of a JSON text in which no object has a key twice.

    Args:
      where: file, or file and line, for messages; they repeat no value, and a key only where it is there twice.
      text: of the file or line.
      remedy: for messages, too.

    Raises:
      InputError: not such a text.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Python keeps the last of two equal keys; a value would vanish without a word.
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key[:40] for key in keys if keys.count(key) > 1})
            raise InputError(f"{where}: an object has the key {', '.join(twice)} twice: keep one of each")
        return value

    try:
        return json.loads(text, object_pairs_hook=refuse_repeats)
    except json.JSONDecodeError as error:
        # `from None`: the original exception carries the whole text.
        raise InputError(
            f"{where}: not JSON ({error.msg} at line {error.lineno}, column {error.colno}): is it cut short? {remedy}"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply: {remedy}") from None


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


_FORMER = {"group": "cluster", "within_groups": "within_clusters"}  # entries of cards as they were called before


def upgrade_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card of an earlier version as this one writes it; one of this version is as it was.

    Entries have the names of today, and modalities say by `kind` that they are "frames", which their time axis told.

    Args:
      card: of a corpus or a run.
    """
    card = {_FORMER.get(name, name): value for name, value in card.items()}
    entries = card.get("modalities")
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        return card
    told = {
        name: {**entry, "kind": "frames"} if (entry.get("kind"), entry.get("time_axis")) == ("features", 1) else entry
        for name, entry in entries.items()
    }
    return {**card, "modalities": told}


# What a record of a corpus is whose card is of an earlier version and does not say it.
_UNITS = {"hotline": "segments", "daily_mood": "days", "affect_video": "clips", "mmsa": "clips"}


def unit_of(card: Mapping[str, Any] | None) -> str:
    """What a record of a corpus is, in the plural; participants where nobody says otherwise.

    Args:
      card: of a corpus, or what a report keeps of one.
    """
    card = card or {}
    return card.get("unit") or _UNITS.get(str(card.get("dataset")), "participants")


def with_places(version_folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a corpus with the paths that `write_places` kept, where they are still those of this card."""
    try:
        places = read_json(version_folder.parent / f".places_{version_folder.name}.json")
    except InputError:
        return dict(card)
    return _restored(card, places, "")


def _restored(value: Any, places: Mapping[str, Any], name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _restored(one, places, f"{name}.{key}" if name else key) for key, one in value.items()}
    place = places.get(name)
    return place if isinstance(place, str) and isinstance(value, str) and public(place) == value else value

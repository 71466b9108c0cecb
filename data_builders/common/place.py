"""The folder a dataset is built into: one builder at a time, no leftovers, nothing half-made under the final name."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.io import InputError, public

# TFDS builds into `incomplete.<random>_<version>` and renames at the end; a killed build leaves that folder for good.
_UNFINISHED = "incomplete."
_REPLACED = "incomplete.REPLACED_"
_LOCK = ".build.lock"

_held: set[Path] = set()


@contextlib.contextmanager
def exclusive(version_folder: str | os.PathLike) -> Iterator[None]:
    """Holds the folder of a config (`DATA_DIR/mmpsy/demo`) for one build of a version; a second process waits.

    Whoever comes in removes what killed builds left. The kernel drops the lock with the process, also after SIGKILL.
    Within one process it may be taken again; what the outer holder has set aside is then left alone.

    Raises:
      InputError: the folder cannot be created or written.
    """
    version_folder = Path(version_folder).absolute()
    folder = version_folder.parent
    if folder in _held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be written ({error.strerror}): give another --data_dir or free some space"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process builds here; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        _held.add(folder)
        clean(version_folder)
        yield
    finally:
        _held.discard(folder)
        os.close(handle)


def clean(version_folder: Path) -> list[str]:
    """Removes what killed builds left beside a version; call it inside `exclusive`.

    A dataset that was set aside by `replacing` comes back when its successor never arrived.

    Returns:
      names of the removed folders.
    """
    aside = version_folder.parent / f"{_REPLACED}{version_folder.name}"
    if aside.is_dir() and not version_folder.exists():
        aside.rename(version_folder)
    removed = []
    for path in sorted(version_folder.parent.glob(f"{_UNFINISHED}*_{version_folder.name}")):
        shutil.rmtree(path)
        removed.append(path.name)
    if removed:
        print(f"{version_folder.parent}: removed what a killed build left: {', '.join(removed)}", file=sys.stderr)
    return removed


@contextlib.contextmanager
def replacing(version_folder: Path) -> Iterator[None]:
    """Sets an existing version aside while its successor is built; puts it back if that fails."""
    if not version_folder.exists():
        yield
        return
    aside = version_folder.parent / f"{_REPLACED}{version_folder.name}"
    version_folder.rename(aside)
    try:
        yield
    except BaseException:
        if not version_folder.exists():
            aside.rename(version_folder)
        raise
    shutil.rmtree(aside)


def require_same(
    version_folder: Path, asked: Mapping[str, Any], defaults: Mapping[str, Any], former: Mapping[str, str]
) -> None:
    """Raises unless the dataset in a folder was built as is wanted now.

    Args:
      version_folder: of the dataset that is there.
      asked: options and digests of the build.
      defaults: of options that cards of earlier versions lack.
      former: names that options have now, by those in cards of earlier versions.

    Raises:
      InputError: no card of ours, files of TFDS are missing, or something differs.
    """
    remedy = "give --overwrite to replace it, or another --data_dir"
    path = version_folder / "corpus.json"
    try:
        card = json.loads(path.read_text())
        have = {**card["options"], **{name: card[name] for name in asked if name.endswith("_sha256") and name in card}}
        have |= {now: have.pop(before) for before, now in former.items() if before in have}
        whole = all((version_folder / name).is_file() for name in ("dataset_info.json", "features.json"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the card of a dataset built here ({error!r}): {remedy}") from error
    if not whole:
        raise InputError(f"{version_folder}: dataset_info.json or features.json is missing: {remedy}")
    # A JSON round trip, so that tuples and lists compare; a card of an earlier version has absolute paths.
    asked, have = public(json.loads(json.dumps(asked))), public(json.loads(json.dumps({**defaults, **have})))
    names = [name for name in dict.fromkeys((*asked, *have)) if name in asked or name not in _FOLLOWING]
    differing = [name for name in names if _value(asked, name) != _value(have, name)]
    if differing:
        raise InputError(f"{version_folder}: already holds a dataset that differs in {', '.join(differing)}: {remedy}")


# Options that a card has though nobody asks for them: they follow from the config.
_FOLLOWING = ("dtype", "synthetic")


def _value(options: Mapping[str, Any], name: str) -> Any:
    """Of an option; None where it asks for nothing."""
    value = options.get(name)
    return None if value in ("", "{}", [], {}) or value is False else value

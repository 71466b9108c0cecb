"""Which files of a folder are recordings, and what is said of those that are not read."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError

# Compared in lower case. Of videos the first track of sound is read.
SOUND = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".amr", ".aiff", ".aif", ".aifc")
SOUND += (".au", ".caf", ".w64", ".rf64", ".mka", ".mp4", ".webm", ".mkv", ".mov", ".avi", ".3gp")
_LISTED = 5
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def list_recordings(folder: Path) -> list[Path]:
    """The recordings of a folder in natural order (`wav_10` after `wav_9`).

    Raises:
      InputError: none, or two that differ in their suffix alone.
    """
    files = list(recordings_by_stem(folder).values())
    if not files:
        raise InputError(f"{folder}: holds no recording: give {', '.join(SOUND)}")
    return files


def recordings_by_stem(folder: Path, suffixes: Collection[str] = SOUND) -> dict[str, Path]:
    """The recordings of a folder in natural order by their names without suffix; none of a folder that is not there.

    Args:
      folder: of files.
      suffixes: that are looked for, in lower case.

    Raises:
      InputError: two recordings differ in their suffix alone.
    """
    files: dict[str, Path] = {}
    for file in visible(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix.lower() not in suffixes or file.is_dir():
            continue
        if file.stem in files:
            raise InputError(
                f"{folder}: two recordings differ in their suffix alone ({files[file.stem].suffix} and {file.suffix}): "
                "keep one of them"
            )
        files[file.stem] = file
    return files


def list_unread(folder: Path, read: Collection[Path]) -> list[Path]:
    """What else lies in a folder, files and folders; nothing where it is a file or missing.

    Args:
      folder: of files.
      read: what is read of it.
    """
    return [one for one in visible(folder.iterdir()) if one not in read] if folder.is_dir() else []


def name_unread(files: Sequence[Path]) -> str:
    """What a note says of files that are not read."""
    more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    return f"not read: {', '.join(map(str, files[:_LISTED]))}{more}"


def visible(files: Iterable[Path]) -> list[Path]:
    """Files in natural order of names, then of paths, without those that systems hide or make by themselves."""
    kept = (file for file in files if file.name[0] != "." and file.name.lower() not in _OF_SYSTEMS)
    return sorted(kept, key=lambda file: (natural_key(file.name), natural_key(str(file))))

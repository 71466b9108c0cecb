"""Which files of a folder are recordings, and which are left unread."""

from collections.abc import Collection, Iterable
from pathlib import Path

from mmpsy_jax.errors import InputError
from mmpsy_jax.features.table import natural_key

# Compared in lower case. Of videos the first track of sound is read.
SOUND = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".amr", ".aiff", ".aif", ".aifc")
SOUND += (".au", ".caf", ".w64", ".rf64", ".mka", ".mp4", ".webm", ".mkv", ".mov", ".avi", ".3gp")
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def list_recordings(folder: Path) -> list[Path]:
    """The recordings of a folder in natural order (`wav_10` after `wav_9`).

    Raises:
      InputError: none, or two that differ in their suffix alone.
    """
    files = [file for file in visible(folder.iterdir()) if file.suffix.lower() in SOUND and not file.is_dir()]
    if not files:
        raise InputError(f"{folder}: holds no recording: give {', '.join(SOUND)}")
    by_stem: dict[str, Path] = {}
    for file in files:
        if file.stem in by_stem:
            raise InputError(
                f"{folder}: two recordings differ in their suffix alone ({by_stem[file.stem].suffix} and "
                f"{file.suffix}) and would be joined: keep one of them"
            )
        by_stem[file.stem] = file
    return files


def find_recording(folder: Path, stem: str, suffixes: Collection[str] = SOUND) -> Path | None:
    """The recording of this name in a folder, whatever its suffix and the case of that; None where there is none.

    Raises:
      InputError: there are several.
    """
    files = [file for file in visible(folder.glob(f"{stem}.*")) if file.stem == stem]
    files = [file for file in files if file.suffix.lower() in suffixes]
    if len(files) > 1:
        raise InputError(
            f"{folder / stem}: there are several: {', '.join(file.suffix for file in files)}: keep one of them"
        )
    return files[0] if files else None


def list_unread(folder: Path, read: Collection[Path]) -> list[str]:
    """Names of what else lies in a folder: files and folders.

    Args:
      folder: may be a file or missing, which holds nothing else.
      read: what is read of it.
    """
    if not folder.is_dir():
        return []
    return [one.name + "/" * one.is_dir() for one in visible(folder.iterdir()) if one not in read]


def visible(files: Iterable[Path]) -> list[Path]:
    """Files in natural order, without those that systems hide or make by themselves."""
    kept = (file for file in files if file.name[0] != "." and file.name.lower() not in _OF_SYSTEMS)
    return sorted(kept, key=lambda file: natural_key(file.name))

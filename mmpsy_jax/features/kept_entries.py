"""Where the files of a published corpus' participants lie, kept beside the dataset that was built from them.

A manifest is found again by its path; of a folder in a published layout only the builders know who lies where. No
scores are kept, and no copy of the dataset takes the file along.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmpsy_jax.features.dialogue import Omit
from mmpsy_jax.features.manifest import Entry, Part
from mmpsy_jax.io import InputError, read_json, write_json


def path_of(version_folder: Path) -> Path:
    """The file of a dataset."""
    return version_folder.parent / f".entries_{version_folder.name}.json"


def write(version_folder: Path, entries: Iterable[Entry]) -> None:
    """Keeps files, what is known of each part, and who speaks.

    Args:
      version_folder: of the dataset.
      entries: of a published layout.
    """
    kept = [
        {
            "participant": entry.participant,
            "speaker": entry.speaker,
            "channel": entry.channel,
            "omit": entry.omit.card(),
            "parts": [_of_part(part) for part in entry.parts or (Part(entry.recording, entry.transcript),)],
        }
        for entry in entries
    ]
    write_json(path_of(version_folder), {"entries": kept}, private=True)


def _of_part(part: Part) -> dict[str, Any]:
    return {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in dataclasses.asdict(part).items()}


def read(version_folder: Path) -> list[Entry]:
    """The entries of a dataset, each in parts; without scores, categories and splits.

    Raises:
      InputError: none are kept, or not as `write` wrote them.
    """
    path = path_of(version_folder)
    try:
        return [
            Entry(
                one["participant"],
                speaker=one["speaker"],
                channel=one["channel"],
                omit=Omit.of_card(one["omit"]),
                parts=tuple(map(_part, one["parts"])),
            )
            for one in read_json(path)["entries"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not as the build wrote it: delete it, or build the dataset again") from error


def _part(fields: dict[str, Any]) -> Part:
    files = {name: Path(fields[name]) if fields[name] else None for name in ("recording", "transcript")}
    return Part(**{**fields, **files, "omit": tuple(map(tuple, fields["omit"]))})

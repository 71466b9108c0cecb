"""A manifest of any corpus: for each participant where recording and transcript lie, and what was scored.

A CSV file, or a JSONL file with an object a line, in UTF-8:

| column | holds |
|---|---|
| `participant` | id |
| `recording` | audio file, or folder of them, joined in natural order; beside the manifest |
| `transcript` | file or folder (`transcript.py`), beside the manifest |
| `text` | the words themselves instead of `transcript`, an answer a line |
| `label:NAME` | whole-number score from 0; empty (JSONL: null) where it is missing |
| `group:NAME` | category, for subgroups; empty where it is not known |
| `split` | train, validation or test |

`participant` and one of `recording`, `transcript` and `text` are needed; a cell may be empty.
"""

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.csv_rows import read_table
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.features import table
from mmpsy_jax.features import transcript as transcript_lib
from mmpsy_jax.features.recording_folder import list_recordings, list_unread

SPLITS = ("train", "validation", "test")
_SOURCES = ("recording", "transcript", "text")
_LABEL, _GROUP = "label:", "group:"
# Labels become features of the records beside these.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = re.compile(
    r"participant|n_answers|n_characters|duration_s|n_windows|window_start_s|has_.*|transcript|(audio|text)(_length)?"
)
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """One participant of a manifest.

    Attributes:
      participant: id.
      recording, transcript: paths; None where there is none.
      text: the transcript itself; "" where there is none.
      labels: score by name, None where it is missing.
      groups: category by name, "" where it is not known.
      split: "" where the manifest has none.
    """

    participant: str
    recording: Path | None = None
    transcript: Path | None = None
    text: str = ""
    labels: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = ""

    def recordings(self) -> list[Path]:
        """The audio files, in order.

        Raises:
          InputError: not there, or a folder without any or with two of one name.
        """
        if self.recording is None:
            return []
        if not self.recording.exists():
            raise InputError(f"{self.recording}: no such file or folder: correct the path, or fetch the recording")
        if not self.recording.is_dir():
            return [self.recording]
        return list_recordings(self.recording)

    def unread(self) -> list[str]:
        """Names of what lies in the folder of recordings and is neither read as one nor as a transcript.

        Raises:
          InputError: as of `recordings`.
        """
        if self.recording is None:
            return []
        read = self.recordings()
        if self.transcript == self.recording:
            read += [file for file in self.recording.iterdir() if file.suffix.lower() == ".txt"]
        return list_unread(self.recording, [*read, *([self.transcript] if self.transcript else [])])

    def words(self) -> transcript_lib.Transcript:
        """The transcript; without answers where there is none.

        Raises:
          InputError: a file that cannot be used.
        """
        return transcript_lib.from_text(self.text) if self.transcript is None else transcript_lib.read(self.transcript)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All participants, in natural order of their ids.

    Attributes:
      path: of the file.
      labels, groups: names, in the order of the columns.
      entries: one per participant.
    """

    path: Path
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    entries: tuple[Entry, ...]


def is_manifest(path: Path) -> bool:
    """Whether a file is meant as a manifest: JSONL, or a CSV with a column `participant`."""
    if path.suffix.lower() == ".jsonl":
        return True
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return "participant" in next(csv.reader([file.readline()]), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def read(path: Path) -> Manifest:
    """Reads and checks a manifest; the files that it names are not opened.

    Raises:
      InputError: unreadable, a needed or unknown column, a bad id, label or split, somebody twice.
    """
    rows = list(_jsonl(path) if path.suffix.lower() == ".jsonl" else _csv(path))
    if not rows:
        raise InputError(f"{path}: names nobody: give at least one participant")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    _check_columns(path, columns)
    whole = ((line, {name: row.get(name, "") for name in columns}) for line, row in rows)
    entries = [_entry(f"{path}: line {line}", path.parent, row) for line, row in whole]
    table.refuse_duplicates(path, (entry.participant for entry in entries))
    if 0 < sum(not entry.split for entry in entries) < len(entries):
        raise InputError(f"{path}: some participants have a split and some have none: give each one, or none at all")
    names = {p: tuple(c.removeprefix(p) for c in columns if c.startswith(p)) for p in (_LABEL, _GROUP)}
    entries.sort(key=lambda entry: table.natural_key(entry.participant))
    return Manifest(path, names[_LABEL], names[_GROUP], tuple(entries))


def transcripts(path: Path) -> dict[str, str]:
    """Transcript of every participant of a manifest, without those whose transcript cannot be read."""
    texts = {}
    for entry in read(path).entries:
        with contextlib.suppress(InputError):
            texts[entry.participant] = entry.words().text
    return texts


def _csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    header, rows = read_table(path)
    _check_columns(path, header)
    return rows


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    # Split at newlines alone: JSON strings may hold further separators that `splitlines` knows.
    for number, line in enumerate(transcript_lib.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            raise InputError(f"{where}: not JSON: write one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: must be a JSON object")
        yield number, {name.strip(): _cell(where, name, value) for name, value in row.items()}


def _cell(where: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: {name[:40]!r} must be a string, a number or null")
    return str(value).strip()


def _check_columns(path: Path, columns: list[str]) -> None:
    known = ("participant", *_SOURCES, "split")
    for name in columns:
        prefix = next((p for p in (_LABEL, _GROUP) if name.startswith(p)), None)
        if prefix is None:
            if name not in known:
                raise InputError(
                    f"{path}: unknown column {name[:40]!r}: leave it out, or choose one of: {', '.join(known)}, "
                    f"{_LABEL}NAME, {_GROUP}NAME"
                )
        elif not _NAME.fullmatch(name.removeprefix(prefix)):
            raise InputError(
                f"{path}: column {name[:60]!r}: names of labels and groups are 1 to 40 of a-z, 0-9 and '_', beginning "
                "with a letter"
            )
        elif prefix == _LABEL and _TAKEN.fullmatch(name.removeprefix(prefix)):
            raise InputError(f"{path}: column {name!r}: records have a feature of this name: take another")
    if "participant" not in columns or not set(_SOURCES) & set(columns):
        raise InputError(
            f"{path}: the columns must include participant and one of {', '.join(_SOURCES)}; found "
            f"{', '.join(columns)[:200] or 'none'}"
        )


def _entry(where: str, folder: Path, row: Mapping[str, str]) -> Entry:
    participant = row["participant"]
    table.require_id(where, "participant", participant)
    where = f"{where} ({participant})"
    paths = {name: folder / row[name] if row.get(name) else None for name in ("recording", "transcript")}
    if paths["transcript"] and row.get("text"):
        raise InputError(f"{where}: has both transcript and text: keep one")
    split = row.get("split", "")
    if split and split not in SPLITS:
        raise one_of(f"split in {where}", split, SPLITS)
    labels = {name: _score(where, name, row[name]) for name in row if name.startswith(_LABEL)}
    return Entry(
        participant=participant,
        recording=paths["recording"],
        transcript=paths["transcript"],
        text=row.get("text", ""),
        labels={name.removeprefix(_LABEL): score for name, score in labels.items()},
        groups={name.removeprefix(_GROUP): row[name] for name in row if name.startswith(_GROUP)},
        split=split,
    )


def _score(where: str, name: str, given: str) -> int | None:
    # The messages leave the score out: an id beside a score is what must not reach a log.
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not (0 <= value <= _LARGEST and value % 1 == 0):
        raise InputError(f"{where}: {name} must be a whole number from 0, or empty where it is unknown")
    return int(value)

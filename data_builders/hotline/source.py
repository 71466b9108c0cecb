"""The layout of the published hotline code (repo czl0914/psy_hotline_analysis): a table per caller, a wav per segment.

    SOURCE/<caller>.csv                               columns index, role, and one 0/1 column per emotion
    SOURCE/original_audio_data/<caller>/<index>.wav   one segment

A row is kept where `role` is 1: the caller. Two more columns are read where they are there: `negative` (0/1; otherwise
a segment is negative where any emotion is, our choice) and `start_s`, the start of the segment in the call in seconds
(otherwise the caller's kept segments lie one behind the other). A column `text` is never read.
"""

import dataclasses
from pathlib import Path

from mmpsy_jax.csv_rows import read_table, whole
from mmpsy_jax.errors import InputError
from mmpsy_jax.features.table import natural_key

AUDIO_FOLDER = "original_audio_data"
CALLER_ROLE = 1
# In the order of the published heads.
EMOTIONS = (
    "despair",
    "sadness",
    "pain",
    "guilt",
    "confuse",
    "helplessness",
    "resentment",
    "fear",
    "numbness",
    "anxiety",
    "grievance",
)
NEGATIVE = "negative"
LABELS = (NEGATIVE, *EMOTIONS)
REQUIRED = ("index", "role", *EMOTIONS)
OPTIONAL = (NEGATIVE, "start_s", "text")


@dataclasses.dataclass(frozen=True)
class Segment:
    """One turn of a caller.

    Attributes:
      caller: whose call it is.
      index: number of the segment in the call; names its wav file.
      labels: 0 or 1 by name of `LABELS`.
      start_s: start in the call in seconds, None where the table does not say.
      wav: the recording.
    """

    caller: str
    index: int
    labels: dict[str, int]
    start_s: float | None
    wav: Path

    @property
    def name(self) -> str:
        """Unique id."""
        return f"{self.caller}/{self.index}"


def read_calls(folder: Path) -> dict[str, list[Segment]]:
    """The caller's segments of every call, in the order of their index.

    Raises:
      InputError: no tables, a missing or unknown column, a cell that is not what its column holds, an index twice, a
        caller without a segment, a wav file that is not there.
    """
    tables = sorted(folder.glob("*.csv"), key=lambda path: natural_key(path.stem)) if folder.is_dir() else []
    if not tables:
        raise InputError(f"{folder}: no <caller>.csv: give the folder that holds one table per caller")
    return {path.stem: _read_call(path) for path in tables}


def _read_call(path: Path) -> list[Segment]:
    made: dict[int, Segment] = {}
    for line, row in read_table(path, REQUIRED, OPTIONAL).rows:
        if whole(path, line, "role", row["role"]) != CALLER_ROLE:
            continue
        index = whole(path, line, "index", row["index"])
        if index in made:
            raise InputError(f"{path}: line {line}: index {index} is there twice: keep one row per segment")
        labels = {name: _flag(path, line, name, row[name]) for name in EMOTIONS}
        negative = _flag(path, line, NEGATIVE, row[NEGATIVE]) if NEGATIVE in row else int(any(labels.values()))
        start = _seconds(path, line, row["start_s"]) if "start_s" in row else None
        wav = path.parent / AUDIO_FOLDER / path.stem / f"{index}.wav"
        if not wav.is_file():
            raise InputError(f"{wav}: missing, but line {line} of {path.name} is a turn of the caller: add the file")
        made[index] = Segment(path.stem, index, {NEGATIVE: negative, **labels}, start, wav)
    if not made:
        raise InputError(f"{path}: no row with role {CALLER_ROLE} (the caller): remove the table, or mend the roles")
    return [made[index] for index in sorted(made)]


def _flag(path: Path, line: int, name: str, text: str) -> int:
    if text not in ("0", "1"):
        raise InputError(f"{path}: line {line}: {name} must be 0 or 1: mend the cell")
    return int(text)


def _seconds(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{path}: line {line}: start_s must be seconds, 0 or more: mend the cell")
    return value

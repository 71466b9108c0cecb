"""The layout of the published hotline code (repo czl0914/psy_hotline_analysis): a table per caller, a file per segment.

    SOURCE/<caller>.csv                               columns index, role, and one 0/1 column per emotion
    SOURCE/original_audio_data/<caller>/<index>.wav   one segment (or another kind of sound file)

A row is kept where `role` is 1: the caller. Emotions are the eleven published ones, or `label:NAME`, or the columns
that `--labels` names; all tables must have the same. Two more columns are read where they are there: `negative` (0/1;
otherwise a segment is negative where any of the published emotions is, our choice) and `start_s`, the start of the
segment in the call in seconds (otherwise the caller's kept segments lie one behind the other). `text` is never read.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from mmpsy_jax.features.recording_folder import list_unread, recordings_by_stem, visible
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, Table, number, read_table, whole, whole_or_none

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
CLUSTER_FEATURE = "caller"
OPTIONAL = (NEGATIVE, "start_s", "text")
_LABEL = "label:"
_NAME = re.compile(r"[^\W\d_]\w{0,39}")
_TAKEN = re.compile(
    r"participant|caller|n_(answers|characters|windows)|duration_s|window_start_s|transcript|has_.*|audio(_length)?"
)


@dataclasses.dataclass(frozen=True)
class Segment:
    """One turn of a caller.

    Attributes:
      caller: whose call it is.
      index: number of the segment in the call; names its recording.
      labels: 0 or 1 by name.
      start_s: start in the call in seconds, None where the table does not say.
      recording: of this segment alone.
    """

    caller: str
    index: int
    labels: dict[str, int]
    start_s: float | None
    recording: Path

    @property
    def name(self) -> str:
        """Unique id."""
        return f"{self.caller}/{self.index}"


@dataclasses.dataclass(frozen=True)
class Calls:
    """Opened tables.

    Attributes:
      labels: names, in the order of the records.
      segments: the caller's segments of every call, in the order of their index.
      notes: by caller, "" for all: how a table differs from what is documented, and what is not read.
    """

    labels: tuple[str, ...]
    segments: dict[str, list[Segment]]
    notes: tuple[tuple[str, str], ...]


def read_calls(folder: Path, labels: Sequence[str] = ()) -> Calls:
    """Reads all tables.

    Args:
      folder: of the tables.
      labels: columns of emotions; none: `label:NAME`, or the published ones.

    Raises:
      InputError: no tables, a missing or unknown column, a cell that is not what its column holds, an index twice, a
        caller without a segment, a recording that is not there, tables with other labels than the first.
    """
    files = visible(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in files if path.suffix.lower() in (".csv", ".tsv")]
    if not found:
        raise InputError(f"{folder}: no <caller>.csv: give the folder that holds one table per caller")
    segments: dict[str, list[Segment]] = {}
    names: dict[str, str] | None = None
    notes: list[tuple[str, str]] = []
    for path in sorted(found, key=lambda path: natural_key(path.stem)):
        known = ("role", "index", *EMOTIONS, *OPTIONAL, f"{_LABEL}*")
        table = read_table(path, ("index", "role", *labels), [name for name in known if name not in labels])
        columns = _label_columns(table, labels)
        names = columns if names is None else names
        if columns.keys() != names.keys():
            odd = ", ".join(sorted(columns.keys() ^ names.keys()))
            raise InputError(
                f"{path}: its labels differ from those of the first table in {odd}: give all tables the same"
            )
        if path.stem in segments:
            raise InputError(f"{path}: there are two tables of this caller: keep one")
        segments[path.stem], unread = _read_call(table, columns)
        notes += [(path.stem, note) for note in (*table.notes, *unread)]
    audio = folder / AUDIO_FOLDER
    strangers = list_unread(audio, [audio / caller for caller in segments])
    if strangers:
        notes.append(("", f"{audio}: {len(strangers)} files or folders belong to no table and are not read"))
    return Calls(tuple(names or ()), segments, tuple(notes))


def _label_columns(table: Table, labels: Sequence[str]) -> dict[str, str]:
    """Columns by label."""
    own = {name.removeprefix(_LABEL): name for name in table.header if name.startswith(_LABEL)}
    named = {name: name for name in labels} or own
    published = [name for name in EMOTIONS if name in table.columns]
    if not named and len(published) < len(EMOTIONS):
        missing = ", ".join(name for name in EMOTIONS if name not in published)
        raise InputError(
            f"{table.path}: no column {missing}: needed are the published emotions; emotions of your own are "
            "label:NAME, or the columns that --labels=NAME,... names"
        )
    if not labels:
        negative = {NEGATIVE: NEGATIVE} if not own or NEGATIVE in table.columns else {}
        named = {**negative, **dict(zip(published, published, strict=True)), **own}
    for name in named:
        if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
            raise InputError(
                f"{table.path}: {name[:40]!r} cannot be the name of a label: take 1 to 40 letters, digits and '_', "
                "beginning with a letter, and none that a record has besides, such as caller"
            )
    return named


def _read_call(table: Table, columns: dict[str, str]) -> tuple[list[Segment], list[str]]:
    """The caller's segments in order, and notes on recordings of no row."""
    path, made, others = table.path, {}, []
    folder = path.parent / AUDIO_FOLDER / path.stem
    recordings = recordings_by_stem(folder)
    for line, row in table.rows:
        where = f"{path}: line {line}"
        if whole(where, "role", row["role"]) != CALLER_ROLE:
            others.append(whole_or_none(row["index"]))
            continue
        index = whole(where, "index", row["index"])
        if index in made:
            raise InputError(f"{where}: index {index} is there twice: keep one row per segment")
        labels = {name: whole(where, column, row[column], 1) for name, column in columns.items() if column in row}
        if NEGATIVE in columns and NEGATIVE not in labels:
            labels[NEGATIVE] = int(any(labels.values()))
        start = number(where, "start_s", row["start_s"], 0.0) if "start_s" in row else None
        recording = recordings.get(str(index))
        if recording is None:
            raise InputError(
                f"{folder / str(index)}.wav: missing, as any other kind of sound file is, but line {line} of "
                f"{path.name} is a turn of the caller: add the file"
            )
        made[index] = Segment(path.stem, index, {name: labels[name] for name in columns}, start, recording)
    if not made:
        raise InputError(f"{path}: no row with role {CALLER_ROLE} (the caller): remove the table, or mend the roles")
    unread = list_unread(folder, [one.recording for one in made.values()])
    unread = [file for file in unread if file.stem not in {str(index) for index in others}]
    notes = [f"{folder}: {len(unread)} files belong to no row of the table and are not read"] * bool(unread)
    return [made[index] for index in sorted(made)], notes

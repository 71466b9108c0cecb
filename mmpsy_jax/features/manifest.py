"""A manifest of any corpus: for each participant where recording and transcript lie, and what was scored.

A table as `io.read_table` reads them, or a JSONL file with an object a line, in UTF-8:

| column | holds |
|---|---|
| `participant` | id |
| `recording` | audio file, or folder of them, joined in natural order; beside the manifest |
| `transcript` | file or folder (`transcript.py`), beside the manifest |
| `text` | the words themselves instead of `transcript`, an answer a line |
| `speaker` | name of the participant in a transcript that names speakers; "participant" where it is empty |
| `channel` | 1 or 2, where each of two channels is a speaker: the participant's; the other one is the interviewer's |
| `omit` | what is left out (`omissions.py`): numbers of questions, and stretches of seconds such as 395-428 |
| `parts` | JSONL: instead of `recording` and `transcript` a list of objects with these two, whose times start anew, and
`shift_s`, seconds that are added to the times, `omit`, a list of [start, end], and `question`, a number |
| `label:NAME` | score or class (`label_columns.py`); empty (JSONL: null) where it is missing |
| `subgroup:NAME` | category, for subgroups; empty where it is not known |
| `cluster` | person, family or class of several participants, who stay together in splits, folds and resamples |
| `split` | train, validation or test |
| `fold` | name of the published fold in whose test part the participant is |
| `other:NAME` | anything; is not read |

`participant` and one of `recording`, `transcript`, `text` and `parts` are needed; a cell may be empty.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmpsy_jax.features import omissions, table
from mmpsy_jax.features import script as script_lib
from mmpsy_jax.features import transcript as transcript_lib
from mmpsy_jax.features.dialogue import NOTHING, Omit, Take, converse
from mmpsy_jax.features.label_columns import read_column
from mmpsy_jax.features.recording_folder import list_recordings, list_unread
from mmpsy_jax.features.script_lines import Line, Script
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.io import InputError, has_column, one_of, parse_json, read_table, require_file, whole

SPLITS = ("train", "validation", "test")
_SOURCES = ("recording", "transcript", "text", "parts")
_LABEL, _SUBGROUP = "label:", "subgroup:"
CLUSTER = "cluster"
_COLUMNS = (
    ("participant", _SOURCES),
    ("speaker", "channel", "omit", CLUSTER, "split", "fold", f"{_LABEL}*", f"{_SUBGROUP}*"),
)
_FORMER = {"group:*": f"{_SUBGROUP}*"}  # still read
# Labels become features of the records beside these.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = re.compile(
    r"participant|cluster|n_answers|n_characters|duration_s|n_windows|window_start_s|has_.*|transcript|n_turns|n_interviewer_characters|(interviewer_)?(audio|text)(_length)?"
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A stretch of an interview with a recording and a transcript of its own: an answer, a task, a tape.

    Attributes:
      recording, transcript: files; None where there is none.
      shift_s: seconds that are added to the times of the transcript, so that they are those of the recording.
      omit: stretches that are left out, start and end in seconds of the recording.
      question: number of the question that it answers; 0 for its place among the parts.
    """

    recording: Path | None = None
    transcript: Path | None = None
    shift_s: float = 0.0
    omit: tuple[tuple[float, float], ...] = ()
    question: int = 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One participant of a manifest, or of a published layout.

    Attributes:
      participant: id.
      recording, transcript: paths; None where there is none.
      text: the transcript itself; "" where there is none.
      speaker: name of the participant in a transcript that names speakers; "" where the entry does not say it.
      channel: of the recordings in which the participant speaks, 1 or 2, and the interviewer in the other one; 0 where
        channels are no speakers.
      omit: what is left out.
      labels: score by name, None where it is missing; empty where scores are not read.
      subgroups: category by name, "" where it is not known.
      cluster: whom the participant belongs to; the participant's own id where there is nobody else.
      split: "" where the manifest has none.
      fold: in whose test part it is in a published cross-validation; "" where there is none.
      parts: files in the order in which they were made, where a layout names each; then `recording` and `transcript`
        are None.
    """

    participant: str
    recording: Path | None = None
    transcript: Path | None = None
    text: str = ""
    speaker: str = ""
    channel: int = 0
    omit: Omit = NOTHING
    labels: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    subgroups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cluster: str = ""
    split: str = ""
    fold: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """Files and folders that it names."""
        named = [(part.recording, part.transcript) for part in self.parts] or [(self.recording, self.transcript)]
        return [path for pair in named for path in pair if path is not None]

    @property
    def has_recording(self) -> bool:
        """Whether it names one."""
        return self.recording is not None or any(part.recording for part in self.parts)

    @property
    def has_words(self) -> bool:
        """Whether it names a transcript, or holds one."""
        return bool(self.transcript or self.text) or any(part.transcript for part in self.parts)

    def recordings(self) -> list[Path]:
        """The audio files, in order.

        Raises:
          InputError: not there, a folder without any or with two of one name, or no regular file.
        """
        if self.parts:
            files = [part.recording for part in self.parts if part.recording is not None]
            for file in files:
                require_file(file)
            return files
        if self.recording is None:
            return []
        if not self.recording.exists():
            raise InputError(f"{self.recording}: no such file or folder: correct the path, or fetch the recording")
        if not self.recording.is_dir():
            require_file(self.recording)
            return [self.recording]
        files = list_recordings(self.recording)
        for file in files:
            require_file(file)
        return files

    def unread(self) -> list[Path]:
        """What lies in the folder of recordings and is neither read as one nor as a transcript.

        Raises:
          InputError: as of `recordings`.
        """
        if self.recording is None:
            return []
        read = {*self.recordings(), self.transcript}
        if self.transcript == self.recording and self.recording.is_dir():
            read |= set(transcript_lib.files(self.recording))
        return list_unread(self.recording, read)

    def scripts(self) -> list[Script]:
        """What was written down: one script per part; else one, but for a folder of transcripts with times or speakers.

        Raises:
          InputError: a file that cannot be used.
        """
        if self.parts:
            return [Script() if p.transcript is None else _as_answer(script_lib.read(p.transcript)) for p in self.parts]
        if self.transcript is None:
            lines = tuple(map(Line, script_lib.answers_of(self.text)))
            return [Script(lines=lines)] if lines else []
        if not self.transcript.is_dir():
            return [script_lib.read(self.transcript)]
        files = transcript_lib.files(self.transcript)
        if not files:
            raise InputError(f"{self.transcript}: holds no .txt file, and no other transcript: give one per answer")
        scripts = [_as_answer(script_lib.read(file)) for file in files]
        unread = transcript_lib.unread(self.transcript) if self.transcript != self.recording else ()
        note = (f"files or folders beside the .txt files that are not read: {len(unread)}",) if unread else ()
        if not all(one.is_plain for one in scripts):
            return [dataclasses.replace(scripts[0], notes=(*note, *scripts[0].notes)), *scripts[1:]]
        lines = tuple(line for one in scripts for line in one.lines)
        empty = sum(not line.text for line in lines)
        note = (*([f"files without words: {empty}"] if empty else []), *note)
        return [Script(self.transcript, lines, notes=note)]

    def words(self) -> Transcript:
        """What the participant says, by what the entry says alone; `session.words` knows more.

        Raises:
          InputError: a file that cannot be used, or nobody is called so.
        """
        takes = [Take(script) for script in self.scripts()]
        return converse(takes, self.speaker or transcript_lib.PARTICIPANT, self.omit).participant


def _as_answer(script: Script) -> Script:
    """A script as one answer, where it holds neither times nor speakers."""
    if not script.is_plain:
        return script
    answer = " ".join(" ".join(line.text for line in script.lines).split())
    return dataclasses.replace(script, lines=(Line(answer),), is_file=False)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All participants of a manifest or of a published layout, in natural order of their ids.

    Attributes:
      path: of the file; of a layout the folder.
      labels, subgroups: names, in the order of the columns.
      entries: one per participant.
      clustered: whether it says who belongs together.
      notes: how the file differs from what is documented.
      ranges: ends of the scale of labels, where they are known.
      classes: names of the values of a label that is an index, such as an emotion.
      split_rule: by whom the splits were made, where `entries` have them.
      notes_of: (participant, what is known to be odd about it).
      lacking: {participant: why it cannot be read}, of those whose files are missing.
      synthetic: no person stands behind it.
      same_people_as: datasets, such as interviews/edaic, that hold people of this corpus under the same ids.
      unit: what an entry is, in the plural.
    """

    path: Path
    labels: tuple[str, ...]
    subgroups: tuple[str, ...]
    entries: tuple[Entry, ...]
    clustered: bool = False
    notes: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    split_rule: str = ""
    notes_of: tuple[tuple[str, str], ...] = ()
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    synthetic: bool = False
    same_people_as: tuple[str, ...] = ()
    unit: str = "participants"


def is_manifest(path: Path) -> bool:
    """Whether a file is meant as a manifest: JSONL, or a CSV or workbook with a column `participant`."""
    if path.suffix.lower() not in (".csv", ".tsv", ".xlsx"):
        return path.suffix.lower() == ".jsonl"
    return has_column(path, "participant")


def read(
    path: Path,
    *,
    scored: bool = True,
    ignore: Sequence[str] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Manifest:
    """Reads and checks a manifest; the files that it names are not opened.

    Args:
      path: of the file.
      scored: False reads neither scores nor splits, for predictions.
      ignore: names of columns that are not read.
      ranges: stated ends of scales by label.

    Raises:
      InputError: unreadable, a needed or unknown column, a bad id, label or split, somebody twice.
    """
    cells = read_table(path, *_COLUMNS, aliases=_FORMER, ignore=ignore, nested=("parts",))
    columns = cells.header
    _check_names(path, columns)
    if not cells.lines:
        raise InputError(f"{path}: names nobody: give at least one participant")
    names = {p: tuple(c.removeprefix(p) for c in columns if c.startswith(p)) for p in (_LABEL, _SUBGROUP)}
    labels = {
        name: read_column(str(path), name, cells.columns[f"{_LABEL}{name}"], cells.lines, ranges)
        for name in (names[_LABEL] if scored else ())
    }
    entries = [
        _entry(f"{path}: line {line}", path.parent, row, {n: one.values[i] for n, one in labels.items()}, scored)
        for i, (line, row) in enumerate(cells.rows)
    ]
    places = [(f"line {line}", entry.participant) for line, entry in zip(cells.lines, entries, strict=True)]
    remedy = f"keep one, or give each session an id of its own and the sessions of a person the same {CLUSTER}"
    table.refuse_duplicates(path, places, remedy)
    if 0 < sum(not entry.split for entry in entries) < len(entries):
        raise InputError(f"{path}: some participants have a split and some have none: give each one, or none at all")
    entries.sort(key=lambda entry: table.natural_key(entry.participant))
    return Manifest(
        path,
        names[_LABEL],
        names[_SUBGROUP],
        tuple(entries),
        CLUSTER in columns,
        (*cells.notes, *(note for one in labels.values() for note in one.notes)),
        classes={name: one.classes for name, one in labels.items() if one.classes},
    )


def _check_names(path: Path, columns: list[str]) -> None:
    for name in columns:
        prefix = next((p for p in (_LABEL, _SUBGROUP) if name.startswith(p)), None)
        if prefix and not _NAME.fullmatch(name.removeprefix(prefix)):
            raise InputError(
                f"{path}: column {name[:60]!r}: names of labels and subgroups are 1 to 40 of a-z, 0-9 and '_', "
                "beginning with a letter"
            )
        if prefix == _LABEL and _TAKEN.fullmatch(name.removeprefix(prefix)):
            raise InputError(f"{path}: column {name!r}: records have a feature of this name: take another")


def _entry(where: str, folder: Path, row: Mapping[str, str], labels: Mapping[str, float | None], scored: bool) -> Entry:
    participant = row["participant"]
    table.require_id(where, "participant", participant)
    cluster = row.get(CLUSTER) or participant
    table.require_id(where, CLUSTER, cluster)
    paths = {name: folder / row[name] if row.get(name) else None for name in ("recording", "transcript")}
    if paths["transcript"] and row.get("text"):
        raise InputError(f"{where}: has both transcript and text: keep one")
    split = row.get("split", "").casefold() if scored else ""
    if split and split not in SPLITS:
        raise InputError(f"{where}: split must be {', '.join(SPLITS)}, or empty for everybody: correct the cell")
    channel = whole(where, "channel", row.get("channel", ""), 2, empty=None)
    if channel == 0:
        raise InputError(f"{where}: channel is 1 or 2, or empty where channels are no speakers: mend the cell")
    parts = _parts(where, folder, row["parts"]) if row.get("parts") else ()
    if parts and (paths["recording"] or paths["transcript"] or row.get("text")):
        raise InputError(f"{where}: has parts beside recording, transcript or text: keep one of the two")
    return Entry(
        participant=participant,
        recording=paths["recording"],
        transcript=paths["transcript"],
        text=row.get("text", ""),
        speaker=row.get("speaker", ""),
        channel=channel or 0,
        omit=omissions.read_cell(where, row.get("omit", "")),
        parts=parts,
        labels=labels,
        subgroups={name.removeprefix(_SUBGROUP): row[name] for name in row if name.startswith(_SUBGROUP)},
        cluster=cluster,
        split=split,
        fold=row.get("fold", "") if scored else "",
    )


def _parts(where: str, folder: Path, text: str) -> tuple[Part, ...]:
    objects, known = parse_json(f"{where}: parts", text), [field.name for field in dataclasses.fields(Part)]
    if not isinstance(objects, list) or not objects or not all(isinstance(one, dict) for one in objects):
        raise InputError(f"{where}: parts must be a list of objects with recording and transcript: mend it")
    parts = []
    for k, one in enumerate(objects, 1):
        here = f"{where}: part {k}"
        for name in one:
            if name not in known:
                raise one_of(f"{here}: field", name, known)
        files = {name: folder / one[name] if one.get(name) else None for name in ("recording", "transcript")}
        shift, omit, question = (one.get(name) or 0 for name in ("shift_s", "omit", "question"))
        if not any(files.values()):
            raise InputError(f"{here}: has neither recording nor transcript: give one")
        if isinstance(shift, bool) or not isinstance(shift, int | float):
            raise InputError(f"{here}: shift_s is no number of seconds: mend it")
        if isinstance(question, bool) or not isinstance(question, int) or not 0 <= question <= script_lib.LAST_QUESTION:
            raise InputError(f"{here}: question is no whole number from 0 to {script_lib.LAST_QUESTION}: mend it")
        pairs = [one if isinstance(one, list) and len(one) == 2 else (None, None) for one in omit or ()]
        parts.append(
            Part(**files, shift_s=shift, question=question, omit=tuple(omissions.span(here, *pair) for pair in pairs))
        )
    return tuple(parts)

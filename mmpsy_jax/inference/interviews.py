"""Finding what to predict on: files of a folder or lines of a manifest become interviews; what is wrong is listed.

| file | holds |
|---|---|
| `.txt` | one participant, named as the file; each line is an answer, in the order of the questions |
| `.srt`, `.vtt`, or subtitles in a `.txt` | one participant, named as the file, with times; each cue is an answer |
| `.json` of Whisper, `.TextGrid`, `.eaf`, `.cha`, a `.csv` of words | one participant, named as the file |
| `.json` | the corpus's own table (`wav_select.json`); scores are neither needed nor read |
| `.csv`, `.tsv` | `participant_id`, `text` or `audio` (a path beside it), optionally `question`; one answer a line |
| manifest | `.csv`, `.tsv`, `.jsonl`: a participant a line (`features/manifest.py`); scores are not used |
| `.wav`, `.flac`, `.mp3`, ... (`features/recording_folder.py`) | a recording of the participant named as the file |

A manifest is given by itself, as the input. A folder in the folder is one participant whose recordings are joined in
natural order (`wav_10` after `wav_9`).
"""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmpsy_jax.features import manifest, session, table
from mmpsy_jax.features import script as script_lib
from mmpsy_jax.features.clip import Clip
from mmpsy_jax.features.interview import Speech
from mmpsy_jax.features.manifest import Entry, Manifest
from mmpsy_jax.features.recording_folder import SOUND, name_unread, visible
from mmpsy_jax.features.script import LAST_QUESTION
from mmpsy_jax.features.script_lines import Line, Script
from mmpsy_jax.features.session import AS_NAMED, Reading
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.io import InputError, has_column, read_table, whole

TABLES = (".json", ".csv", ".tsv", ".jsonl")
KINDS = tuple(dict.fromkeys((*script_lib.TEXTS, *TABLES, *script_lib.FORMATS, *SOUND)))


@dataclasses.dataclass
class Interview:
    """One participant to predict on.

    Attributes:
      participant: id.
      transcript: what the participant says; without answers where that is not known.
      recordings: audio files, or what is used of them, in order; empty without any.
      interviewer: the other side.
    """

    participant: str
    transcript: Transcript = Transcript()  # noqa: RUF009  it is frozen
    recordings: list[Path | Clip] = dataclasses.field(default_factory=list)
    interviewer: Speech = Speech()  # noqa: RUF009  it is frozen

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self.recordings and not self.transcript.text.strip()

    @classmethod
    def of(cls, entry: Entry, reading: Reading) -> "Interview":
        """The interview of an entry of a manifest or layout, or of files that were found.

        Raises:
          InputError: as `session.read`, or there is nothing to read.
        """
        both = session.read(entry, reading)
        return cls(entry.participant, both.participant.transcript, list(both.participant.recordings), both.interviewer)


@dataclasses.dataclass(frozen=True)
class _Found(Entry):
    """A participant of whom files were found."""

    sounds: tuple[Path, ...] = ()
    script: Script = Script()  # noqa: RUF009  it is frozen

    def recordings(self) -> list[Path]:
        """The audio files, in order."""
        return list(self.sounds)

    def scripts(self) -> list[Script]:
        """The transcript."""
        return [self.script] if self.script.lines or self.script.is_file else []


@dataclasses.dataclass(frozen=True)
class Failure:
    """What cannot be used, and the rule that it breaks; never any content."""

    what: str
    reason: str


def find(
    path: str | Path,
    *,
    apart: bool = False,
    ignore: Sequence[str] = (),
    published: Manifest | None = None,
    reading: Reading = AS_NAMED,
) -> tuple[list[Interview], list[Failure]]:
    """All interviews of a folder, or of one file, in natural order of their ids.

    Recordings are only listed here, or measured; transcripts are read.

    Args:
      path: see above.
      apart: recordings in a folder in the folder are not joined: each is a participant of its own, `folder/name`.
      ignore: columns of a manifest that are not read.
      published: who lies in the folder, where it is in the layout of a published corpus; files are not looked for then.
      reading: who is the participant of a transcript that names speakers, and what is left out.

    Raises:
      InputError: nothing there, not one file of a kind that is known, or columns to ignore of what is no manifest.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: give a folder, a {', '.join(KINDS)} file, or built records")
    listed = published
    if listed is None and path.is_file() and manifest.is_manifest(path):
        listed = manifest.read(path, scored=False, ignore=ignore)
    if listed is not None:
        return _read_listed(listed, reading)
    files = sorted(path.rglob("*"), key=lambda p: table.natural_key(str(p))) if path.is_dir() else [path]
    seen = [file for file in visible(files) if not file.is_dir()]
    files = [file for file in files if file in seen and file.suffix.lower() in KINDS]
    if not files:
        raise InputError(f"{path}: holds no file that can be read: give {', '.join(KINDS)}")
    people: dict[str, _Found] = {}
    failures = _unread(file for file in seen if file.suffix.lower() not in KINDS)
    if ignore:
        raise InputError(f"{path}: --ignore is about the columns of a manifest: leave it out")
    for file in files:
        try:
            parts = list(_read(file, path, apart))
        except InputError as error:
            failures.append(Failure(str(file), str(error).removeprefix(f"{file}: ")))
            continue
        for part in parts:
            whole = people.get(part.participant, _Found(part.participant))
            people[part.participant] = _merge(whole, part, file, failures)
    everybody = sorted(people.values(), key=lambda one: table.natural_key(one.participant))
    readable, failed = _read_all(everybody, reading, "the transcript is empty: it must hold at least one character")
    return readable, failures + failed


def _read_all(entries: Iterable[Entry], reading: Reading, empty: str) -> tuple[list[Interview], list[Failure]]:
    """The interviews of some entries, and what is wrong with the others: `empty` where nothing is in them."""
    readable, failures = [], []
    for entry in entries:
        try:
            one, unread = Interview.of(entry, reading), entry.unread()
            if one.is_empty:
                raise InputError(empty)
        except InputError as error:
            failures.append(Failure(entry.participant, str(error)))
            continue
        if unread:
            failures.append(Failure(entry.participant, name_unread(unread)))
        readable.append(one)
    return readable, failures


def _unread(files: Iterable[Path]) -> list[Failure]:
    """One failure for all files of a suffix that is not known."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(file.suffix.lower(), []).append(file)
    return [
        Failure(f"{first}{f' and {len(more)} more' if more else ''}", "not read: no kind of file that is known")
        for first, *more in kinds.values()
    ]


def _read_listed(people: Manifest, reading: Reading) -> tuple[list[Interview], list[Failure]]:
    """The interviews of a manifest, or of a folder in the layout of a published corpus."""
    _print_notes([*people.notes, *(f"{who}: {note}" for who, note in people.notes_of)])
    there = [entry for entry in people.entries if entry.participant not in people.lacking]
    readable, failures = _read_all(there, reading, "has neither a recording nor a transcript")
    return readable, [*(Failure(who, reason) for who, reason in people.lacking.items()), *failures]


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _merge(whole: _Found, part: _Found, file: Path, failures: list[Failure]) -> _Found:
    """Adds what a file says to what is known of its participant: one transcript, any number of recordings."""
    if part.script.lines and whole.script.lines:
        failures.append(
            Failure(f"{file}: {part.participant}", "a transcript of this participant was read already: keep one")
        )
        return whole
    if any(one.parent == new.parent and one.stem == new.stem for one in whole.sounds for new in part.sounds):
        failures.append(Failure(str(file), "another recording of this name was read already: keep one"))
        return whole
    script = part.script if part.script.lines else whole.script
    return dataclasses.replace(whole, script=script, sounds=(*whole.sounds, *part.sounds))


def _read(file: Path, top: Path, apart: bool) -> Iterator[_Found]:
    kind = file.suffix.lower()
    if kind == ".json" and not script_lib.is_json_transcript(file):
        for one in table.read_table(file, scored=False):
            lines = tuple(Line(a, question=q) for a, q in zip(one.answers, one.questions, strict=True))
            yield _Found(one.participant, script=Script(lines=lines))
        return
    if manifest.is_manifest(file):
        raise InputError(f"{file}: is a manifest: give it by itself, as --input={file}")
    if kind in TABLES and (has_column(file, "participant_id") or not _is_transcript(file)):
        yield from _read_csv(file)
        return
    inside = file.parent != top and top.is_dir()
    if kind in SOUND:
        name = file.parent.name if inside else file.stem
        yield _Found(f"{name}/{file.stem}" if inside and apart else name, sounds=(file,))
        return
    yield _Found(file.stem, script=script_lib.read(file))


def _is_transcript(file: Path) -> bool:
    return any(has_column(file, name) for name in ("text", "word", "value"))


def _read_csv(file: Path) -> Iterator[_Found]:
    lines: dict[str, list[Line]] = {}
    sounds: dict[str, list[Path]] = {}
    rows = read_table(file, ("participant_id", ("text", "audio")), ("question",))
    empty = 0
    for line, row in rows.rows:
        where, name = f"{file}: line {line}", row["participant_id"]
        if not name:
            raise InputError(f"{where}: participant_id is empty: every line needs one")
        answers, recordings = lines.setdefault(name, []), sounds.setdefault(name, [])
        if row.get("audio"):
            recordings.append(file.parent / row["audio"])
        if row.get("text"):
            question = whole(where, "question", row.get("question", ""), LAST_QUESTION, empty=None)
            answers.append(Line(row["text"], question=question))
        empty += not row.get("audio") and not row.get("text")
    _print_notes([*rows.notes, *[f"{file}: rows without words or audio: {empty}"] * bool(empty)])
    for name, answers in lines.items():
        yield _Found(name, script=Script(lines=tuple(answers)), sounds=tuple(sounds[name]))

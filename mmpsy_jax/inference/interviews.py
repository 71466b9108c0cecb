"""Finding what to predict on: files of a folder or lines of a manifest become interviews; what is wrong is listed.

| file | holds |
|---|---|
| `.txt` | one participant, named as the file; each line is an answer, in the order of the questions |
| `.srt`, `.vtt`, or subtitles in a `.txt` | one participant, named as the file, with times; each cue is an answer |
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

from mmpsy_jax.features import manifest, table
from mmpsy_jax.features import transcript as transcript_lib
from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.features.recording_folder import SOUND, name_unread, visible
from mmpsy_jax.features.transcript import LAST_QUESTION, Transcript
from mmpsy_jax.io import InputError, read_table, whole

TABLES = (".json", ".csv", ".tsv", ".jsonl")
KINDS = (*transcript_lib.TEXTS, *TABLES, *SOUND)


@dataclasses.dataclass
class Interview:
    """One participant to predict on.

    Attributes:
      participant: id.
      transcript: what was before; without answers where that is not known.
      recordings: audio files, in order; empty without any.
    """

    participant: str
    transcript: Transcript = Transcript()  # noqa: RUF009  it is frozen
    recordings: list[Path] = dataclasses.field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self.recordings and not self.transcript.text.strip()


@dataclasses.dataclass(frozen=True)
class Failure:
    """What cannot be used, and the rule that it breaks; never any content."""

    what: str
    reason: str


def find(
    path: str | Path, *, apart: bool = False, ignore: Sequence[str] = (), published: Manifest | None = None
) -> tuple[list[Interview], list[Failure]]:
    """All interviews of a folder, or of one file, in natural order of their ids.

    Recordings are only listed here; transcripts are read.

    Args:
      path: see above.
      apart: recordings in a folder in the folder are not joined: each is a participant of its own, `folder/name`.
      ignore: columns of a manifest that are not read.
      published: who lies in the folder, where it is in the layout of a published corpus; files are not looked for then.

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
        return _read_listed(listed)
    files = sorted(path.rglob("*"), key=lambda p: table.natural_key(str(p))) if path.is_dir() else [path]
    seen = [file for file in visible(files) if not file.is_dir()]
    files = [file for file in files if file in seen and file.suffix.lower() in KINDS]
    if not files:
        raise InputError(f"{path}: holds no file that can be read: give {', '.join(KINDS)}")
    people: dict[str, Interview] = {}
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
            _merge(people.setdefault(part.participant, Interview(part.participant)), part, file, failures)
    empty = "the transcript is empty: it must hold at least one character"
    failures += [Failure(one.participant, empty) for one in people.values() if one.is_empty]
    readable = [one for one in people.values() if not one.is_empty]
    return sorted(readable, key=lambda one: table.natural_key(one.participant)), failures


def _unread(files: Iterable[Path]) -> list[Failure]:
    """One failure for all files of a suffix that is not known."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(file.suffix.lower(), []).append(file)
    return [
        Failure(f"{first}{f' and {len(more)} more' if more else ''}", "not read: no kind of file that is known")
        for first, *more in kinds.values()
    ]


def _read_listed(people: Manifest) -> tuple[list[Interview], list[Failure]]:
    """The interviews of a manifest, or of a folder in the layout of a published corpus."""
    readable, failures = [], [Failure(who, reason) for who, reason in people.lacking.items()]
    _print_notes([*people.notes, *(f"{who}: {note}" for who, note in people.notes_of)])
    for entry in people.entries:
        if entry.participant in people.lacking:
            continue
        try:
            one, unread = Interview(entry.participant, entry.words(), list(entry.recordings())), entry.unread()
            if one.is_empty:
                raise InputError("has neither a recording nor a transcript")
        except InputError as error:
            failures.append(Failure(entry.participant, str(error)))
            continue
        if unread:
            failures.append(Failure(entry.participant, name_unread(unread)))
        readable.append(one)
    return readable, failures


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _merge(whole: Interview, part: Interview, file: Path, failures: list[Failure]) -> None:
    """Adds what a file says to what is known of its participant: one transcript, any number of recordings."""
    if part.transcript.answers and whole.transcript.answers:
        failures.append(
            Failure(f"{file}: {part.participant}", "a transcript of this participant was read already: keep one")
        )
        return
    if any(one.parent == new.parent and one.stem == new.stem for one in whole.recordings for new in part.recordings):
        failures.append(Failure(str(file), "another recording of this name was read already: keep one"))
        return
    if part.transcript.answers:
        whole.transcript = part.transcript
    whole.recordings += part.recordings


def _read(file: Path, top: Path, apart: bool) -> Iterator[Interview]:
    kind = file.suffix.lower()
    if kind == ".json":
        for one in table.read_table(file, scored=False):
            yield Interview(one.participant, Transcript(tuple(one.answers), tuple(one.questions)))
        return
    if manifest.is_manifest(file):
        raise InputError(f"{file}: is a manifest: give it by itself, as --input={file}")
    if kind in transcript_lib.TABLES:
        yield from _read_csv(file)
        return
    inside = file.parent != top and top.is_dir()
    if kind in SOUND:
        name = file.parent.name if inside else file.stem
        yield Interview(f"{name}/{file.stem}" if inside and apart else name, recordings=[file])
        return
    yield Interview(file.stem, transcript_lib.read(file))


def _read_csv(file: Path) -> Iterator[Interview]:
    people: dict[str, Interview] = {}
    rows = read_table(file, ("participant_id", ("text", "audio")), ("question",))
    empty = 0
    for line, row in rows.rows:
        where, name = f"{file}: line {line}", row["participant_id"]
        if not name:
            raise InputError(f"{where}: participant_id is empty: every line needs one")
        one = people.setdefault(name, Interview(name))
        if row.get("audio"):
            one.recordings.append(file.parent / row["audio"])
        if row.get("text"):
            before, question = (
                one.transcript,
                whole(where, "question", row.get("question", ""), LAST_QUESTION, empty=None),
            )
            question = len(before.answers) + 1 if question is None else question
            one.transcript = Transcript((*before.answers, row["text"]), (*before.questions, question))
        empty += not row.get("audio") and not row.get("text")
    _print_notes([*rows.notes, *[f"{file}: rows without words or audio: {empty}"] * bool(empty)])
    yield from people.values()

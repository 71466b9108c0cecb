"""Transcripts: what was said, which question it answers, and when, where that is known.

| given as | holds |
|---|---|
| text, or a `.txt` file | an answer a line, in the order of the questions |
| a folder of `.txt` files | an answer a file, in natural order (`wav_10.txt` after `wav_9.txt`) |
| a table with a column `text` | an answer a line |
| a table with a column `word` | a word a line; words of one `question` are one answer |
| subtitles, `.srt`, `.vtt` or `.txt` | an answer a cue, with its times (`subtitles.py`) |

A table (`.csv`, `.tsv`) may have the columns `question` (a whole number), `start` and `end` (seconds from the beginning
of the first recording, both or neither; `start_time`, `stop_time` and `end_time` mean the same) and `speaker`. Where
speakers are named, the rows of the participant are read. `value` means `text`; `score` and `confidence` are not read.
Rows without times lie between their neighbours. Files are UTF-8; suffixes may be in any case.
"""

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mmpsy_jax.features import subtitles
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, number, read_table, read_text, whole

PARTICIPANT = "participant"  # whose rows are read where speakers are named
TEXTS, TABLES = (".txt", ".srt", ".vtt"), (".csv", ".tsv")
# Columns of DAIC-WOZ and E-DAIC.
LAST_QUESTION = 99_999
_ALIASES = {"start_time": "start", "stop_time": "end", "end_time": "end", "value": "text"}


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What one participant said.

    Attributes:
      answers: in order.
      questions: number of the question that each answer belongs to.
      times: second at which each character of `text` is spoken; None where that is not known.
      notes: what is odd about it but no error; without words.
    """

    answers: tuple[str, ...] = ()
    questions: tuple[int, ...] = ()
    times: tuple[float, ...] | None = None
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def text(self) -> str:
        """All answers joined by newlines."""
        return "\n".join(self.answers)

    def spoken_in(self, seconds: Sequence[float]) -> "Transcript":
        """The transcript with times, each answer spread evenly over the recording that it was given in.

        Args:
          seconds: length of each recording, one per answer.
        """
        ends = list(itertools.accumulate(seconds))
        spans = [(end - length, end) for end, length in zip(ends, seconds, strict=True)]
        return dataclasses.replace(self, times=_times(self.answers, spans))


def from_text(text: str) -> Transcript:
    """An answer for every line that is not blank."""
    answers = tuple(line for line in text.splitlines() if line.strip())
    return Transcript(answers, tuple(range(1, len(answers) + 1)))


def files(folder: Path) -> list[Path]:
    """The `.txt` files of a folder, in natural order."""
    texts = (file for file in folder.iterdir() if file.suffix.lower() == ".txt" and file.name[0] != ".")
    return sorted(texts, key=lambda file: natural_key(file.name))


def unread(path: Path) -> list[Path]:
    """What lies in a folder of transcripts and is none, but for hidden files; nothing where it is a file."""
    if not path.is_dir():
        return []
    return sorted({one for one in path.iterdir() if one.name[0] != "."} - set(files(path)))


def read(path: Path, speaker: str = PARTICIPANT) -> Transcript:
    """Reads a transcript.

    Args:
      path: file, or folder of `.txt` files, as in the table above.
      speaker: name of the participant where speakers are named, in any case.

    Raises:
      InputError: not there, of another kind, or not as the table above says; never quotes the text.
    """
    if path.is_dir():
        texts = files(path)
        if not texts:
            raise InputError(f"{path}: holds no .txt file: give one per answer")
        return read_files(texts, speaker)
    suffix = path.suffix.lower()
    if suffix not in (*TEXTS, *TABLES):
        raise InputError(
            f"{path}: transcripts are {', '.join((*TEXTS, *TABLES))} files, or folders of .txt files: convert it"
        )
    transcript = _read_table(path, speaker) if suffix in TABLES else _read_answers(path, speaker)
    if transcript.text.strip():
        return transcript
    return dataclasses.replace(transcript, notes=(*transcript.notes, "holds no words"))


def read_files(files: Sequence[Path], speaker: str = PARTICIPANT) -> Transcript:
    """An answer for every file, in order.

    Raises:
      InputError: as `read`.
    """
    # Times of a file are those of its own recording, of which nothing is known here.
    answers = tuple(" ".join(read(file, speaker).text.split()) for file in files)
    empty = sum(not answer for answer in answers)
    notes = (f"files without words: {empty}",) if empty else ()
    return Transcript(answers, tuple(range(1, len(answers) + 1)), notes=notes)


def _read_answers(path: Path, speaker: str) -> Transcript:
    text = read_text(path)
    if path.suffix.lower() == ".txt" and not subtitles.is_subtitles(text):
        return from_text(text)
    rows = [_Row(cue.line, _join(cue.lines), (cue.start, cue.end), cue.speaker) for cue in subtitles.parse(path, text)]
    return _from_rows(path, rows, speaker if any(row.speaker for row in rows) else None)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of a table, or a cue: line in the file, words, start and end where known, speaker, question where known."""

    line: int
    text: str
    span: tuple[float | None, float | None] = (None, None)
    speaker: str = ""
    question: int | None = None


def _read_table(path: Path, speaker: str) -> Transcript:
    known = ("question", "start", "end", "speaker", "score", "confidence")
    table = read_table(path, (("text", "word"),), known, aliases=_ALIASES)
    header = table.header
    if ("start" in header) != ("end" in header):
        raise InputError(f"{path}: the header must name start with end, or neither: correct it")
    unit, rows = "word" if "word" in header else "text", []
    for line, row in table.rows:
        where = f"{path}: line {line}"
        start, end = (number(where, name, row.get(name, ""), 0, empty=None) for name in ("start", "end"))
        if start is not None and end is not None and end < start:
            raise InputError(f"{where}: end is before start: mend the cells")
        question = whole(where, "question", row.get("question", ""), LAST_QUESTION, empty=None)
        rows.append(_Row(line, row[unit], (start, end), row.get("speaker", ""), question))
    transcript = _from_rows(path, rows, speaker if "speaker" in header else None, unit == "word")
    notes = (note.removeprefix(f"{path}: ") for note in table.notes)
    return dataclasses.replace(transcript, notes=(*notes, *transcript.notes))


def _from_rows(path: Path, rows: list[_Row], speaker: str | None, words: bool = False) -> Transcript:
    """The transcript of the rows of a speaker (None: of all); each is an answer, or a word of one."""
    counts, turns = {}, [1] * len(rows)
    if speaker is not None and rows:
        counts["rows that name no speaker and are left out"] = sum(not row.speaker for row in rows)
        rows, turns = _of_speaker(path, rows, speaker)
    spans = _fill(rows)
    empty = [row.span != (None, None) for row in rows if not row.text.strip()]
    counts |= {
        "rows without times, placed between their neighbours": sum(None in r.span for r in rows) if spans else 0,
        "rows with times and without words": sum(empty),
        "rows without words": len(empty) - sum(empty),
    }
    notes = tuple(f"{what}: {count}" for what, count in counts.items() if count)
    if words:
        numbers = [t if row.question is None else row.question for row, t in zip(rows, turns, strict=True)]
        return _join_words([row.text for row in rows], numbers, spans, notes)
    answers = tuple(row.text for row in rows)
    numbers = [i if row.question is None else row.question for i, row in enumerate(rows, 1)]
    return Transcript(answers, tuple(numbers), _times(answers, spans) if spans else None, notes)


def _of_speaker(path: Path, rows: list[_Row], speaker: str) -> tuple[list[_Row], list[int]]:
    """The rows of a speaker, and by each the number of the turn that it belongs to."""
    named = {row.speaker.casefold() for row in rows} - {""}
    if speaker.casefold() not in named:
        raise InputError(
            f"{path}: none of its {len(named)} speakers is the participant: give the participant's name in a column "
            f"speaker of the manifest, or {PARTICIPANT!r} in the transcript"
        )
    kept = [row.speaker.casefold() == speaker.casefold() for row in rows]
    begins = [mine and not before for before, mine in itertools.pairwise([False, *kept])]
    turns = itertools.accumulate(map(int, begins))
    return list(itertools.compress(rows, kept)), list(itertools.compress(turns, kept))


def _fill(rows: Sequence[_Row]) -> list[tuple[float, float]] | None:
    """Start and end of every row; None where no row has either.

    Rows without times share the time between their neighbours by their length; before the first time and after the last
    one there is none to share.
    """
    spans = [
        next((pair for pair in ((a, b), (a, a), (b, b)) if None not in pair), None) for a, b in (r.span for r in rows)
    ]
    if not any(spans):
        return None
    filled: list[tuple[float, float]] = []
    for known, group in itertools.groupby(zip(rows, spans, strict=True), key=lambda one: one[1] is not None):
        group = list(group)
        if known:
            filled += [span for _, span in group]
            continue
        after = next((span[0] for span in spans[len(filled) + len(group) :] if span), None)
        low = filled[-1][1] if filled else after
        high = low if after is None else max(low, after)
        sizes = [0, *itertools.accumulate(len(row.text) for row, _ in group)]
        ends = [low + (high - low) * size / max(1, sizes[-1]) for size in sizes]
        filled += list(itertools.pairwise(ends))
    return filled


def _join_words(
    words: list[str], questions: list[int], spans: list[tuple[float, float]] | None, notes: tuple[str, ...]
) -> Transcript:
    """Neighbouring words of one question become one answer, with spaces where the script uses them."""
    answers, numbers, times = [], [], []
    rows = zip(questions, words, spans or [(0.0, 0.0)] * len(words), strict=True)
    for question, group in itertools.groupby(rows, key=lambda row: row[0]):
        answer = ""
        for _, word, span in group:
            joined = _join((answer, word))
            times += [span[0]] * (len(joined) - len(answer) - len(word)) + _spread(word, span)
            answer = joined
        answers.append(answer)
        numbers.append(question)
        times.append(times[-1] if times else span[0])  # of the newline that follows
    known = tuple(times[: len("\n".join(answers))]) if spans else None
    return Transcript(tuple(answers), tuple(numbers), known, notes)


def _join(words: Iterable[str]) -> str:
    """Words one behind the other, with spaces where the script uses them."""
    text = ""
    for word in words:
        text += " " * bool(text and word and not (_is_wide(text[-1]) or _is_wide(word[0]))) + word
    return text


def _is_wide(character: str) -> bool:
    """Whether it is of a script that is written without spaces between words, or full-width punctuation."""
    return unicodedata.east_asian_width(character) in "WF"


def _spread(text: str, span: tuple[float, float]) -> list[float]:
    start, end = span
    return [start + (end - start) * i / len(text) for i in range(len(text))]


def _times(answers: Iterable[str], spans: Iterable[tuple[float, float]]) -> tuple[float, ...]:
    """Times of the characters of the joined answers; a newline is spoken at the end of the answer before it."""
    times = [t for text, span in zip(answers, spans, strict=True) for t in (*_spread(text, span), span[1])]
    return tuple(times[:-1])


def evenly(characters: int, seconds: float) -> Float[np.ndarray, " characters"]:
    """Times of characters that are spoken at one pace throughout: what is assumed where nothing is known."""
    return (np.arange(characters) + 0.5) * (seconds / max(1, characters))

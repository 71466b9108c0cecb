"""What a transcript file holds, line by line, before anyone asks who of those who speak is the participant."""

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from mmpsy_jax.features import subtitles
from mmpsy_jax.io import InputError, number, read_table, read_text, whole

TEXTS, TABLES = (".txt", ".srt", ".vtt"), (".csv", ".tsv")
LAST_QUESTION = 99_999
# Columns of DAIC-WOZ and E-DAIC.
_ALIASES = {"start_time": "start", "stop_time": "end", "end_time": "end", "value": "text"}
_FORMATS = ("\t", "start_time\tstop_time\tspeaker\tvalue"), (",", "Start_Time,End_Time,Text,Confidence")

Span = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table, a cue, an interval or an answer.

    Attributes:
      text: what is said.
      start, end: seconds, None where they are not known.
      speaker: "" where nobody is named.
      question: number of it, None where it is not known.
    """

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str = ""
    question: int | None = None


@dataclasses.dataclass(frozen=True)
class Script:
    """A transcript file.

    Attributes:
      path: of it.
      lines: in the order of the file.
      words: each line is a word of an answer, not an answer.
      is_file: it was read from a file of its own.
      notes: what is odd about it but no error; without words.
    """

    path: Path = Path()
    lines: tuple[Line, ...] = ()
    words: bool = False
    is_file: bool = False
    notes: tuple[str, ...] = ()

    @property
    def names_speakers(self) -> bool:
        """Whether it says who speaks, were it for some lines only."""
        return any(line.speaker for line in self.lines)

    @property
    def divides(self) -> bool:
        """Whether it says who speaks when, so that the recording can be divided."""
        return self.names_speakers and self.spans() is not None

    @property
    def is_plain(self) -> bool:
        """Whether it holds answers alone, without times and speakers."""
        return not self.words and not self.names_speakers and self.spans() is None

    def spans(self) -> list[Span] | None:
        """Start and end of every line; None where no line has either.

        Lines without times share the time between their neighbours by their length; before the first time and after
        the last one there is none to share.
        """
        known = [_span(line) for line in self.lines]
        if not any(known):
            return None
        filled: list[Span] = []
        for timed, group in itertools.groupby(zip(self.lines, known, strict=True), key=lambda one: one[1] is not None):
            group = list(group)
            if timed:
                filled += [span for _, span in group]
                continue
            after = next((span[0] for span in known[len(filled) + len(group) :] if span), None)
            low = filled[-1][1] if filled else after
            high = low if after is None else max(low, after)
            sizes = [0, *itertools.accumulate(len(line.text) for line, _ in group)]
            ends = [low + (high - low) * size / max(1, sizes[-1]) for size in sizes]
            filled += list(itertools.pairwise(ends))
        return filled


def _span(line: Line) -> Span | None:
    a, b = line.start, line.end
    return next((pair for pair in ((a, b), (a, a), (b, b)) if None not in pair), None)


def read(path: Path) -> Script:
    """Reads a transcript file.

    Raises:
      InputError: not there, of another kind, or not as `transcript.py` says; never quotes the text.
    """
    suffix = path.suffix.lower()
    if suffix not in (*TEXTS, *TABLES):
        raise InputError(
            f"{path}: transcripts are {', '.join((*TEXTS, *TABLES))} files, or folders of .txt files: convert it"
        )
    if suffix in TABLES:
        return _read_table(path)
    text = read_text(path)
    if suffix == ".txt" and not subtitles.is_subtitles(text):
        return Script(path, tuple(map(Line, answers_of(text))), is_file=True)
    cues = subtitles.parse(path, text)
    return Script(path, tuple(Line(join(cue.lines), cue.start, cue.end, cue.speaker) for cue in cues), is_file=True)


def answers_of(text: str) -> tuple[str, ...]:
    """An answer for every line of a text that is not blank."""
    return tuple(line for line in text.splitlines() if line.strip())


def _read_table(path: Path) -> Script:
    known = ("question", "start", "end", "speaker", "score", "confidence")
    table = read_table(path, (("text", "word"),), known, aliases=_ALIASES, formats=_FORMATS)
    header = table.header
    if ("start" in header) != ("end" in header):
        raise InputError(f"{path}: the header must name start with end, or neither: correct it")
    unit, lines = "word" if "word" in header else "text", []
    for line, row in table.rows:
        where = f"{path}: line {line}"
        start, end = (number(where, name, row.get(name, ""), 0, empty=None) for name in ("start", "end"))
        if start is not None and end is not None and end < start:
            raise InputError(f"{where}: end is before start: mend the cells")
        question = whole(where, "question", row.get("question", ""), LAST_QUESTION, empty=None)
        lines.append(Line(row[unit], start, end, row.get("speaker", ""), question))
    notes = tuple(note.removeprefix(f"{path}: ") for note in table.notes)
    return Script(path, tuple(lines), unit == "word", is_file=True, notes=notes)


def join(words: Iterable[str]) -> str:
    """Words one behind the other, with spaces where the script uses them."""
    text = ""
    for word in words:
        text += " " * bool(text and word and not (_is_wide(text[-1]) or _is_wide(word[0]))) + word
    return text


def _is_wide(character: str) -> bool:
    """Whether it is of a script that is written without spaces between words, or full-width punctuation."""
    return unicodedata.east_asian_width(character) in "WF"

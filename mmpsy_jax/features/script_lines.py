"""A line of a transcript, and a transcript of lines, before anyone asks who of those who speak is the participant."""

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterable
from pathlib import Path

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


def join(words: Iterable[str]) -> str:
    """Words one behind the other, with spaces where the script uses them."""
    text = ""
    for word in words:
        text += " " * bool(text and word and not (_is_wide(text[-1]) or _is_wide(word[0]))) + word
    return text


def _is_wide(character: str) -> bool:
    """Whether it is of a script that is written without spaces between words, or full-width punctuation."""
    return unicodedata.east_asian_width(character) in "WF"

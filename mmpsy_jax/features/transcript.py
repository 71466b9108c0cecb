"""Transcripts: what was said, which question it answers, and when, where that is known.

| given as | holds |
|---|---|
| text, or a `.txt` file | an answer a line, in the order of the questions |
| a folder of `.txt` files | an answer a file, in natural order (`wav_10.txt` after `wav_9.txt`) |
| a `.csv` file with a column `text` | an answer a line |
| a `.csv` file with a column `word` | a word a line; words of one `question` are one answer |

A csv may have the columns `question` (a whole number) and `start` and `end` (seconds from the beginning of the first
recording, both or neither). Files are UTF-8.
"""

import dataclasses
import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mmpsy_jax.csv_rows import read_table, whole_or_none
from mmpsy_jax.errors import InputError
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.files import read_text


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What one participant said.

    Attributes:
      answers: in order.
      questions: number of the question that each answer belongs to.
      times: second at which each character of `text` is spoken; None where that is not known.
    """

    answers: tuple[str, ...] = ()
    questions: tuple[int, ...] = ()
    times: tuple[float, ...] | None = None

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


def read(path: Path) -> Transcript:
    """Reads a transcript.

    Args:
      path: `.txt` or `.csv` file, or folder of `.txt` files.

    Raises:
      InputError: not there, of another kind, or not as the table above says; never quotes the text.
    """
    if path.is_dir():
        files = sorted((f for f in path.glob("*.txt") if f.name[0] != "."), key=lambda f: natural_key(f.name))
        if not files:
            raise InputError(f"{path}: holds no .txt file: give one per answer")
        answers = tuple(" ".join(read_text(file).split()) for file in files)
        return Transcript(answers, tuple(range(1, len(answers) + 1)))
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if path.suffix.lower() != ".txt":
        raise InputError(f"{path}: transcripts are .txt or .csv files, or folders of .txt files: convert it")
    return from_text(read_text(path))


def question_number(where: str, given: str) -> int | None:
    """A cell of a column `question`; None where it is empty.

    Raises:
      InputError: no whole number below 100,000.
    """
    number = whole_or_none(given)
    if given and (number is None or number >= 100_000):
        raise InputError(f"{where}: question must be a whole number below 100000, or empty")
    return number


def _read_csv(path: Path) -> Transcript:
    table = read_table(path, (("text", "word"),), ("question", "start", "end"))
    header = table.header
    parts: list[tuple[int, str, tuple[float, float] | None]] = []
    unit = "word" if "word" in header else "text"
    if ("start" in header) != ("end" in header):
        raise InputError(f"{path}: the header must name start with end, or neither: correct it")
    for line, row in table.rows:
        where = f"{path}: line {line}"
        question = question_number(where, row.get("question", ""))
        if question is None:
            question = 1 if unit == "word" else len(parts) + 1
        parts.append((question, row[unit], _span(where, row) if "start" in header else None))
    if unit == "text":
        answers = tuple(text for _, text, _ in parts)
        times = _times(answers, [span for _, _, span in parts]) if "start" in header else None
        return Transcript(answers, tuple(question for question, _, _ in parts), times)
    return _join_words(parts, timed="start" in header)


def _span(where: str, row: dict[str, str]) -> tuple[float, float]:
    try:
        start, end = float(row["start"]), float(row["end"])
    except ValueError:
        raise InputError(f"{where}: start and end must be numbers of seconds") from None
    if not (math.isfinite(end) and 0 <= start <= end):
        raise InputError(f"{where}: start and end must be seconds with 0 <= start <= end")
    return start, end


def _join_words(parts: list[tuple[int, str, tuple[float, float] | None]], timed: bool) -> Transcript:
    """Neighbouring words of one question become one answer, with spaces where the script uses them."""
    answers, questions, times = [], [], []
    for question, group in itertools.groupby(parts, key=lambda part: part[0]):
        answer = ""
        for _, word, span in group:
            gap = " " if answer and word and not (_is_wide(answer[-1]) or _is_wide(word[0])) else ""
            answer += gap + word
            if timed:
                times += [span[0]] * len(gap) + _spread(word, span)
        answers.append(answer)
        questions.append(question)
        times += times[-1:]  # of the newline that follows
    return Transcript(tuple(answers), tuple(questions), tuple(times[: len("\n".join(answers))]) if timed else None)


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

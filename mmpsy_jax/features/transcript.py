"""Transcripts: what was said, which question it answers, and when, where that is known.

| given as | holds |
|---|---|
| text, or a `.txt` file | an answer a line, in the order of the questions |
| a folder of `.txt` files | an answer a file, in natural order (`wav_10.txt` after `wav_9.txt`) |
| a folder of others | a transcript for each recording, whose times begin anew |
| a table with a column `text` | an answer a line |
| a table with a column `word` | a word a line; words of one `question` are one answer |
| subtitles, `.srt`, `.vtt` or `.txt` | an answer a cue, with its times (`subtitles.py`) |
| `.json` of Whisper or whisperX, `.TextGrid`, `.eaf`, `.cha` | a line each of what they hold (`script_formats.py`) |
| a `.txt` that begins with times, `00:05-00:12` | a line for each of them, `NAME: words` behind or below |

A table (`.csv`, `.tsv`) may have the columns `question` (a whole number), `start` and `end` (seconds from the beginning
of the first recording, both or neither; `start_time`, `stop_time` and `end_time` mean the same) and `speaker`. Where
speakers are named, one of them is the participant, and all others are the interviewer (`dialogue.py`). `value` means
`text`; `score` and `confidence` are not read. Rows without times lie between their neighbours. Files are UTF-8;
suffixes may be in any case.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mmpsy_jax.features import script as script_lib
from mmpsy_jax.features.script_lines import Span, join
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError

PARTICIPANT = "participant"  # whose lines are read where speakers are named


# Words that a transcript dates after the end of the recording by more than this belong to another recording.
LATE_S = 1.0


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What one participant, or the interviewer, said.

    Attributes:
      answers: in order.
      questions: number of the question that each answer belongs to.
      times: second at which each character of `text` is spoken, from the beginning of the first recording; None where
        that is not known.
      notes: what is odd about it but no error; without words.
      stretches: in which it is spoken, ascending and apart, in seconds as `times`; None where that is everywhere.
      turns: how often the speaker takes the floor; 0 where that is not known.
    """

    answers: tuple[str, ...] = ()
    questions: tuple[int, ...] = ()
    times: tuple[float, ...] | None = None
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    stretches: tuple[Span, ...] | None = None
    turns: int = 0

    @property
    def text(self) -> str:
        """All answers joined by newlines."""
        return "\n".join(self.answers)

    @property
    def characters(self) -> int:
        """Number of characters of all answers."""
        return sum(map(len, self.answers))

    def spoken_in(self, seconds: Sequence[float]) -> "Transcript":
        """The transcript with times, each answer spread evenly over the recording that it was given in.

        Args:
          seconds: length of each recording, one per answer.
        """
        ends = list(itertools.accumulate(seconds))
        spans = [(end - length, end) for end, length in zip(ends, seconds, strict=True)]
        return dataclasses.replace(self, times=_times(self.answers, spans))


def require_inside(latest: float, seconds: float, what: str = "the transcript") -> None:
    """Refuses words that are dated after the end of the recording.

    Args:
      latest: second of the last word.
      seconds: length of the recording.
      what: has the words, for the message.

    Raises:
      InputError: they are later by more than `LATE_S`.
    """
    if latest > seconds + LATE_S:
        raise InputError(
            f"{what} has words at {latest:.1f} s, but the recording ends at {seconds:.1f} s: give times in seconds "
            "from the beginning of the first recording"
        )


def from_text(text: str) -> Transcript:
    """An answer for every line that is not blank."""
    answers = script_lib.answers_of(text)
    return Transcript(answers, tuple(range(1, len(answers) + 1)))


def compose(
    texts: Sequence[str], questions: Sequence[int], spans: Sequence[Span] | None, words: bool = False
) -> Transcript:
    """The transcript of some lines.

    Args:
      texts: of each.
      questions: number of each.
      spans: start and end of each; None where they are not known.
      words: each is a word; neighbouring words of one question become one answer, with spaces where the script uses
        them.
    """
    if not words:
        return Transcript(tuple(texts), tuple(questions), _times(texts, spans) if spans else None)
    answers, numbers, times = [], [], []
    rows = zip(questions, texts, spans or [(0.0, 0.0)] * len(texts), strict=True)
    for question, group in itertools.groupby(rows, key=lambda row: row[0]):
        answer = ""
        for _, word, span in group:
            joined = join((answer, word))
            times += [span[0]] * (len(joined) - len(answer) - len(word)) + _spread(word, span)
            answer = joined
        answers.append(answer)
        numbers.append(question)
        times.append(times[-1] if times else span[0])  # of the newline that follows
    known = tuple(times[: len("\n".join(answers))]) if spans else None
    return Transcript(tuple(answers), tuple(numbers), known)


def concatenate(parts: Sequence[Transcript]) -> Transcript:
    """Transcripts one behind the other; without times where one of those that hold words has none."""
    parts = [part for part in parts if part.answers]
    times: list[float] | None = []
    for part in parts:
        if part.times is None or times is None:
            times = None
            break
        times += [*([times[-1]] if times else []), *part.times]  # the newline between two of them
    return Transcript(
        tuple(answer for part in parts for answer in part.answers),
        tuple(question for part in parts for question in part.questions),
        tuple(times) if times and parts else None,
    )


def files(folder: Path) -> list[Path]:
    """The `.txt` files of a folder, in natural order; without any, its other transcripts.

    Raises:
      InputError: two of the latter differ in their suffix alone.
    """
    there = sorted((one for one in folder.iterdir() if one.name[0] != "."), key=lambda file: natural_key(file.name))
    texts = [one for one in there if one.suffix.lower() == ".txt"]
    if texts:
        return texts
    others = [one for one in there if one.suffix.lower() in script_lib.SUFFIXES]
    if len({one.stem for one in others}) < len(others):
        raise InputError(f"{folder}: two transcripts differ in their suffix alone: keep one of them")
    return others


def unread(path: Path) -> list[Path]:
    """What lies in a folder of transcripts and is none, but for hidden files; nothing where it is a file."""
    if not path.is_dir():
        return []
    return sorted({one for one in path.iterdir() if one.name[0] != "."} - set(files(path)))


def _spread(text: str, span: Span) -> list[float]:
    start, end = span
    return [start + (end - start) * i / len(text) for i in range(len(text))]


def _times(answers: Iterable[str], spans: Iterable[Span]) -> tuple[float, ...]:
    """Times of the characters of the joined answers; a newline is spoken at the end of the answer before it."""
    times = [t for text, span in zip(answers, spans, strict=True) for t in (*_spread(text, span), span[1])]
    return tuple(times[:-1])


def evenly(characters: int, seconds: float) -> Float[np.ndarray, " characters"]:
    """Times of characters that are spoken at one pace throughout: what is assumed where nothing is known."""
    return (np.arange(characters) + 0.5) * (seconds / max(1, characters))

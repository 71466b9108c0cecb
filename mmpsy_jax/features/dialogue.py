"""Who says what when: the part of the participant, and that of all others, which are called the interviewer.

A turn is everything that one side says before the other side speaks, in the order of the times where there are times.
Its stretch of the recording goes from the start of its first line to the end of its last, pauses included; what lies
between two turns belongs to nobody.

Lines are left out (`Omit`) by question, by phrase, or by time; their stretches with them.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.features import transcript as transcript_lib
from mmpsy_jax.features.script_lines import Line, Script, Span, join
from mmpsy_jax.features.transcript import PARTICIPANT, Transcript
from mmpsy_jax.io import InputError

_LISTED = 20  # names in a message
_OVERLAP_S = 0.05  # that transcribers do not mean


@dataclasses.dataclass(frozen=True)
class Omit:
    """What is left out of interviews.

    Attributes:
      questions: numbers of them.
      phrases: a turn, or an answer of a transcript that names no speakers, in which one of them occurs; where it is the
        interviewer's, the participant's next turn with it. In any case, blanks do not count.
      stretches: seconds from the beginning of the first recording.
    """

    questions: tuple[int, ...] = ()
    phrases: tuple[str, ...] = ()
    stretches: tuple[Span, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.questions or self.phrases or self.stretches)

    def __add__(self, other: "Omit") -> "Omit":
        names = (field.name for field in dataclasses.fields(self))
        return Omit(**{name: (*getattr(self, name), *getattr(other, name)) for name in names})

    def card(self) -> dict[str, Any]:
        """What is left out, without what nothing is said of."""
        return {name: list(value) for name, value in dataclasses.asdict(self).items() if value}

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "Omit":
        """The inverse of `card`."""
        return cls(**{name: tuple(values) for name, values in card.items()})

    def has_phrase(self, text: str) -> bool:
        """Whether one of the phrases occurs in a text."""
        squeezed = squeeze(text)
        return any(squeeze(phrase) in squeezed for phrase in self.phrases)


NOTHING = Omit()


def squeeze(text: str) -> str:
    """A text in lower case, with one blank for any number of them."""
    return " ".join(text.casefold().split())


@dataclasses.dataclass(frozen=True)
class Take:
    """What was recorded and written down in one go.

    Attributes:
      script: what was said.
      start_s: where it begins in the interview.
      seconds: how long it lasts; infinite where that is not known.
      heard: whether there is a recording of it.
      alone: its times begin anew, so that words without times lie anywhere in it.
      shift_s: seconds that are added to the times of the script.
      omit: stretches that are left out, in seconds of the recording.
      question: of answers without a number.
    """

    script: Script
    start_s: float = 0.0
    seconds: float = math.inf
    heard: bool = False
    alone: bool = False
    shift_s: float = 0.0
    omit: tuple[Span, ...] = ()
    question: int | None = None


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """What is left of an interview.

    Attributes:
      participant, interviewer: what each says, with the stretches of the recording in which they do.
      omitted_s: seconds of the participant that are left out.
      omitted_characters: of the participant's that are left out.
    """

    participant: Transcript
    interviewer: Transcript
    omitted_s: float = 0.0
    omitted_characters: int = 0


@dataclasses.dataclass
class _Spoken:
    """A line on its way into one of the two transcripts; its span is in seconds of the interview."""

    line: Line
    span: Span | None
    mine: bool = True
    turn: int = 0
    question: int = 0
    left_out: bool = False


def converse(takes: Sequence[Take], speaker: str = PARTICIPANT, omit: Omit = NOTHING) -> Dialogue:
    """Divides an interview between the participant and all others.

    Args:
      takes: in order.
      speaker: name of the participant where speakers are named, in any case.
      omit: what is left out.

    Raises:
      InputError: nobody is called so, or what is to be left out has no times.
    """
    parts = [_Part(take, speaker) for take in takes]
    counts = {True: 0, False: 0}
    for part in parts:
        part.number(counts)
        part.leave_out(omit)
    of = {mine: _transcript(parts, mine) for mine in (True, False)}
    everything = [span for part in parts for span in part.stretches(True, whole=True)]
    left = [span for part in parts for span in part.stretches(True)]
    cut = any(part.is_cut for part in parts)
    notes = [note for part in parts for note in part.notes()]
    notes += _overlap(left, of[False].stretches or ()) if cut else []
    if not of[True].text.strip() and any(take.script.is_file for take in takes):
        notes.append("holds no words")
    omitted_s = _seconds(everything) - _seconds(left) if math.isfinite(_seconds(everything)) else 0.0
    return Dialogue(
        dataclasses.replace(of[True], notes=tuple(notes), stretches=tuple(left) if cut else None),
        of[False],
        omitted_s if cut else 0.0,
        sum(len(one.line.text) for part in parts for one in part.spoken if one.mine and one.left_out),
    )


class UnknownSpeaker(InputError):
    """Nobody in some transcripts is called as the participant.

    Attributes:
      path: of the first of them.
      speaker: the name that was looked for.
      turns: of each name.
      files: number of transcripts.
    """

    def __init__(self, path: Path, speaker: str, turns: Mapping[str, int], files: int = 1):
        listed = ", ".join(f"{name[:40]} ({n})" for name, n in collections.Counter(turns).most_common(_LISTED))
        more = f" and {len(turns) - _LISTED} more" if len(turns) > _LISTED else ""
        others = f" and {files - 1} more" if files > 1 else ""
        super().__init__(
            f"{path}{others}: none of its {len(turns)} speakers is called {speaker[:40]!r}: name the participant with "
            f"--speaker, or in a column speaker of the manifest; turns of each: {listed}{more}"
        )
        self.path, self.speaker, self.turns, self.files = path, speaker, turns, files

    def __add__(self, other: "UnknownSpeaker") -> "UnknownSpeaker":
        turns = collections.Counter(self.turns) + collections.Counter(other.turns)
        return UnknownSpeaker(self.path, self.speaker, turns, self.files + other.files)

    def __reduce__(self):
        return UnknownSpeaker, (self.path, self.speaker, dict(self.turns), self.files)


class _Part:
    """The lines of a take, and who of the two says each."""

    def __init__(self, take: Take, speaker: str):
        self.take = take
        script, spans = take.script, take.script.spans()
        self.timed = spans is not None
        self.named = script.names_speakers and bool(script.lines)
        if spans is None and take.alone:
            sizes = [0, *itertools.accumulate(len(line.text) for line in script.lines)]
            spans = [
                (take.seconds * a, take.seconds * b)
                for a, b in itertools.pairwise(size / max(1, sizes[-1]) for size in sizes)
            ]
        shift = take.start_s + take.shift_s * self.timed
        low = take.start_s
        shifted = [(max(low, a + shift), max(low, b + shift)) for a, b in spans or ()] or [None] * len(script.lines)
        self.spoken = [_Spoken(line, span) for line, span in zip(script.lines, shifted, strict=True)]
        self.nameless, self.late = 0, 0.0
        if take.heard and self.timed and math.isfinite(take.seconds):
            end = take.start_s + take.seconds
            latest = max(one.span[0] for one in self.spoken)
            transcript_lib.require_inside(latest - take.start_s, take.seconds, f"{script.path}: it")
            self.late = max(one.span[1] for one in self.spoken) - end
        if self.named:
            self._divide(speaker)
        elif script.words:
            for one in self.spoken:
                one.turn = one.line.question or 0
        else:
            for number, one in enumerate(self.spoken):
                one.turn = number

    def _divide(self, speaker: str) -> None:
        spoken = [one for one in self.spoken if one.line.speaker]
        self.nameless = len(self.spoken) - len(spoken)
        if self.timed:
            spoken.sort(key=lambda one: one.span)
        folded = speaker.casefold()
        if all(one.line.speaker.casefold() != folded for one in spoken):
            names = (name for name, _ in itertools.groupby(one.line.speaker for one in spoken))
            raise UnknownSpeaker(self.take.script.path, speaker, collections.Counter(names))
        turns = itertools.groupby(spoken, key=lambda one: one.line.speaker.casefold() == folded)
        for number, (mine, turn) in enumerate(turns):
            for one in turn:
                one.mine, one.turn = mine, number
        self.spoken = spoken

    def number(self, counts: dict[bool, int]) -> None:
        """Gives a number to answers without one: by their place among all of the same side; of words, by the turn."""
        words = self.take.script.words
        for mine in (True, False):
            of_side = (one for one in self.spoken if one.mine == mine)
            for _, turn in itertools.groupby(of_side, key=lambda one: one.turn if self.named or not words else 0):
                counts[mine] += words
                for one in turn:
                    counts[mine] += not words
                    one.question = counts[mine]
        for one in self.spoken:
            if self.take.question is not None:
                one.question = self.take.question
            if one.line.question is not None:
                one.question = one.line.question

    def leave_out(self, omit: Omit) -> None:
        """Marks the lines that are left out."""
        for one in self.spoken:
            numbered = one.mine or one.line.question is not None
            one.left_out = (numbered and one.question in omit.questions) or self._is_in(one.span)
        follows = False
        for _, group in itertools.groupby(self.spoken, key=lambda one: one.turn) if omit.phrases else ():
            turn = list(group)
            hit = omit.has_phrase(join(one.line.text for one in turn))
            for one in turn:
                one.left_out |= hit or (follows and one.mine)
            follows = self.named and ((hit and not turn[0].mine) or (follows and not turn[0].mine))
        placeless = self.spoken and self.take.heard and not self.timed and not self.take.alone
        if placeless and (self.take.omit or any(one.left_out for one in self.spoken)):
            raise InputError(
                f"{self.take.script.path}: what is to be left out of the recording has no times: give the "
                "transcript start and end, or a recording for each answer"
            )

    def _is_in(self, span: Span | None) -> bool:
        """Whether the middle of a line lies in one of the stretches that are left out."""
        middle = None if span is None else (span[0] + span[1]) / 2 - self.take.start_s
        return middle is not None and any(start <= middle < end for start, end in self.take.omit)

    @property
    def is_cut(self) -> bool:
        """Whether only some stretches of the recording are the participant's, or left."""
        lines = any(one.left_out for one in self.spoken)
        return self.take.heard and ((self.named and self.timed) or bool(self.take.omit) or lines)

    def stretches(self, mine: bool, whole: bool = False) -> list[Span]:
        """Of the recording, in which one side speaks.

        Args:
          mine: of the participant.
          whole: with what is left out.
        """
        take = self.take
        if not take.heard:
            return []
        if self.named and self.timed:
            kept = (one for one in self.spoken if one.mine == mine)
            turns = [list(turn) for _, turn in itertools.groupby(kept, key=lambda one: one.turn)]
            spans = [(min(one.span[0] for one in turn), max(one.span[1] for one in turn)) for turn in turns]
        else:
            spans = [(take.start_s, take.start_s + take.seconds)] if mine else []
        end = take.start_s + take.seconds
        spans = union((max(a, take.start_s), min(b, end)) for a, b in spans)
        if whole:
            return spans
        gone = [(a + take.start_s, b + take.start_s) for a, b in take.omit]
        for (_, left_out), group in itertools.groupby(self.spoken, key=lambda one: (one.turn, one.left_out)):
            lines = [one.span for one in group if one.span is not None]
            gone += [(min(a for a, _ in lines), max(b for _, b in lines))] if left_out and lines else []
        return without(spans, gone)

    def kept(self, mine: bool) -> list[_Spoken]:
        """Lines of one side that are left."""
        return [one for one in self.spoken if one.mine == mine and not one.left_out]

    def transcript(self, mine: bool) -> Transcript:
        """What one side says, without notes."""
        kept = self.kept(mine)
        spans = [one.span for one in kept]
        timed = self.timed or self.take.alone
        texts, numbers = [one.line.text for one in kept], [one.question for one in kept]
        return transcript_lib.compose(texts, numbers, spans if timed else None, self.take.script.words)

    def turns(self, mine: bool) -> int:
        """How many turns one side has."""
        return len({one.turn for one in self.kept(mine)}) if self.named else 0

    def notes(self) -> list[str]:
        """What is odd about the script and the participant's lines."""
        lines = [one.line for one in self.spoken if one.mine and self.take.script.is_file]
        empty = [(line.start, line.end) != (None, None) for line in lines if not line.text.strip()]
        untimed = sum(None in (line.start, line.end) for line in lines)
        counts = {
            "rows that name no speaker and are left out": self.nameless,
            "rows without times, placed between their neighbours": untimed if self.timed else 0,
            "rows with times and without words": sum(empty),
            "rows without words": len(empty) - sum(empty),
        }
        late = f"the last row ends {self.late:.1f} s after the recording"
        return [
            *self.take.script.notes,
            *(f"{what}: {count}" for what, count in counts.items() if count),
            *[late] * (self.late > transcript_lib.LATE_S),
        ]


def _transcript(parts: Sequence[_Part], mine: bool) -> Transcript:
    whole = transcript_lib.concatenate([part.transcript(mine) for part in parts])
    stretches = tuple(span for part in parts for span in part.stretches(mine))
    return dataclasses.replace(whole, stretches=stretches, turns=sum(part.turns(mine) for part in parts))


def _overlap(mine: Sequence[Span], others: Sequence[Span]) -> list[str]:
    both = _seconds(mine) + _seconds(others) - _seconds(union([*mine, *others]))
    return [f"others speak during {both:.1f} s of the participant's turns"] if both > _OVERLAP_S else []


def union(spans: Iterable[Span]) -> list[Span]:
    """Stretches in ascending order, those that touch joined, empty ones left out."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def without(spans: Sequence[Span], gone: Iterable[Span]) -> list[Span]:
    """Stretches, ascending and apart, without what lies in others."""
    left = list(spans)
    for low, high in union(gone):
        left = [part for a, b in left for part in ((a, min(b, low)), (max(a, high), b)) if part[0] < part[1]]
    return left


def _seconds(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans)

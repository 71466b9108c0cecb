"""What is read of one participant: recordings and transcripts of an entry -> what each side says, and how it sounds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.features import clip, dialogue, recording
from mmpsy_jax.features.dialogue import NOTHING, Omit, Take
from mmpsy_jax.features.interview import Speech
from mmpsy_jax.features.manifest import Entry, Part
from mmpsy_jax.features.script_lines import Script, Span
from mmpsy_jax.features.transcript import PARTICIPANT
from mmpsy_jax.io import InputError


@dataclasses.dataclass(frozen=True)
class Reading:
    """How interviews are read, beside what each entry says itself.

    Attributes:
      speaker: name of the participant where an entry names none.
      omit: what is left out of everybody's.
      stretches: {participant: what is left out of one}, in seconds from the beginning of the first recording.
    """

    speaker: str = ""
    omit: Omit = NOTHING
    stretches: Mapping[str, tuple[Span, ...]] = dataclasses.field(default_factory=dict)

    def card(self) -> dict[str, Any]:
        """What holds for new people, too, for the card of a corpus; nothing of what is as by default."""
        omit = self.omit.card()
        return {**({"speaker": self.speaker} if self.speaker else {}), **({"omit": omit} if omit else {})}

    def omit_of(self, entry: Entry) -> Omit:
        """What is left out of an entry, all in all."""
        return self.omit + entry.omit + Omit(stretches=self.stretches.get(entry.participant, ()))

    @classmethod
    def of_card(cls, card: Mapping[str, Any] | None) -> "Reading":
        """The inverse of `card`."""
        card = card or {}
        return cls(card.get("speaker", ""), Omit.of_card(card.get("omit", {})))


AS_NAMED = Reading()


@dataclasses.dataclass(frozen=True)
class Session:
    """What is read of one participant.

    Attributes:
      participant, interviewer: what each side says, and how it sounds.
      omitted_s, omitted_characters: of the participant, that are left out.
    """

    participant: Speech = Speech()  # noqa: RUF009  it is frozen
    interviewer: Speech = Speech()  # noqa: RUF009
    omitted_s: float = 0.0
    omitted_characters: int = 0


def read(entry: Entry, reading: Reading = AS_NAMED) -> Session:
    """Reads the transcripts of an entry; recordings are measured at most.

    Args:
      entry: of a manifest or layout.
      reading: how.

    Raises:
      InputError: a file that is missing or cannot be used, nobody is called as the participant, transcripts and
        recordings that do not fit, or nothing of the recording is left.
    """
    recordings, scripts = entry.recordings(), entry.scripts()
    omit = reading.omit_of(entry)
    groups, scripts = _pair(entry, recordings, scripts, bool(omit))
    parts = entry.parts or [Part()] * len(groups)
    several = len(groups) > 1 and bool(recordings)
    needed = several or omit or any(part.omit for part in parts) or any(one.divides for one in scripts)
    lengths = [recording.measure(path).seconds if needed else math.inf for path in recordings]
    takes, start, at = [], 0.0, 0
    for group, one, part in zip(groups, scripts, parts, strict=True):
        seconds = sum(lengths[at : at + len(group)])
        gone = [(a - start, b - start) for a, b in omit.stretches]
        takes.append(
            Take(one, start, seconds, bool(group), several, part.shift_s, (*part.omit, *gone), part.question or None)
        )
        start, at = start + seconds, at + len(group)
    talk = dialogue.converse(takes, entry.speaker or reading.speaker or PARTICIPANT, omit)
    return _session(entry, recordings, lengths, talk)


def words(entry: Entry, reading: Reading = AS_NAMED) -> str:
    """What the participant says, as `read` reads it; no recording is opened.

    Raises:
      InputError: as of transcripts.
    """
    parts = tuple(dataclasses.replace(part, recording=None) for part in entry.parts)
    return read(dataclasses.replace(entry, recording=None, parts=parts), reading).participant.transcript.text


def _session(entry: Entry, recordings: Sequence[Path], lengths: Sequence[float], talk: dialogue.Dialogue) -> Session:
    mine, theirs = talk.participant, talk.interviewer
    clips = clip.divide(recordings, lengths, mine.stretches, entry.channel)
    if recordings and not clips:
        raise InputError(
            f"{recordings[0]}: nothing of it is left: the participant's turns have no length, or all of it is left out"
        )
    others: list[Path | clip.Clip] = []
    if mine.stretches is not None and theirs.stretches:
        others = clip.divide(recordings, lengths, theirs.stretches, entry.channel and 3 - entry.channel)
    elif entry.channel:
        theirs = dataclasses.replace(theirs, stretches=mine.stretches)
        others = clip.divide(recordings, lengths, mine.stretches, 3 - entry.channel)
    return Session(Speech(clips, mine), Speech(others, theirs), talk.omitted_s, talk.omitted_characters)


def _pair(
    entry: Entry, recordings: Sequence[Path], scripts: Sequence[Script], omits: bool
) -> tuple[list[list[Path]], list[Script]]:
    """Recordings by the transcript that belongs to them, in order."""
    if entry.parts:
        return [[] if part.recording is None else [part.recording] for part in entry.parts], list(scripts)
    if len(scripts) > 1 and recordings:
        if len(scripts) != len(recordings):
            raise InputError(
                f"{entry.transcript}: {len(scripts)} transcripts with times, but {len(recordings)} recordings: give "
                "each recording one, or one transcript for all"
            )
        return [[path] for path in recordings], list(scripts)
    if len(scripts) > 1:
        return [[] for _ in scripts], list(scripts)
    one = scripts[0] if scripts else Script()
    if omits and one.is_plain and len(one.lines) == len(recordings) > 1:  # so that a recording goes with its answer
        answers = [dataclasses.replace(one, lines=(line,), notes=()) for line in one.lines]
        return [[path] for path in recordings], answers
    return [list(recordings)], [one]

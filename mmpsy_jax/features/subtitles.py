"""Subtitles, SubRip or WebVTT, whatever the file is called: what was said, when, and by whom where it is said.

A speaker is named by a voice tag, `<v Anna>Hello`, or as whisperX does it, `[SPEAKER_00]: Hello`.
"""

import dataclasses
import html
import re

from mmpsy_jax.io import InputError

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})(?:[,.](\d{1,3}))?"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(\s.*)?", re.ASCII)
_VOICE = re.compile(r"\s*(?:<v(?:\.\S*)?\s+([^>]+)>|\[?(SPEAKER_\d+)\]?:\s?)")
_MARKUP = re.compile(r"</?[a-z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}", re.IGNORECASE)
_BLOCKS = ("NOTE", "STYLE", "REGION")  # of WebVTT, without words


@dataclasses.dataclass
class Cue:
    """Words and their time.

    Attributes:
      line: of the file that its times stand in.
      start, end: seconds.
      lines: of words, without markup.
      speaker: "" where the cue names none.
    """

    line: int
    start: float
    end: float
    lines: list[str] = dataclasses.field(default_factory=list)
    speaker: str = ""


def is_subtitles(text: str) -> bool:
    """Whether a line of a text is the times of a cue, `00:00:01,000 --> 00:00:02,500`."""
    return any("-->" in line and _CUE.fullmatch(line) for line in text.splitlines())


def parse(path: object, text: str) -> list[Cue]:
    """The cues of a file, in its order.

    Args:
      path: of the file, for messages.
      text: of the file.

    Raises:
      InputError: a line with `-->` that is no times, times that run backwards, words before the first times.
    """
    cues: list[Cue] = []
    above: list[str] = []  # lines since the last times
    web = text.lstrip().startswith("WEBVTT")
    for number, line in enumerate(text.splitlines(), 1):
        match = _CUE.fullmatch(line) if "-->" in line else None
        if match is None:
            if "-->" in line:
                raise InputError(f"{path}: line {number}: no times of a subtitle: write 00:00:01,000 --> 00:00:02,500")
            above.append(line.strip())
            continue
        if above and above[-1] and (above[-1].isdecimal() or above[-2:-1] in ([], [""])):
            above.pop()  # number or name of this cue
        _close(path, cues, above, web)
        above = []
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:8])
        if end < start:
            raise InputError(f"{path}: line {number}: the subtitle ends before it starts: mend its times")
        cues.append(Cue(number, start, end))
    _close(path, cues, above, web)
    return cues


def _close(path: object, cues: list[Cue], lines: list[str], web: bool) -> None:
    """Gives the lines below a cue to it."""
    words: list[str] = []
    skipping = False
    for line in lines:
        skipping = bool(line) and (skipping or (web and line.startswith(_BLOCKS)))
        if line and not skipping:
            words.append(line)
    if not cues:
        if words and not web:  # the header of WebVTT is free text
            raise InputError(f"{path}: words before the first times: remove them, or save answers and subtitles apart")
        return
    cue = cues[-1]
    match = _VOICE.match(words[0]) if words else None
    if match:
        cue.speaker = (match[1] or match[2]).strip()
        words[0] = words[0][match.end() :]
    cue.lines = [html.unescape(_MARKUP.sub("", line)).strip() for line in words]


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")

"""Transcripts as recognisers and annotation tools write them: Whisper, Praat, ELAN, CLAN, and lines with times.

Every reader gives lines in the order of their times. What they raise names the file and never quotes its words.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mmpsy_jax.features.script_lines import Line, Script, join
from mmpsy_jax.io import InputError, parse_json, read_text, require_file

_CLOCK = r"(?:(\d+):)?(\d{1,3}):(\d{2}(?:[.,]\d{1,3})?)"
_RANGE = re.compile(rf"\s*\[?{_CLOCK}\s*[-–—~]\s*{_CLOCK}\]?\s*(.*)", re.ASCII)
_NAMED = re.compile(r"\s*([^:：]{1,40})[:：]\s*(.*)")
_LAST = 360_000.0  # seconds; later times are no times
# Tiers of forced aligners, of which the words are read; `Anna - words` where they name speakers.
_ALIGNED = re.compile(r"(?:(.*?)\s*[-_]\s*)?(words?|phones?)", re.IGNORECASE)
# Values of a TextGrid; numbers in brackets count its items.
_VALUE = re.compile(r'"(?:[^"]|"")*"|<exists>|(?<![\w.\[])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.\]])')
_ENDS = re.compile(r"[.!?。！？]+")  # of an utterance in CHAT, where they are words of their own


def read_json(path: Path) -> Script:
    """Whisper's and whisperX's JSON: an object with `segments`, each with `start`, `end`, `text`, and, where speakers
    were told apart, `speaker`, of it or of its `words`.

    Raises:
      InputError: not JSON, or not such an object.
    """
    whole = parse_json(str(path), read_text(path))
    segments = whole.get("segments") if isinstance(whole, dict) else None
    if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
        raise InputError(f"{path}: no transcript of Whisper: it must be an object with segments: give that, or a csv")
    lines = []
    for number, segment in enumerate(segments, 1):
        for part in _by_speaker(segment):
            start, end = (_seconds(f"{path}: segment {number}", part.get(name)) for name in ("start", "end"))
            if start is not None and end is not None and end < start:
                raise InputError(f"{path}: segment {number}: ends before it starts: mend its times")
            text, speaker = part.get("text"), part.get("speaker") or ""
            if not isinstance(text, str) or not isinstance(speaker, str):
                raise InputError(f"{path}: segment {number}: text and speaker must be strings: mend it")
            lines.append(Line(" ".join(text.split()), start, end, speaker))
    return Script(path, tuple(lines), is_file=True)


def _by_speaker(segment: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A segment, cut where the speaker of its words changes."""
    words = segment.get("words")
    words = [one for one in words if isinstance(one, dict)] if isinstance(words, list) else []
    speakers = {one["speaker"] for one in words if isinstance(one.get("speaker"), str)}
    if len(speakers) < 2:
        yield {**segment, "speaker": segment.get("speaker") or next(iter(speakers), "")}
        return
    who = segment.get("speaker")
    named = [who := one.get("speaker", who) for one in words]  # words without one are of the speaker before
    for speaker, group in itertools.groupby(zip(named, words, strict=True), key=lambda one: one[0]):
        turn = [word for _, word in group]
        texts = [str(word.get("word", word.get("text", ""))).strip() for word in turn]
        starts, ends = ([word[name] for word in turn if word.get(name) is not None] for name in ("start", "end"))
        start, end = (starts[0] if starts else None), (ends[-1] if ends else None)
        yield {"text": join(texts), "speaker": speaker, "start": start, "end": end}


def _seconds(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST:
        raise InputError(f"{where}: a time is no number of seconds from 0 to {_LAST:g}: mend it")
    return float(value)


def read_textgrid(path: Path) -> Script:
    """Praat's TextGrid, long or short: an interval with words is a line, its tier the speaker where there are several.

    Raises:
      InputError: no TextGrid, one that is cut short, or none with intervals.
    """
    tiers = _intervals(path, _decode(path))
    if not tiers:
        raise InputError(f"{path}: has no interval tier: give one for each speaker")
    aligned = [match and match[2].lower().startswith("word") for match in (_ALIGNED.fullmatch(n) for n, _ in tiers)]
    if words := any(aligned):
        tiers = [(_ALIGNED.fullmatch(n)[1] or "", e) for (n, e), one in zip(tiers, aligned, strict=True) if one]
    lines = [
        Line(" ".join(label.split()), start, end, name * (len(tiers) > 1))
        for name, intervals in tiers
        for start, end, label in intervals
        if label.strip()
    ]
    return Script(path, _in_time(lines), words, is_file=True)


def _decode(path: Path) -> str:
    """The text of a file that Praat saved, in UTF-8, or in UTF-16 with its mark."""
    require_file(path)
    start = path.read_bytes()
    return start.decode("utf-16", "replace") if start[:2] in (b"\xff\xfe", b"\xfe\xff") else read_text(path)


def _intervals(path: Path, text: str) -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Names of interval tiers, and start, end and label of each interval: all that is not a value is decoration."""
    values = iter(_VALUE.findall(text))
    tiers = []

    def take(kind: type) -> Any:
        value = next(values)
        if (value[0] == '"') != (kind is str):
            raise ValueError(kind)
        return value[1:-1].replace('""', '"') if kind is str else kind(value)

    try:
        if take(str).split()[:1] != ["ooTextFile"] or take(str) != "TextGrid":
            raise ValueError("header")
        take(float), take(float), next(values)  # ends of all, <exists>
        for _ in range(take(int)):
            kind, name, _, _, count = take(str), take(str).strip(), take(float), take(float), take(int)
            if kind == "IntervalTier":
                tiers.append((name, [(take(float), take(float), take(str)) for _ in range(count)]))
            else:
                for _ in range(count):
                    take(float), take(str)
    except (StopIteration, ValueError, RuntimeError):
        raise InputError(
            f"{path}: no TextGrid, or cut short: it holds less than it says: save it again in Praat"
        ) from None
    return tiers


def read_eaf(path: Path) -> Script:
    """ELAN's annotation file: an annotation with words is a line, of the participant of its tier, or the tier's name.

    Tiers that depend on others (translations, glosses) are not read. Time slots without a time lie evenly between their
    neighbours, as ELAN shows them.

    Raises:
      InputError: no such file, or none with annotations.
    """
    require_file(path)
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:
        raise InputError(f"{path}: no file of ELAN ({type(error).__name__}): save it again in ELAN") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: no file of ELAN: give one that ELAN saved")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    known = [i for i, value in enumerate(slots.values()) if value is not None and value.isdecimal()]
    seconds: dict[str | None, float] = {}
    if known:
        values = [int(list(slots.values())[i]) / 1000 for i in known]
        seconds = dict(zip(slots, np.interp(np.arange(len(slots)), known, values).tolist(), strict=True))
    tiers = [tier for tier in root.iter("TIER") if tier.get("PARENT_REF") is None]
    lines, dependent = [], sum(1 for _ in root.iter("TIER")) - len(tiers)
    speaking = [tier for tier in tiers if tier.find("ANNOTATION") is not None]
    for tier in speaking:
        who = (tier.get("PARTICIPANT") or tier.get("TIER_ID") or "") * (len(speaking) > 1)
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            text = " ".join((one.findtext("ANNOTATION_VALUE") or "").split())
            start, end = (seconds.get(one.get(f"TIME_SLOT_REF{k}")) for k in (1, 2))
            if start is None or end is None or end < start:
                raise InputError(f"{path}: an annotation has no times, or ends before it starts: mend it in ELAN")
            lines += [Line(text, start, end, who)] if text else []
    if not lines:
        raise InputError(f"{path}: holds no annotation with times: annotate what is said in tiers of their own")
    notes = (f"tiers that depend on others and are not read: {dependent}",) if dependent else ()
    return Script(path, _in_time(lines), is_file=True, notes=notes)


def read_chat(path: Path) -> Script:
    """A transcript in CHAT: an utterance is a line, without codes, repetitions and what was taken back.

    Raises:
      InputError: not in CHAT, or without an utterance.
    """
    import pylangacq

    rows, main = read_text(path).splitlines(), []
    for row in rows:  # without what depends on an utterance, which pylangacq compares with it
        if row.startswith("%") or (row.startswith("\t") and main and main[-1] is None):
            main.append(None)
        else:
            main.append(row)
    try:
        chat = pylangacq.CHAT.from_strs(["\n".join(row for row in main if row is not None) + "\n"])
        utterances = chat.utterances()
    except (ValueError, OSError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: not in CHAT ({type(error).__name__}): every utterance must end with a mark, and times ascend: "
            "let CLAN check it"
        ) from None
    lines = []
    for one in utterances:
        text = ""
        for word in (token.word for token in one.tokens or ()):
            if word and not word.startswith("+"):  # marks of how an utterance ends
                text += word if _ENDS.fullmatch(word) else " " * bool(text) + word
        start, end = (None, None) if one.time_marks is None else (ms / 1000 for ms in one.time_marks)
        lines.append(Line(text, start, end, one.participant))
    if not lines:
        raise InputError(f"{path}: holds no utterance in CHAT: lines must begin with *PAR: or the like")
    return Script(path, tuple(lines), is_file=True)


def has_ranges(text: str) -> bool:
    """Whether the first line of a text that is not blank begins with times, `00:05-00:12`."""
    return bool(_RANGE.fullmatch(next((line for line in text.splitlines() if line.strip()), "")))


def read_ranges(path: Path, text: str) -> Script:
    """Lines of times, `00:05-00:12`, before each what is said then, `NAME: words` where speakers are named.

    Args:
      path: of the file, for messages.
      text: of it.

    Raises:
      InputError: times that run backwards.
    """
    lines: list[Line] = []
    for number, row in enumerate(text.splitlines(), 1):
        match = _RANGE.fullmatch(row)
        if match:
            start, end = (_clock(match.groups()[k : k + 3]) for k in (0, 3))
            if end < start:
                raise InputError(f"{path}: line {number}: ends before it starts: mend its times")
            lines.append(Line("", start, end))
            row = match[7]
        if not row.strip():
            continue
        before, named = lines[-1], _NAMED.fullmatch(row)
        if not before.text:
            who, words = (named[1].strip(), named[2]) if named else ("", row)
            lines[-1] = Line(words.strip(), before.start, before.end, who)
        elif named:  # the other one, in the same stretch
            lines.append(Line(named[2].strip(), before.start, before.end, named[1].strip()))
        else:
            lines[-1] = Line(join((before.text, row.strip())), before.start, before.end, before.speaker)
    return Script(path, tuple(lines), is_file=True)


def _clock(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


def _in_time(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: (line.start, line.end)))

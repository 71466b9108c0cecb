"""The table of a corpus in the layout of the MMPsy release: who was interviewed, what was said, what was scored.

The released `wav_select.json` is a list of objects

    {"user_id": "user_1", "phq-label": {"score": 7, "level": "Mild"}, "gad-label": {...},
     "audios": {"wav_1.wav": "first answer", ..., "wav_10.wav": "tenth answer"}}

and not the dictionary that the README of the release shows. `wav_10` follows `wav_9`, not `wav_1`. The `level` strings
are kept only so that `check` can compare them with the scores: nothing is ever derived from them.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.io import InputError, read_json
from mmpsy_jax.tasks import SCORE_MAXIMUM

TABLE_NAME = "wav_select.json"

# Our label names, and the keys under which the release keeps them.
LABEL_KEYS = {"phq9": "phq-label", "gad7": "gad-label"}

# Ids become folder names and CSV cells: no separators, no control characters, no leading dot, no spreadsheet formula.
_PARTICIPANT = re.compile(r"[^\W_][\w.\-]{0,127}")
_ANSWER = re.compile(r"wav_(\d+)\.wav")


@dataclasses.dataclass(frozen=True)
class Interview:
    """One participant of the table.

    Attributes:
      participant: id, as the corpus gives it.
      scores: total per questionnaire, None where it is missing.
      levels: the released severity strings, for `check` only.
      questions: number of the question that each answer belongs to, ascending.
      answers: what was said, in the order of the questions.
    """

    participant: str
    scores: Mapping[str, int | None]
    levels: Mapping[str, str]
    questions: tuple[int, ...]
    answers: tuple[str, ...]

    @property
    def transcript(self) -> str:
        """All answers, one below the other."""
        return "\n".join(self.answers)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `user_10` follows `user_9`."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def find_table(path: str | os.PathLike) -> Path:
    """The table file for a path that may be the file itself, its folder, or the folder above `data/`.

    Raises:
      InputError: there is none.
    """
    path = Path(path)
    candidates = [path] if path.is_file() else [path / TABLE_NAME, path / "data" / TABLE_NAME]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{path}: no table here: expected {' or '.join(map(str, candidates))}; give the folder that holds "
        f"{TABLE_NAME} (or its parent, where it lies in data/)"
    )


def read_table(path: str | os.PathLike, *, scored: bool = True) -> list[Interview]:
    """Reads and validates a table.

    Args:
      path: the JSON file, the folder that holds it, or the folder above its `data/`.
      scored: every entry must have the keys of the scores; False neither asks for them nor reads them.

    Returns:
      the interviews in natural order of their ids (`user_2` before `user_10`).

    Raises:
      InputError: unreadable file, wrong layout, a missing key, an id twice, a score out of range.
    """
    table = find_table(path)
    entries = read_json(table, kind=object)
    if not isinstance(entries, list):
        raise InputError(
            f"{table}: holds a JSON {_json_type(entries)}: the release is a list of objects with user_id, phq-label, "
            "gad-label and audios; convert it to that"
        )
    if not entries:
        raise InputError(f"{table}: the list is empty: give a table with at least one participant")
    interviews = [_parse_entry(table, number, entry, scored) for number, entry in enumerate(entries, 1)]
    refuse_duplicates(table, ((f"entry {number}", one.participant) for number, one in enumerate(interviews, 1)))
    return sorted(interviews, key=lambda interview: natural_key(interview.participant))


def transcripts(path: str | os.PathLike) -> dict[str, str]:
    """Transcript of every participant of a table: all answers in order of the questions, joined by newlines."""
    return {interview.participant: interview.transcript for interview in read_table(path)}


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _member(where: str, holder: Any, key: str, kind: type) -> Any:
    if not isinstance(holder, dict):
        raise InputError(f"{where}: is a JSON {_json_type(holder)}, must be an object")
    if key not in holder:
        raise InputError(f"{where}: the key {key!r} is missing: add it, or leave the participant out")
    if not isinstance(holder[key], kind):
        raise InputError(f"{where}: {key!r} is a JSON {_json_type(holder[key])}, must be a {_json_type(kind())}")
    return holder[key]


def _parse_entry(table: Path, number: int, entry: Any, scored: bool) -> Interview:
    where = f"{table}: entry {number}"
    participant = _member(where, entry, "user_id", str)
    require_id(where, "user_id", participant)
    labels = {label: _member(where, entry, key, dict) for label, key in LABEL_KEYS.items() if scored}
    answers = _parse_answers(where, _member(where, entry, "audios", dict))
    return Interview(
        participant=participant,
        scores={label: _parse_score(where, label, value) for label, value in labels.items()},
        levels={label: str(value.get("level", "")) for label, value in labels.items()},
        questions=tuple(question for question, _ in answers),
        answers=tuple(answer for _, answer in answers),
    )


def _parse_score(where: str, label: str, holder: dict[str, Any]) -> int | None:
    # The messages leave the score out: an id beside a score is what must not reach a log.
    key = LABEL_KEYS[label]
    if "score" not in holder:
        raise InputError(f"{where}: {key} has no 'score': add it (null where it is unknown)")
    score = holder["score"]
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or score != score or score % 1 != 0:
        raise InputError(f"{where}: {key} 'score' must be a whole number, or null where it is unknown")
    if not 0 <= score <= SCORE_MAXIMUM[label]:
        raise InputError(f"{where}: {key} 'score' is outside 0 to {SCORE_MAXIMUM[label]}: correct it or set it to null")
    return int(score)


def _parse_answers(where: str, audios: dict[str, Any]) -> list[tuple[int, str]]:
    answers: dict[int, str] = {}
    for name, text in audios.items():
        match = _ANSWER.fullmatch(name)
        if not match:
            raise InputError(f"{where}: audios has a key that is no wav_<number>.wav: rename it")
        if not isinstance(text, str):
            raise InputError(f"{where}: the answer {name} is a JSON {_json_type(text)}, must be a string")
        if int(match[1]) in answers:
            raise InputError(f"{where}: audios has question {int(match[1])} twice: keep one")
        answers[int(match[1])] = text
    return sorted(answers.items())


def require_id(where: str, name: str, participant: str) -> None:
    """Raises unless a text can be the id of a participant.

    Args:
      where: file and line.
      name: of the key or column.
      participant: the text.

    Raises:
      InputError: it cannot; the message does not repeat it, for it may be another cell that got there.
    """
    if not _PARTICIPANT.fullmatch(participant):
        raise InputError(
            f"{where}: {name} cannot be an id: use 1 to 128 letters, digits, '_', '-' or '.', beginning with a letter "
            "or digit"
        )


def refuse_duplicates(path: Path, participants: Iterable[tuple[str, str]], remedy: str = "keep one") -> None:
    """Raises where an id is there twice, be it in another case.

    Args:
      path: of the table.
      participants: place in the table, and id.
      remedy: for the message.

    Raises:
      InputError: it is.
    """
    seen: dict[str, str] = {}
    for place, participant in participants:
        # Folded, because two ids that differ in case only are one folder on some file systems.
        folded = participant.casefold()
        if folded in seen:
            raise InputError(
                f"{path}: {seen[folded]} and {place} have the same id (case does not count): one person in two entries "
                f"could end up on both sides of a split; {remedy}"
            )
        seen[folded] = place

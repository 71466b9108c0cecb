"""What is left out of interviews, as users write it: for everybody in an option, for one participant in a cell.

| item | where | leaves out |
|---|---|---|
| `9` | option, cell | the question of that number |
| `395-428` | cell | these seconds, from the beginning of the first recording |
| `FILE.txt` | option | turns in which a phrase occurs, one a line |
| `FILE.csv` | option | seconds, by the columns `participant`, `start`, `end` |
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.features.dialogue import NOTHING, Omit, squeeze
from mmpsy_jax.features.script import LAST_QUESTION, TABLES
from mmpsy_jax.features.script_lines import Span
from mmpsy_jax.io import InputError, number, number_or_none, read_table, read_text, whole_or_none

_SHORTEST_PHRASE = 4  # characters; shorter ones occur by chance


@dataclasses.dataclass(frozen=True)
class Omissions:
    """What an option leaves out.

    Attributes:
      omit: for everybody, new people included.
      stretches: by participant.
    """

    omit: Omit = NOTHING
    stretches: Mapping[str, tuple[Span, ...]] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.omit or self.stretches)

    def card(self) -> dict[str, Any]:
        """For the card of a corpus, without anybody's id."""
        listed = json.dumps({name: self.stretches[name] for name in sorted(self.stretches)})
        digest = {"stretches_sha256": hashlib.sha256(listed.encode()).hexdigest()} if self.stretches else {}
        return {**self.omit.card(), **digest}

    def require_known(self, participants: Iterable[str]) -> None:
        """Refuses stretches of somebody who is not there.

        Raises:
          InputError: names up to ten of them.
        """
        unknown = sorted(set(self.stretches) - set(participants))
        if unknown:
            raise InputError(
                f"--omit: {len(unknown)} of {len(self.stretches)} participants are unknown, such as "
                f"{', '.join(unknown[:10])}: correct their ids"
            )


def read_option(text: str) -> Omissions:
    """Reads the option `--omit`: items with commas between.

    Raises:
      InputError: an item of another kind, or a file that is not as above; never quotes a phrase.
    """
    omit, stretches = Omit(), {}
    for item in filter(None, map(str.strip, text.split(","))):
        question, suffix = whole_or_none(item), Path(item).suffix.lower()
        if question is not None:
            omit += Omit(questions=(_question("--omit", item),))
        elif suffix == ".txt":
            omit += Omit(phrases=_phrases(Path(item)))
        elif suffix in TABLES:
            for name, spans in _stretches(Path(item)).items():
                stretches[name] = (*stretches.get(name, ()), *spans)
        else:
            raise InputError(f"--omit={item[:60]}: give numbers of questions, a .txt of phrases, or a .csv of times")
    return Omissions(omit, stretches)


def read_cell(where: str, text: str) -> Omit:
    """Reads a cell of the column `omit`: numbers of questions and stretches, with blanks, semicolons or commas between.

    Raises:
      InputError: an item of another kind, or seconds that do not ascend.
    """
    omit = Omit()
    for item in re.split(r"[;,\s]+", text):
        start, dash, end = item.partition("-")
        if dash:
            omit += Omit(stretches=(span(f"{where}: omit", number_or_none(start), number_or_none(end)),))
        elif item:
            omit += Omit(questions=(_question(f"{where}: omit", item),))
    return omit


def span(where: str, start: Any, end: Any) -> Span:
    """A stretch of seconds.

    Raises:
      InputError: no numbers of 0 or more, or the end is not after the start.
    """
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and one >= 0 for one in (start, end)):
        raise InputError(f"{where}: a stretch is two numbers of 0 or more, in seconds, such as 395-428: mend it")
    if end <= start:
        raise InputError(f"{where}: a stretch ends after it starts: mend it")
    return float(start), float(end)


def _question(where: str, text: str) -> int:
    value = whole_or_none(text)
    if value is None or value > LAST_QUESTION:
        raise InputError(f"{where}: a question is a whole number from 0 to {LAST_QUESTION}: mend it")
    return value


def _phrases(path: Path) -> tuple[str, ...]:
    phrases = tuple(squeeze(line) for line in read_text(path).splitlines() if line.strip())
    short = sum(len(phrase) < _SHORTEST_PHRASE for phrase in phrases)
    if not phrases or short:
        raise InputError(
            f"{path}: holds {len(phrases)} phrases, {short} of them of fewer than {_SHORTEST_PHRASE} characters, which "
            "occur by chance: give longer ones, one a line"
        )
    return phrases


def _stretches(path: Path) -> dict[str, tuple[Span, ...]]:
    table = read_table(path, ("participant", "start", "end"))
    by_name: dict[str, tuple[Span, ...]] = {}
    for line, row in table.rows:
        where, name = f"{path}: line {line}", row["participant"]
        if not name:
            raise InputError(f"{where}: participant is empty: every line needs one")
        ends = (number(where, column, row[column], 0) for column in ("start", "end"))
        by_name[name] = (*by_name.get(name, ()), span(where, *ends))
    return by_name

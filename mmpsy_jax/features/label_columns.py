"""Columns of labels: scores as numbers, or classes as words; which of the two a column holds follows from its cells.

Scores are whole numbers from 0 unless the ends of the scale are stated; then decimals and numbers below 0 are read,
and -1 is a missing score where the scale begins at 0. No message repeats a cell.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from mmpsy_jax.io import InputError, number_or_none
from mmpsy_jax.tasks import EVERY, KNOWN_MAXIMUM, MOST_CLASSES

MISSING = -1.0  # of scores from 0, in tables that have no empty cells
_CLASS = re.compile(r"[^\W\d_][\w .'()&-]{0,39}")  # letters of any script; no '/' and ',', which separate classes
_NO_CLASS = ("na", "n.a.", "nan", "null", "inf", "missing", "unknown")


@dataclasses.dataclass(frozen=True)
class LabelColumn:
    """What a column holds.

    Attributes:
      values: score, or index of the class, of each row; None where it is missing.
      classes: names of the classes in alphabetical order; () of scores.
      notes: what was taken for missing, with counts.
    """

    values: tuple[float | None, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_column(
    where: str,
    label: str,
    cells: Sequence[str],
    lines: Sequence[int],
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> LabelColumn:
    """Reads the cells of a label.

    Args:
      where: the file, for messages.
      label: its name.
      cells: of all rows, "" where the label is missing.
      lines: of the file, of each cell.
      ranges: stated ends of scales by label; those of `tasks.EVERY` are of all scores.

    Raises:
      InputError: numbers and words in one column, a cell that is neither, a class in two spellings, too many classes,
        or a score that the scale, stated or of a known questionnaire, has not.
    """
    numbers = [number_or_none(cell) for cell in cells]
    filled = [i for i, cell in enumerate(cells) if cell]
    words = [i for i in filled if numbers[i] is None and _CLASS.fullmatch(cells[i])]
    words = [i for i in words if cells[i].casefold() not in _NO_CLASS]
    if filled and len(words) == len(filled) and label not in KNOWN_MAXIMUM:
        if label in (ranges or {}):
            raise InputError(f"{where}: label:{label} holds words, which have no scale: leave it out of --ranges")
        return _classes(where, label, cells, lines)
    scores = [i for i in filled if numbers[i] is not None]
    if scores and words:
        raise InputError(
            f"{where}: label:{label} holds a number in line {lines[scores[0]]} and a word in line {lines[words[0]]}: "
            "write scores as numbers in all rows, or classes as words, and leave empty what is not known"
        )
    return _scores(where, label, [(i, numbers[i]) for i in filled], lines, ranges or {})


def _classes(where: str, label: str, cells: Sequence[str], lines: Sequence[int]) -> LabelColumn:
    spelled: dict[str, tuple[str, int]] = {}
    for cell, line in zip(cells, lines, strict=True):
        first, there = spelled.setdefault(cell.casefold(), (cell, line))
        if cell != first:
            raise InputError(
                f"{where}: label:{label} spells a class differently in lines {there} and {line}: write it alike"
            )
    classes = tuple(sorted(name for name, _ in spelled.values() if name))
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"{where}: label:{label} holds {len(classes)} different words, classes are at most {MOST_CLASSES}: name "
            f"the column other:{label} where it is no label"
        )
    index = {name: float(i) for i, name in enumerate(classes)}
    return LabelColumn(tuple(index.get(cell) for cell in cells), classes)


def _scores(
    where: str,
    label: str,
    filled: Sequence[tuple[int, float | None]],
    lines: Sequence[int],
    ranges: Mapping[str, tuple[float, float]],
) -> LabelColumn:
    values: list[float | None] = [None] * len(lines)
    ends, missing = ranges.get(label) or ranges.get(EVERY), 0
    for i, value in filled:
        if value == MISSING and ends and ends[0] == 0:
            missing += 1
        elif value is not None and ends and ends[0] <= value <= ends[1]:
            values[i] = value
        elif ends:
            raise InputError(
                f"{where}: line {lines[i]}: label:{label} is no number from {ends[0]:g} to {ends[1]:g}, the stated "
                "range: mend the cell, leave it empty, or correct --ranges"
            )
        elif value is None or value < 0 or value % 1 or value >= 2**31:
            raise InputError(
                f"{where}: line {lines[i]}: label:{label} is no whole number of 0 or more: mend the cell, leave it "
                f"empty, or state the scale where it has decimals or numbers below 0, --ranges={label}:LOW:HIGH"
            )
        elif value > KNOWN_MAXIMUM.get(label, math.inf):
            raise InputError(
                f"{where}: line {lines[i]}: label:{label} is above {KNOWN_MAXIMUM[label]:g}, the highest score of that "
                f"questionnaire: mend the cell, leave it empty, or state another scale, --ranges={label}:LOW:HIGH"
            )
        else:
            values[i] = value
    note = f"label:{label} is -1 of {missing} participants, below the lowest score: taken as missing"
    return LabelColumn(tuple(values), notes=(note,) * bool(missing))

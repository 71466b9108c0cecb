"""A table of daily records, one row per day of a person.

The columns are those that the published code reads (repo Meishu619/mental-health-monitoring):

| column | what |
|---|---|
| `person`, `day` | whose day, and its whole number in the study (names: our choice) |
| `zcm*`, `pim*` | actigraphy counts of the day: zero crossings, proportional integration; as many as there are |
| `Neuron*` | speech embedding of the day; as many as there are |
| `DAMS1` ... `DAMS9` | ratings, whole numbers of 0 or more; an empty cell is a missing rating |

Counts are stored as ln(1 + count), embeddings as they are, empty cells as 0; a modality whose cells are all empty on a
day is absent from it. Nothing is standardised here, where folds are not known: networks normalise over the columns of a
modality. (The published code subtracts the means of its training part.)
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mmpsy_jax.csv_rows import read_table, whole_or_none
from mmpsy_jax.errors import InputError
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.files import file_sha256

# Modality -> beginning of the names of its columns.
COLUMNS = {"zcm": "zcm", "pim": "pim", "speech": "Neuron"}
COUNTS = ("zcm", "pim")
RATINGS = tuple(f"DAMS{k}" for k in range(1, 10))
LABELS = tuple(name.lower() for name in RATINGS)
# Depression and Anxiety Mood Scale in the order of a sibling paper; that DAMS1 is the first of them is assumed.
MOODS = ("vigorous", "gloomy", "concerned", "happy", "unpleasant", "anxious", "cheerful", "depressed", "worried")
_PERSON = re.compile(r"[^\W_][\w.\-]{0,63}")


@dataclasses.dataclass(frozen=True)
class Day:
    """One row.

    Attributes:
      person, day: whose day, which.
      values: [columns] by modality, None where it is absent.
      ratings: by label, -1 where missing.
    """

    person: str
    day: int
    values: dict[str, Float32[np.ndarray, " f"] | None]
    ratings: dict[str, int]

    @property
    def name(self) -> str:
        """Unique id of the record."""
        return f"{self.person}/{self.day}"


@dataclasses.dataclass(frozen=True)
class Table:
    """An opened table: number of columns by modality, and the days, by person in natural order and then by day."""

    sizes: dict[str, int]
    days: tuple[Day, ...]
    sha256: str

    @property
    def people(self) -> tuple[str, ...]:
        """All persons, in natural order."""
        return tuple(dict.fromkeys(day.person for day in self.days))


def read(path: Path) -> Table:
    """Reads a table.

    Raises:
      InputError: as `csv_rows.read_table`, a column that is missing, a cell that is not what its column holds, a day of
        a person that is there twice, a table without days.
    """
    families = (f"{start}*" for start in COLUMNS.values())
    table = read_table(path, ("person", "day", *RATINGS, *families), extra="ignore")
    places = {name: [cell for cell in table.header if cell.startswith(start)] for name, start in COLUMNS.items()}
    days: dict[tuple[str, int], Day] = {}
    for line, row in table.rows:
        day = _read_day(f"{path}: line {line}", row, places)
        if (day.person, day.day) in days:
            raise InputError(f"{path}: line {line}: this day of this person is there already: keep one row for it")
        days[day.person, day.day] = day
    if not days:
        raise InputError(f"{path}: holds no day: give at least one row below the first line")
    ordered = sorted(days.values(), key=lambda one: (natural_key(one.person), one.day))
    sizes = {name: len(found) for name, found in places.items()}
    return Table(sizes, tuple(ordered), file_sha256(path).hex())


def _read_day(where: str, named: dict[str, str], places: dict[str, list[str]]) -> Day:
    if not _PERSON.fullmatch(named["person"]):
        raise InputError(f"{where}: person must be 1 to 64 letters, digits, '_', '.' and '-': rename it")
    ratings = {}
    for column, label in zip(RATINGS, LABELS, strict=True):
        ratings[label] = -1 if not named[column] else _whole(f"{where}: {column}", named[column])
    values: dict[str, Float32[np.ndarray, " f"] | None] = {}
    for name, found in places.items():
        own = [named[column] for column in found]
        try:
            numbers = np.array([float(cell) if cell else 0.0 for cell in own])
        except ValueError:
            numbers = np.array([np.nan])
        if not np.isfinite(numbers).all() or (name in COUNTS and numbers.min() < 0):
            least = " of 0 or more" if name in COUNTS else ""
            raise InputError(f"{where}: a cell of {COLUMNS[name]}* is no finite number{least}: mend or empty it")
        stored = np.log1p(numbers) if name in COUNTS else numbers
        values[name] = stored.astype(np.float32) if any(own) else None
    if not any(value is not None for value in values.values()):
        raise InputError(f"{where}: no cell of zcm*, pim* or Neuron* is filled: remove the row")
    return Day(named["person"], _whole(f"{where}: day", named["day"]), values, ratings)


def _whole(where: str, text: str) -> int:
    value = whole_or_none(text)
    if value is None:
        raise InputError(f"{where} is no whole number of 0 or more: mend the cell, or scale ratings to whole numbers")
    return value

"""A table of daily records, one row per day of a person.

| column | what |
|---|---|
| `person`, `day` | whose day, and its whole number in the study, or its date as YYYY-MM-DD |
| `label:NAME` | a rating on any scale; an empty cell is a missing rating |
| `sensor:NAME.COLUMN` | a number of the modality NAME; `sensor:NAME` alone is a modality of one column |
| `zcm*`, `pim*` | actigraphy counts of the day: zero crossings, proportional integration; as many as there are |
| `Neuron*` | speech embedding of the day; as many as there are |
| `DAMS1` ... `DAMS9` | ratings, where there is no `label:NAME` |

The last three kinds are those that the published code reads (repo Meishu619/mental-health-monitoring); names of one's
own may also be given as a `Layout`. Counts are stored as ln(1 + count), all else as it is, empty cells as 0; a modality
whose cells are all empty on a day is absent from it. Nothing is standardised here, where folds are not known. (The
published code subtracts the means of its training part.)
"""

import dataclasses
import datetime
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, file_sha256, number, read_table, whole_or_none
from mmpsy_jax.io import Table as Cells

# Modality -> beginning of the names of its columns.
COLUMNS = {"zcm": "zcm", "pim": "pim", "speech": "Neuron"}
COUNTS = ("zcm", "pim")
RATINGS = tuple(f"DAMS{k}" for k in range(1, 10))
LABELS = tuple(name.lower() for name in RATINGS)
# Depression and Anxiety Mood Scale in the order of a sibling paper; that DAMS1 is the first of them is assumed.
MOODS = ("vigorous", "gloomy", "concerned", "happy", "unpleasant", "anxious", "cheerful", "depressed", "worried")
CLUSTER_FEATURE, PERSON = "cluster", "person"
_LABEL, _SENSOR = "label:", "sensor:"
_PERSON = re.compile(r"[^\W_][\w.\-]{0,63}")
_NAME = re.compile(r"[^\W\d_]\w{0,39}")
_TAKEN = re.compile(
    r"participant|n_answers|n_characters|duration_s|n_windows|window_start_s|transcript|has_.*|.*_length"
)
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?)?")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which columns are read, where their names do not say so.

    Attributes:
      labels: columns of ratings; none: `label:NAME`, or the published ones.
      sensors: columns by modality, a last `*` stands for all that begin so; none: `sensor:NAME...` and the published
        ones that are there.
    """

    labels: tuple[str, ...] = ()
    sensors: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All columns that it names."""
        return [*self.labels, *(column for columns in self.sensors.values() for column in columns)]


def read_layout(labels: str, sensors: str) -> Layout:
    """A layout from `NAME,...` and `MODALITY:COLUMN:...,...`, as command lines have them.

    Raises:
      InputError: a modality without columns, or one that is there twice.
    """
    by_modality: dict[str, tuple[str, ...]] = {}
    for part in filter(None, sensors.split(",")):
        name, *columns = (one.strip() for one in part.split(":"))
        if not columns or not all(columns) or name in by_modality:
            raise InputError(
                f"--sensors={sensors[:80]}: write MODALITY:COLUMN:..., with commas between modalities, each once, such "
                "as sleep:hours:quality,phone:steps*"
            )
        by_modality[name] = tuple(columns)
    return Layout(tuple(filter(None, (one.strip() for one in labels.split(",")))), by_modality)


@dataclasses.dataclass(frozen=True)
class Day:
    """One row.

    Attributes:
      person: whose day.
      day: which, counted from 1 on the first date of the table where days are dates.
      written: as the table has it, a number or a date.
      values: [columns] by modality, None where it is absent.
      ratings: by label, NaN where missing.
    """

    person: str
    day: int
    written: str
    values: dict[str, Float32[np.ndarray, " f"] | None]
    ratings: dict[str, float]

    @property
    def name(self) -> str:
        """Unique id of the record."""
        return f"{self.person}/{self.written}"


@dataclasses.dataclass(frozen=True)
class Table:
    """An opened table.

    Attributes:
      sizes: number of columns by modality.
      days: by person in natural order and then by day.
      sha256: of the file.
      labels: names of the ratings.
      notes: how the file differs from what is documented, and what of it is not read.
    """

    sizes: dict[str, int]
    days: tuple[Day, ...]
    sha256: str
    labels: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """All persons, in natural order."""
        return tuple(dict.fromkeys(day.person for day in self.days))

    @property
    def label_dtype(self) -> str:
        """ "int32" where all ratings are whole numbers from 0, else "float32"."""
        values = np.array([rating for day in self.days for rating in day.ratings.values()])
        values = values[~np.isnan(values)]
        return "int32" if ((values >= 0) & (values % 1 == 0) & (values < 2**31)).all() else "float32"


def read(path: Path, layout: Layout | None = None) -> Table:
    """Reads a table.

    Raises:
      InputError: as `io.read_table`, a column that is missing, a cell that is not what its column holds, a day of
        a person that is there twice, a table without days.
    """
    layout = layout or Layout()
    # The names of one's own come first: a column `zcm_sum` that is named as a rating is none of `zcm*`.
    known = (*layout.names, *RATINGS, f"{_LABEL}*", f"{_SENSOR}*", *(f"{start}*" for start in COLUMNS.values()))
    cells = read_table(path, ("person", "day"), known, {"date": "day", "subject": "person"}, "keep")
    labels = _labels(path, cells, layout)
    sensors = _sensors(path, cells, layout, set(labels.values()))
    _require_names(path, [*labels, *sensors])
    read_columns = {"person", "day", *labels.values(), *(column for columns in sensors.values() for column in columns)}
    unread = [name for name in cells.header if name not in read_columns]
    if not cells.lines:
        raise InputError(f"{path}: holds no day: give at least one row below the first line")
    numbers, notes = _days(path, cells)
    days: dict[tuple[str, int], Day] = {}
    for (line, row), day in zip(cells.rows, numbers, strict=True):
        one = _read_day(path, line, row, day, labels, sensors)
        if (one.person, day) in days:
            raise InputError(f"{path}: line {line}: this day of this person is there already: keep one row for it")
        days[one.person, day] = one
    if unread:
        shown = ", ".join(unread[:20]) + ", ..." * (len(unread) > 20)
        notes = [*notes, f"{path}: {len(unread)} columns are not read: {shown}"]
    ordered = sorted(days.values(), key=lambda one: (natural_key(one.person), one.day))
    sizes = {name: len(columns) for name, columns in sensors.items()}
    return Table(sizes, tuple(ordered), file_sha256(path), tuple(labels), (*cells.notes, *notes))


def _labels(path: Path, cells: Cells, layout: Layout) -> dict[str, str]:
    """Columns of the ratings by label."""
    own = {name.removeprefix(_LABEL): name for name in cells.header if name.startswith(_LABEL)}
    found = {name: name for name in layout.labels} or own or dict(zip(LABELS, RATINGS, strict=True))
    missing = [column for column in found.values() if column not in cells.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}: ratings are label:NAME, the columns that --labels=NAME,... "
            f"names, or {RATINGS[0]} to {RATINGS[-1]}"
        )
    return found


def _sensors(path: Path, cells: Cells, layout: Layout, taken: set[str]) -> dict[str, list[str]]:
    """Columns of the inputs by modality."""
    free = [name for name in cells.header if name not in taken]
    own: dict[str, list[str]] = {}
    for name in free:
        if name.startswith(_SENSOR):
            own.setdefault(name.removeprefix(_SENSOR).partition(".")[0], []).append(name)
    wanted = dict(layout.sensors) or {name: (f"{start}*",) for name, start in COLUMNS.items()}
    matches = lambda name, one: name.startswith(one[:-1]) if one.endswith("*") else name == one  # noqa: E731
    found = {m: [name for name in free if any(matches(name, one) for one in ones)] for m, ones in wanted.items()}
    missing = [one for ones in wanted.values() for one in ones if not any(matches(name, one) for name in free)]
    published = not own and not layout.names and not any(name.startswith(_LABEL) for name in cells.header)
    found = {name: columns for name, columns in found.items() if columns} | ({} if layout.sensors else own)
    if missing and (layout.sensors or published or not found):
        raise InputError(
            f"{path}: no column {', '.join(missing)}: inputs are sensor:NAME.COLUMN, the columns that "
            "--sensors=MODALITY:COLUMN:...,... names, or zcm*, pim* and Neuron*"
        )
    return found


def _require_names(path: Path, names: list[str]) -> None:
    for name in names:
        if (
            not _NAME.fullmatch(name)
            or _TAKEN.fullmatch(name)
            or name in (CLUSTER_FEATURE, PERSON)
            or names.count(name) > 1
        ):
            raise InputError(
                f"{path}: {name[:40]!r} cannot be the name of a rating or modality: take each of 1 to 40 letters, "
                "digits and '_', beginning with a letter, once, and none that a record has besides, such as person"
            )


def _days(path: Path, cells: Cells) -> tuple[list[int], list[str]]:
    """Number of the day of each row, and a note where days are dates."""
    written = cells.columns["day"]
    dates = [_MIDNIGHT.fullmatch(text) for text in written]
    if not any(dates):
        return [_day(path, line, whole_or_none(text)) for line, text in zip(cells.lines, written, strict=True)], []
    made = []
    for line, match in zip(cells.lines, dates, strict=True):
        try:
            made.append(_day(path, line, datetime.date.fromisoformat(match[1]).toordinal() if match else None))
        except ValueError:  # the 30th of February
            _day(path, line, None)
    first = min(made)
    return [day - first + 1 for day in made], [f"{path}: dates are counted as days from the first one in the table"]


def _day(path: Path, line: int, value: int | None) -> int:
    if value is None:
        raise InputError(
            f"{path}: line {line}: day is no whole number of 0 or more, or not the date of a day as YYYY-MM-DD as the "
            "other rows have it: mend the cell"
        )
    return value


def _read_day(
    path: Path, line: int, row: dict[str, str], day: int, labels: dict[str, str], sensors: dict[str, list[str]]
) -> Day:
    where = f"{path}: line {line}"
    if not _PERSON.fullmatch(row["person"]):
        raise InputError(f"{where}: person must be 1 to 64 letters, digits, '_', '.' and '-': rename it")
    ratings = {label: number(where, column, row[column], empty=np.nan) for label, column in labels.items()}
    values: dict[str, Float32[np.ndarray, " f"] | None] = {}
    for name, columns in sensors.items():
        least = 0.0 if name in COUNTS else -np.inf
        numbers = np.array([number(where, c, row[c], least, empty=0.0) for c in columns])
        stored = np.log1p(numbers) if name in COUNTS else numbers
        with np.errstate(over="ignore"):  # what does not fit is refused when it is written
            values[name] = stored.astype(np.float32) if any(row[column] for column in columns) else None
    if not any(value is not None for value in values.values()):
        raise InputError(f"{where}: no cell of {', '.join(sensors)} is filled: remove the row")
    match = _MIDNIGHT.fullmatch(row["day"])
    return Day(row["person"], day, match[1] if match else str(day), values, ratings)

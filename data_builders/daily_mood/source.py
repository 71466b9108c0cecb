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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from data_builders.common import splits
from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Option, Source, read_names
from data_builders.daily_mood import demo
from data_builders.daily_mood.columns import COLUMNS, COUNTS, LABELS, RATINGS, RULES
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, file_sha256, number, read_table, whole_or_none
from mmpsy_jax.io import Table as Cells

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


def read_sensors(text: str) -> dict[str, tuple[str, ...]]:
    """Columns by modality from `MODALITY:COLUMN:...,...`, as command lines have them.

    Raises:
      InputError: a modality without columns, or one that is there twice.
    """
    by_modality: dict[str, tuple[str, ...]] = {}
    for part in read_names(text):
        name, *columns = (one.strip() for one in part.split(":"))
        if not columns or not all(columns) or name in by_modality:
            raise InputError(
                f"--sensors={text[:80]}: write MODALITY:COLUMN:..., with commas between modalities, each once, such "
                "as sleep:hours:quality,phone:steps*"
            )
        by_modality[name] = tuple(columns)
    return by_modality


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
    prefixed = {name.removeprefix(_LABEL): name for name in cells.header if name.startswith(_LABEL)}
    columns_of = {name: name for name in layout.labels} or prefixed or dict(zip(LABELS, RATINGS, strict=True))
    missing = [column for column in columns_of.values() if column not in cells.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}: ratings are label:NAME, the columns that --labels=NAME,... "
            f"names, or {RATINGS[0]} to {RATINGS[-1]}"
        )
    return columns_of


def _sensors(path: Path, cells: Cells, layout: Layout, taken: set[str]) -> dict[str, list[str]]:
    """Columns of the inputs by modality."""
    free = [name for name in cells.header if name not in taken]
    prefixed: dict[str, list[str]] = {}
    for name in free:
        if name.startswith(_SENSOR):
            prefixed.setdefault(name.removeprefix(_SENSOR).partition(".")[0], []).append(name)
    patterns = dict(layout.sensors) or {name: (f"{start}*",) for name, start in COLUMNS.items()}
    matches = lambda name, one: name.startswith(one[:-1]) if one.endswith("*") else name == one  # noqa: E731
    matching = {m: [name for name in free if any(matches(name, one) for one in ones)] for m, ones in patterns.items()}
    missing = [one for ones in patterns.values() for one in ones if not any(matches(name, one) for name in free)]
    published = not prefixed and not layout.names and not any(name.startswith(_LABEL) for name in cells.header)
    matching = {name: columns for name, columns in matching.items() if columns} | ({} if layout.sensors else prefixed)
    if missing and (layout.sensors or published or not matching):
        raise InputError(
            f"{path}: no column {', '.join(missing)}: inputs are sensor:NAME.COLUMN, the columns that "
            "--sensors=MODALITY:COLUMN:...,... names, or zcm*, pim* and Neuron*"
        )
    return matching


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
    ordinals = []
    for line, match in zip(cells.lines, dates, strict=True):
        try:
            ordinals.append(_day(path, line, datetime.date.fromisoformat(match[1]).toordinal() if match else None))
        except ValueError:  # the 30th of February
            _day(path, line, None)
    first = min(ordinals)
    return [day - first + 1 for day in ordinals], [f"{path}: dates are counted as days from the first one in the table"]


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


class TableSource(Source):
    """A record is one day; its feature `cluster` is the person.

    The number of the person, from 1 in natural order, is the modality `person` of kind "ids" (first of two columns, as
    everything that reads ids expects at least two): whoever gives a person layers of their own finds them by it. The
    numbers belong to this corpus and mean nothing in another.

    Args:
      path: of the table.
      rule: which days train, one of `RULES`; a report must say which, since the questions differ. `by_time` asks how
        well the coming days of people are estimated whose earlier days are known, `by_person` how well the days of
        people are estimated of whom nothing is known.
      labels, sensors: columns of ratings and inputs, where their names do not say so.
      highest: end of the scale of all ratings, where it is known.
    """

    unit = "days"
    window_seconds = 86_400.0
    dtype = "float32"
    cluster = CLUSTER_FEATURE
    splits_clusters = may_rank = True
    records_per_shard = 4096
    few = 10**9  # reading a table is all there is to do

    def __init__(
        self,
        path: str | Path,
        *,
        rule: str,
        labels: tuple[str, ...] = (),
        sensors: Mapping[str, tuple[str, ...]] | None = None,
        highest: float | None = None,
    ):
        self.path = Path(path)
        self.table = read(self.path, Layout(labels, sensors or {}))
        self._days = {day.name: day for day in self.table.days}
        self._number = {person: i for i, person in enumerate(self.table.people, 1)}
        self.participants = tuple(self._days)
        self.clusters = {name: day.person for name, day in self._days.items()}
        self.labels, self.label_dtype, self.one_scale = (
            self.table.labels,
            self.table.label_dtype,
            self.table.labels == LABELS,
        )
        self.ranges = dict.fromkeys(self.labels, (0.0, highest)) if highest else {}
        self.within_clusters, self.split_rule = rule == "by_time", RULES[rule]
        self.notes = [("", note) for note in self.table.notes]
        features = {
            name: {"kind": "features", "shape": [1, size], "time_axis": 0, "dtype": "float32"}
            for name, size in self.table.sizes.items()
        }
        person = {"kind": "ids", "shape": [1, 2], "time_axis": 0, "vocabulary": len(self._number) + 1}
        self.modalities = features | {PERSON: person}

    def scores(self, participant: str) -> Mapping[str, float | None]:
        return self._days[participant].ratings

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        day = self._days[participant]
        windows = {name: None if values is None else values[None] for name, values in day.values.items()}
        windows[PERSON] = np.array([[self._number[day.person], 0]])
        record = self.one_window(windows, day.day * self.window_seconds)
        return record | {"n_answers": int(day.values.get("speech") is not None)}, []

    def divide(self, fractions: Sequence[float], split_file: str | None) -> dict[str, str]:
        if not self.within_clusters:
            return super().divide(fractions, split_file)
        of_person: dict[str, list[str]] = {}
        for name, person in self.clusters.items():
            of_person.setdefault(person, []).append(name)
        split_of = {}
        for days in of_person.values():
            if len(days) < len(splits.SPLITS):
                raise InputError(
                    f"a person has {len(days)} days: division by time needs at least {len(splits.SPLITS)} of each: "
                    "leave such persons out, or divide by person"
                )
            split_of |= dict(zip(days, splits.in_turn(len(days), fractions), strict=True))
        return split_of


CORPUS = Corpus(
    name="daily_mood",
    versions={
        "1.0.0": "First layout: one day per record, clustered by person.",
        "1.1.0": "Any ratings and sensors; the scale of each rating.",
    },
    configs={
        f"{kind}_{rule}": Config(
            f"{'Synthetic d' if kind == 'demo' else 'D'}ays, {RULES[rule]}.",
            TableSource,
            needs="the table, a row per day of a person",
            demo=demo.write if kind == "demo" else None,
            file=demo.FILE,
            fixed={
                "rule": rule,
                **({"highest": demo.HIGHEST, "labels": (), "sensors": None} if kind == "demo" else {}),
            },
            fractions=(0.6, 0.2, 0.2),
            divided="by time within each person" if rule == "by_time" else "",
        )
        for rule in RULES
        for kind in ("demo", "table")
    },
    options={
        "labels": Option("columns of ratings, with commas; default: label:NAME, DAMS1 to 9", read_names),
        "sensors": Option("columns of inputs: MODALITY:COLUMN:COLUMN*,MODALITY:...", read_sensors),
        "days": Option("of each person of the demo", int),
    },
    former={"people": "participants"},
    homepage="https://doi.org/10.2196/59512",
)

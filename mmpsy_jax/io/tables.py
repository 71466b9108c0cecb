"""The one reader of every table that a user gives, comma-separated or not; cells that a spreadsheet does not run.

Tables are read as spreadsheets, pandas and R write them: with commas, semicolons or tabs (or what a first line `sep=;`
names), with a byte order mark, with empty rows and columns, with cells of any length, and with names of columns in any
case. Of a workbook (`.xlsx`) the first sheet is read. What is not as documented stands in `Table.notes`. No message
repeats a cell, nor a first line that is no header.
"""

import csv
import dataclasses
import functools
import io
import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmpsy_jax.io.errors import InputError
from mmpsy_jax.io.files import parse_json, read_text, require_file, write_atomically

# A spreadsheet runs a cell that begins with one of the first six as a formula; the quote itself is escaped too, so that
# reading undoes exactly what writing did.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SEPARATOR = re.compile(r"\"?sep=(.)\"?[,;\t\r ]*", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# Columns whose names begin so are never read.
OTHER = "other:"
_LISTED = 20  # names in a message
csv.field_size_limit(2**31 - 1)


def escape(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unescape(text: str) -> str:
    """What `escape` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of which every row has a cell in every column.

    Attributes:
      path: the file.
      columns: cells of each column that is read, without blanks around them, under its documented name.
      lines: line of the file that each row ends in.
      others: columns that are there and not read.
      notes: how the file differs from what is documented, for people; without cells.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    others: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def header(self) -> list[str]:
        """Names of the columns that are read, in the order of the file."""
        return list(self.columns)

    @functools.cached_property
    def rows(self) -> list[tuple[int, dict[str, str]]]:
        """Line, and cells by column, of every row."""
        cells = zip(*self.columns.values(), strict=True) if self.columns else ([] for _ in self.lines)
        return [(line, dict(zip(self.columns, row, strict=True))) for line, row in zip(self.lines, cells, strict=True)]


@dataclasses.dataclass(frozen=True)
class Columns:
    """What columns a table has.

    A name that ends in `*` stands for all columns that begin with what is before it; where that ends with a colon, the
    rest of their names is read in lower case.

    Attributes:
      required: columns that must be there; of names in a tuple one is enough.
      known: further columns that are read.
      aliases: {name in other software, or before: name here}; both may end in `*`.
      extra: what happens to a column of another name. One that begins with `other:` is always ignored.
      ignore: names of columns that the user asked to ignore.
      formats: delimiter and header of published tables, of which nothing is noted.
      nested: columns whose cells may be lists or objects in JSONL; they are read as JSON text.
    """

    required: Sequence[str | tuple[str, ...]] = ()
    known: Sequence[str] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extra: Literal["refuse", "ignore", "keep"] = "refuse"
    ignore: Sequence[str] = ()
    formats: Sequence[tuple[str, str]] = ()
    nested: Sequence[str] = ()

    @property
    def needed(self) -> list[tuple[str, ...]]:
        """Alternatives of each column that must be there."""
        return [(one,) if isinstance(one, str) else tuple(one) for one in self.required]

    @functools.cached_property
    def names(self) -> list[str]:
        """All names that stand alone."""
        return [name for one in self.needed for name in one] + list(self.known)

    @functools.cached_property
    def _pairs(self) -> list[tuple[str, str]]:
        """What a column may be called, with its documented name."""
        return [*self.aliases.items(), *zip(self.names, self.names, strict=True)]

    @functools.cached_property
    def _meanings(self) -> dict[str, str]:
        return {name.casefold(): meant for name, meant in self._pairs if not meant.endswith("*")}

    def meaning(self, name: str) -> str | None:
        """The documented name of a column; None where it has none."""
        folded = name.casefold()
        if folded in self._meanings:
            return self._meanings[folded]
        for before, prefix in ((one[:-1], meant[:-1]) for one, meant in self._pairs if meant.endswith("*")):
            if folded.startswith(before.casefold()):
                rest = name[len(before) :]
                return prefix + (rest.casefold().strip() if prefix.endswith(":") else rest)
        return None


def read_table(path: Path, required: Sequence[str | tuple[str, ...]] = (), *args: Any, **options: Any) -> Table:
    """Reads a table of text; where its name ends in `.xlsx`, the first sheet; in `.jsonl`, an object a line.

    Args:
      path: the file.
      required, args, options: as in `Columns`.

    Raises:
      InputError: no regular file or unreadable, not UTF-8, not such a table, a column that is missing, unknown (all of
        them are named) or there twice, or a row of another length than the header.
    """
    columns = Columns(required, *args, **options)
    if path.suffix.lower() == ".xlsx":
        return _make(path, columns, *_read_sheet(path))
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        return _make(path, columns, *_read_objects(path, text, columns.nested), [])
    delimiter, text, skipped = _separator(path, text)
    ranked = [delimiter] if delimiter else list(_DELIMITERS)
    heads = {one: _first_row(text, one) for one in ranked}

    def score(one: str) -> tuple[int, int]:
        return sum(columns.meaning(name) is not None for name in heads[one]), len(heads[one])

    delimiter = max(ranked, key=score)  # the first of equal ones
    surprise = delimiter != "," and not (delimiter == "\t" and path.suffix.lower() in (".tsv", ".tab"))
    notes = [f"{path}: cells are read as separated by {_DELIMITERS[delimiter]}"] * surprise
    table = _make(path, columns, *_read_rows(path, text, delimiter, skipped), notes)
    published = (delimiter, delimiter.join(heads[delimiter])) in columns.formats
    return dataclasses.replace(table, notes=()) if published else table


def _make(
    path: Path, columns: Columns, header: list[str], lines: list[int], rows: list[list[str]], notes: list[str]
) -> Table:
    """The table of a file, once its columns are found to be what they should."""
    if columns.names and not any(map(columns.meaning, header)):
        header = []  # no header, but perhaps somebody's cells, which no message may repeat
    places: dict[str, list[int]] = {}
    others, unknown, renamed = [], [], []
    ignore = {name.casefold() for name in columns.ignore}
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    for place, name in enumerate(header):
        meant, folded = columns.meaning(name), name.casefold()
        if folded in ignore or folded.startswith(OTHER) or (meant is None and columns.extra == "ignore"):
            others.append(name)
        elif not name and not any(cells[place]):
            continue
        elif meant is None and (columns.extra == "refuse" or not name):
            unknown.append(name)
        else:
            renamed += [f"{name} as {meant}"] if meant not in (None, name) else []
            places.setdefault(meant or name, []).append(place)
    _check(path, columns, places, unknown)
    if renamed:
        notes.append(f"{path}: columns are read under their documented names: {_list(renamed)}")
    if others and columns.extra != "ignore":
        notes.append(f"{path}: columns that are not read: {_list(others)}")
    return Table(
        path, {name: list(cells[where[0]]) for name, where in places.items()}, lines, tuple(others), tuple(notes)
    )


def _check(path: Path, columns: Columns, places: Mapping[str, Sequence[int]], unknown: Sequence[str]) -> None:
    """Raises where the names of the columns are not what a table needs; one message for each kind of fault."""

    def is_there(name: str) -> bool:
        return any(one.startswith(name[:-1]) for one in places) if name.endswith("*") else name in places

    missing = [" or ".join(one) for one in columns.needed if not any(map(is_there, one))]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}: needed are {', '.join(map(' or '.join, columns.needed))}; the "
            f"header has {_list(list(places)) if places else 'none that we know'}"
            + (f", and unknown {_list(_quoted(unknown))}: rename what holds the needed ones" if unknown else "")
        )
    if unknown:
        raise InputError(
            f"{path}: unknown column{'s' * (len(unknown) > 1)} {_list(_quoted(unknown))}: leave them out, let their "
            f"names begin with {OTHER!r}, or choose from: "
            + ", ".join(name.replace("*", unknown[0].rpartition(":")[2][:40] or "NAME") for name in columns.names)
        )
    twice = sorted(name for name, where in places.items() if len(where) > 1)
    if twice:
        raise InputError(f"{path}: the header repeats {', '.join(twice)}: keep one column of each name")


def has_column(path: Path, name: str) -> bool:
    """Whether the first row of a table names a column, in any case; False where it cannot be read."""
    try:
        if path.suffix.lower() == ".xlsx":
            return name in map(str.casefold, _read_sheet(path)[0])
        _, text, _ = _separator(path, read_text(path))
    except InputError:
        return False
    return any(name in map(str.casefold, _first_row(text, delimiter)) for delimiter in _DELIMITERS)


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as text: NaN and None are empty cells, other floats round-trip, and no text is taken for a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([escape(cell) if isinstance(cell, str) else None if cell != cell else cell for cell in row])
    return buffer.getvalue()


def write_table(
    path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, private: bool = False
) -> None:
    """`files.write_atomically` for a table; see `table_text`."""
    write_atomically(path, table_text(columns, rows), private=private)


def number(
    where: str, name: str, text: str, least: float = -math.inf, most: float = math.inf, *, empty: Any = ...
) -> Any:
    """The number in a cell.

    Args:
      where, name: file and line, and the column, for the message.
      text: of the cell.
      least, most: the number must not be smaller or larger.
      empty: what an empty cell means; where it is not given, one is an error.

    Raises:
      InputError: it is no finite number (`1_2` is none), too small or too large.
    """
    if not text and empty is not ...:
        return empty
    value = number_or_none(text)
    if value is None or not least <= value <= most:
        rule = f"number{_between(least, most)}" if least > -math.inf else "finite number"
        remedy = "write its decimals behind a point" if "," in text else _remedy(empty)
        raise InputError(f"{where}: {name} is no {rule}: {remedy}")
    return value


def number_or_none(text: str) -> float | None:
    """The finite number in a cell; None where it holds none (`1_2` is none)."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if abs(value) < math.inf else None


def whole_or_none(text: str) -> int | None:
    """The whole number of 0 or more, below 2^31, in a cell, be it written as `1.0`; None where it holds none."""
    value = number_or_none(text)
    return int(value) if value is not None and 0 <= value < 2**31 and value.is_integer() else None


def whole(where: str, name: str, text: str, most: float = math.inf, *, empty: Any = ...) -> Any:
    """The whole number of 0 or more in a cell, be it written as `1.0`; see `number`.

    Raises:
      InputError: it is no such number.
    """
    if not text and empty is not ...:
        return empty
    value = whole_or_none(text)
    if value is None or value > most:
        raise InputError(f"{where}: {name} is no whole number{_between(0, most)}: {_remedy(empty)}")
    return value


def _between(least: float, most: float) -> str:
    return f" from {least:g} to {most:g}" if most < math.inf else f" of {least:g} or more"


def _remedy(empty: Any) -> str:
    return "mend the cell" if empty is ... else "mend the cell, or leave it empty"


def repeats_ids(cells: Sequence[str]) -> bool:
    """Whether a column looks as if it named persons, families or the like, each in a few rows, rather than categories.

    True of five values or more that have no more than three rows each on average, where not every row has its own.
    Empty cells do not count.
    """
    filled = [cell for cell in cells if cell]
    different = len(set(filled))
    return 5 <= different < len(filled) <= 3 * different


def _separator(path: Path, text: str) -> tuple[str, str, int]:
    """The delimiter that a first line `sep=` names ("" without one), the text below it, and the lines above that."""
    first, _, rest = text.partition("\n")
    match = _SEPARATOR.fullmatch(first)
    if not match:
        return "", text, 0
    if match[1] not in _DELIMITERS:
        raise InputError(
            f"{path}: its line sep= names no delimiter that is read: use {', '.join(_DELIMITERS.values())}"
        )
    return match[1], rest, 1


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]
    except csv.Error:
        return []


def _read_rows(path: Path, text: str, delimiter: str, skipped: int) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, lines and rows without those that are empty; cells without blanks around them."""
    lines, rows = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next((row for row in reader if any(map(str.strip, row))), [])]
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) < len(header) or any(cells[len(header) :]):
                raise InputError(
                    f"{path}: line {reader.line_num + skipped} has {len(cells)} cells, the header {len(header)}: "
                    f"quote cells that contain {_DELIMITERS[delimiter]}"
                )
            lines.append(reader.line_num + skipped)
            rows.append(cells[: len(header)])
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num + skipped}: not CSV ({error}): save it as comma-separated text"
        ) from None
    return header, lines, rows


def _read_objects(path: Path, text: str, nested: Sequence[str]) -> tuple[list[str], list[int], list[list[str]]]:
    """As `_read_rows`, of an object a line; null, and a key that is not there, is an empty cell."""
    objects: list[tuple[int, dict[str, str]]] = []
    # Split at newlines alone: JSON strings may hold further separators that `splitlines` knows.
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        where = f"{path}: line {line}"
        row = parse_json(where, content)
        if not isinstance(row, dict):
            raise InputError(f"{where}: must be a JSON object")
        cells = {name.strip(): _cell(where, name, value, name.strip() in nested) for name, value in row.items()}
        objects.append((line, cells))
    header = list(dict.fromkeys(name for _, row in objects for name in row))
    objects = [(line, row) for line, row in objects if any(row.values())]
    return header, [line for line, _ in objects], [[row.get(name, "") for name in header] for _, row in objects]


def _read_sheet(path: Path) -> tuple[list[str], list[int], list[list[str]], list[str]]:
    """As `_read_rows`, of the first sheet of a workbook, with notes; of formulas the values that were saved."""
    import openpyxl  # takes as long as numpy

    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and the like, which are not read
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            rows = [["" if v is None else str(v).strip() for v in row] for row in book.worksheets[0].values]
            sheets = len(book.worksheets)
            book.close()
    # Whatever zip, XML and openpyxl raise of a file that is damaged, encrypted or none.
    except (zipfile.BadZipFile, SyntaxError, LookupError, ValueError, TypeError, AttributeError, OSError) as error:
        raise InputError(
            f"{path}: no workbook that can be read ({type(error).__name__}): save it as .xlsx without a password, or "
            "as CSV"
        ) from None
    kept = [(line, row) for line, row in enumerate(rows, 1) if any(row)]
    header = kept[0][1] if kept else []
    width = max((len(row) for _, row in kept), default=0)
    padded = [row + [""] * (width - len(row)) for _, row in kept[1:]]
    note = f"{path}: the first of its {sheets} sheets is read"
    header = header + [""] * (width - len(header))
    return header, [line for line, _ in kept[1:]], padded, [note] * (sheets > 1)


def _cell(where: str, name: str, value: Any, nested: bool) -> str:
    if value is None:
        return ""
    if nested and isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: {name[:40]!r} must be a string, a number or null")
    return str(value).strip()


def _quoted(names: Sequence[str]) -> list[str]:
    return [repr(name[:40]) for name in names]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

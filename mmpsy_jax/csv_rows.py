"""Rows of a CSV file, or precisely what is wrong with it; and cells that a spreadsheet does not run."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from mmpsy_jax.errors import InputError

# A spreadsheet runs a cell that begins with one of the first six as a formula; the quote itself is escaped too, so that
# reading undoes exactly what writing did.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def escape(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unescape(text: str) -> str:
    """What `escape` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def read_table(path: Path, required: Sequence[str] = ()) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and line number and cells by column, without blanks around them, of each row.

    Args:
      path: the file.
      required: columns that must be there.

    Raises:
      InputError: as `read_rows`, or a column is missing.
    """
    header, lines, rows = read_rows(path)
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}: needed are {', '.join(required)}")
    named = (dict(zip(header, map(str.strip, row), strict=True)) for row in rows)
    return header, list(zip(lines, named, strict=True))


def whole(path: Path, line: int, name: str, text: str) -> int:
    """The number in a cell.

    Raises:
      InputError: it is no whole number of 0 or more.
    """
    if not text.isdecimal():
        raise InputError(f"{path}: line {line}: {name} is no whole number of 0 or more: mend the cell")
    return int(text)


def read_rows(path: Path, columns: Collection[str] | None = None) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line number of each row, and the rows.

    Args:
      path: the file.
      columns: names that may occur once only; None for every name.

    Raises:
      InputError: unreadable, not UTF-8, not CSV, rows of another length than the header, a name that is repeated.
    """
    lines, rows = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path}: line {reader.line_num} has {len(row)} cells, the header {len(header)}: "
                        "quote cells that contain commas"
                    )
                lines.append(reader.line_num)
                rows.append(row)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: give a readable CSV file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num}: not CSV ({error}): save it as comma-separated text"
        ) from error
    twice = sorted({name for name in header if header.count(name) > 1 and (columns is None or name in columns)})
    if twice:
        raise InputError(f"{path}: the header repeats {', '.join(twice)}: keep one column of each name")
    return header, lines, rows

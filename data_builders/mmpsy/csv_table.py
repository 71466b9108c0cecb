"""Tables that people hand in as CSV: one place for what can be wrong with them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from mmpsy_jax.errors import InputError


def read(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and (line, cells by column) of every row, without white space around cells.

    Args:
      path: of the file.
      required: columns that must be there.

    Raises:
      InputError: no CSV file, a column that is missing or there twice, a row longer than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restval="", restkey="")
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV file in UTF-8 ({type(error).__name__}): save it as one") from error
    if len(set(header)) < len(header) or any("" in row for _, row in rows):
        raise InputError(f"{path}: a column is there twice, or a row is longer than the header: mend the table")
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}: needed are {', '.join(required)}")
    return header, [(line, {name: cell.strip() for name, cell in row.items()}) for line, row in rows]


def whole(path: Path, line: int, name: str, text: str) -> int:
    """The number in a cell.

    Raises:
      InputError: it is no whole number of 0 or more.
    """
    if not text.isdecimal():
        raise InputError(f"{path}: line {line}: {name} is no whole number of 0 or more: mend the cell")
    return int(text)

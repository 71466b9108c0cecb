"""Reading and writing for every room: errors, files as a whole, tables and their cells."""

from mmpsy_jax.io.errors import InputError, one_of, report_fault
from mmpsy_jax.io.files import (
    file_sha256,
    flatten,
    open_npz,
    parse_json,
    public,
    read_json,
    read_rows,
    read_text,
    require_file,
    try_file,
    try_folder,
    with_kinds,
    with_places,
    write_atomically,
    write_json,
    write_npz,
    write_places,
)
from mmpsy_jax.io.tables import (
    OTHER,
    Table,
    escape,
    has_column,
    number,
    read_table,
    repeats_ids,
    table_text,
    unescape,
    whole,
    whole_or_none,
    write_table,
)
<<<<<<< HEAD

__all__ = [
    "OTHER",
    "InputError",
    "Table",
    "escape",
    "file_sha256",
    "flatten",
    "has_column",
    "number",
    "one_of",
    "parse_json",
    "public",
    "read_rows",
    "read_table",
    "read_text",
    "repeats_ids",
    "report_fault",
    "require_file",
    "try_file",
    "try_folder",
    "unescape",
    "whole",
    "whole_or_none",
    "with_kinds",
    "with_places",
    "write_atomically",
    "write_json",
    "write_places",
]
=======
>>>>>>> main

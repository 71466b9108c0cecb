"""Reading and writing for every room: errors, files as a whole, tables and their cells."""

from mmpsy_jax.io.errors import InputError, nearest, one_of, report_fault
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
    unit_of,
    upgrade_card,
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
    number_or_none,
    read_table,
    repeats_ids,
    table_text,
    unescape,
    whole,
    whole_or_none,
    write_table,
)

"""Tables as spreadsheets, pandas and R leave them are read; what is no such table is refused without its cells."""

import math
import os

import openpyxl
import pytest

from mmpsy_jax.io import InputError, has_column, number, read_table, unescape, whole, write_table

WANTED = [(2, {"participant": "p1", "text": "a, b; c", "label:phq9": "3.0"})]


def write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **options):
    return read_table(path, ("participant", ("text", "recording")), ("split", "label:*"), **options)


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        ('participant,text,label:phq9\np1,"a, b; c",3.0\n', []),
        ('\ufeffparticipant,text,label:phq9\r\np1,"a, b; c",3.0\r\n', []),
        ('participant,text,label:phq9\rp1,"a, b; c",3.0\r', []),
        ('participant;text;label:phq9\np1;"a, b; c";3.0\n', ["semicolons"]),
        ("participant\ttext\tlabel:phq9\np1\ta, b; c\t3.0\n", ["tabs"]),
        ('Participant , TEXT,Label:PHQ9\np1," a, b; c ",3.0', ["Participant as participant, TEXT as text"]),
        ('participant,text,label:phq9,,\np1,"a, b; c",3.0,,\n', []),
        ('participant,text,label:phq9\np1,"a, b; c",3.0,,\n , ,\n,,,,\n\n', []),
    ],
)
def test_tables_as_people_have_them(tmp_path, content, notes):
    table = read(write(tmp_path, content))
    assert table.rows == WANTED and len(table.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, table.notes, strict=True))


def test_a_line_that_names_the_delimiter(tmp_path):
    rows = [(line + 1, row) for line, row in WANTED]
    for first, delimiter in (("sep=,", ","), ("sep=;", ";"), ("SEP=\t", "\t"), ('"sep=;"', ";"), ("sep=;;;", ";")):
        text = f'{first}\r\nparticipant,text,label:phq9\r\np1,"a, b; c",3.0\r\n'.split("\r\n")
        body = "\r\n".join([first, text[1].replace(",", delimiter), delimiter.join(("p1", '"a, b; c"', "3.0"))])
        assert read(write(tmp_path, body)).rows == rows
    with pytest.raises(InputError, match="line sep= names no delimiter that is read: use commas, semicolons, tabs"):
        read(write(tmp_path, "sep=|\nparticipant|text\n"))


def test_whether_a_column_is_there_is_known_without_reading_the_rest(tmp_path):
    path = write(tmp_path, 'sep=;\nText;"PARTICIPANT"\nx;y;z\n')
    assert has_column(path, "participant") and not has_column(path, "y")
    assert not has_column(tmp_path, "participant") and not has_column(tmp_path / "absent.csv", "participant")


def test_tabs_are_no_surprise_in_a_tsv(tmp_path):
    table = read(write(tmp_path, "participant\ttext\np\tx\n", "t.tsv"))
    assert table.rows == [(2, {"participant": "p", "text": "x"})] and not table.notes


def test_cells_of_any_length(tmp_path):
    table = read(write(tmp_path, f"participant,text\np,{'x' * 300_000}\n"))
    assert len(table.columns["text"][0]) == 300_000


def test_unknown_columns_are_named_all_at_once_and_may_be_ignored(tmp_path):
    path = write(tmp_path, "participant,text,age,other:town,Site\np,x,61,secret,1\n")
    with pytest.raises(InputError, match=r"unknown columns 'age', 'Site': leave them out, .* 'other:', or choose from"):
        read(path)
    table = read(path, ignore=("AGE", "site"))
    assert table.header == ["participant", "text"] and table.others == ("age", "other:town", "Site")
    assert table.notes == (f"{path}: columns that are not read: age, other:town, Site",)
    assert read(path, extra="ignore").others == table.others and not read(path, extra="ignore").notes
    assert read(path, extra="keep").header == ["participant", "text", "age", "Site"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "participant,label:phq9\nsecret,1\n",
            "no column text or recording: needed are participant, text or recording",
        ),
        (
            "secret,secret words\nsecret,x\n",
            "no column participant, text or recording: .*header has none that we",
        ),
        ("participant,text,Text\nsecret,x,y\n", "the header repeats text: keep one"),
        ("participant,text,\nsecret,x,y\n", "unknown column ''"),
        ("participant,text\nsecret\n", "line 2 has 1 cells, the header 2: quote cells that contain commas"),
        ("participant;text\nsecret;x;y\n", "line 2 has 3 cells, the header 2: quote cells that contain semicolons"),
        ('participant,text\nsecret,"x\n', "line 2: not CSV"),
        ("participant,text\nsecret,x\n".encode("utf-16"), "UTF-16, or no text: save it as UTF-8"),
        ("participant,text\nsecret,x\n".encode("utf-16-le"), "UTF-16, or no text: save it as UTF-8"),
        ("participant,text\nsecret,é\n".encode("latin-1"), "not UTF-8 at byte 24: save it as UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused_without_its_cells(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value) and "secret" not in str(raised.value)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for name, what in (
        ("pipe.csv", "is a named pipe, and only regular files are read"),
        (".", "is a folder"),
        ("absent.csv", "No such file"),
    ):
        with pytest.raises(InputError, match=what):
            read(tmp_path / name)


def test_numbers_in_cells():
    assert [whole("t.csv: line 2", "day", text) for text in ("3", "3.0", "03", "3.", "1e2")] == [3, 3, 3, 3, 100]
    assert [number("t.csv: line 2", "x", text) for text in ("-.5", "+1e-3", "7")] == [-0.5, 1e-3, 7.0]
    for text in ("1_2", "1.5", "-1", "", "nan", "inf", "1e400", "٣", "3000000000", "1 2"):
        with pytest.raises(InputError, match="line 2: day is no whole number of 0 or more: mend the cell"):
            whole("t.csv: line 2", "day", text)
    for text in ("1_2", "", "nan", "-inf", "1e400", "0x1"):
        with pytest.raises(InputError, match="line 2: x is no finite number: mend the cell"):
            number("t.csv: line 2", "x", text)
    with pytest.raises(InputError, match="write its decimals behind a point"):
        number("t.csv: line 2", "x", "0,5")
    with pytest.raises(InputError, match="start is no number of 0 or more"):
        number("t.csv: line 2", "start", "-1", least=0)
    with pytest.raises(InputError, match="x is no number from -1 to 1: mend the cell, or leave it empty"):
        number("t.csv: line 2", "x", "1.5", -1, 1, empty=None)
    with pytest.raises(InputError, match="flag is no whole number from 0 to 1: mend the cell"):
        whole("t.csv: line 2", "flag", "2", 1)
    assert number("t.csv: line 2", "x", "", empty=None) is None and whole("t.csv: line 2", "x", "", empty=-1) == -1


def test_a_table_that_is_written_is_read_as_it_was(tmp_path):
    cells = ["=1+1", "a, b; c", "-3", "'q", 0.1 + 0.2, 7, math.nan, None]
    write_table(tmp_path / "t.csv", list("abcdefgh"), [cells], private=True)
    ((_, row),) = read_table(tmp_path / "t.csv", extra="keep").rows
    assert [unescape(cell) for cell in row.values()] == [*cells[:4], repr(0.1 + 0.2), "7", "", ""]
    assert row["a"] == "'=1+1" and (tmp_path / "t.csv").stat().st_mode & 0o777 == 0o600


def write_sheets(path, *sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_the_first_sheet_of_a_workbook_is_read_as_text(tmp_path):
    first = [
        [None],
        [],
        ["Participant", "text", None, "label:phq9"],
        ["p1", " a, b; c", None, 3.0],
        [None, ""],
        [7, "x"],
    ]
    table = read(write_sheets(tmp_path / "t.xlsx", first, [["else"]]))
    assert has_column(tmp_path / "t.xlsx", "participant") and not has_column(tmp_path / "t.xlsx", "else")
    assert [row for _, row in table.rows] == [
        {"participant": "p1", "text": "a, b; c", "label:phq9": "3"},
        {"participant": "7", "text": "x", "label:phq9": ""},
    ]
    assert table.lines == [4, 6] and any("first of its 2 sheets" in note for note in table.notes)
    with pytest.raises(InputError, match="no column participant"):
        read(write_sheets(tmp_path / "other.xlsx", [["a"], [1]]))
    with pytest.raises(InputError, match="no column participant"):
        read(write_sheets(tmp_path / "empty.xlsx", []))


def test_what_is_no_workbook_is_refused(tmp_path):
    for content in (b"participant,text\n", b"PK\x03\x04", b""):
        with pytest.raises(InputError, match=r"no workbook that can be read .*save it as \.xlsx"):
            read(write(tmp_path, content, "t.xlsx"))
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.xlsx")

"""The one reader of transcript files of any kind: what a file holds, line by line."""

from pathlib import Path

from mmpsy_jax.features import script_formats, subtitles
from mmpsy_jax.features.script_lines import Line, Script, join
from mmpsy_jax.io import InputError, number, parse_json, read_table, read_text, whole

TEXTS, TABLES = (".txt", ".srt", ".vtt"), (".csv", ".tsv")
FORMATS = {
    ".json": script_formats.read_json,
    ".textgrid": script_formats.read_textgrid,
    ".eaf": script_formats.read_eaf,
    ".cha": script_formats.read_chat,
}
SUFFIXES = (*TEXTS, *TABLES, *FORMATS)
LAST_QUESTION = 99_999
# Columns of DAIC-WOZ and E-DAIC.
_ALIASES = {"start_time": "start", "stop_time": "end", "end_time": "end", "value": "text"}
_FORMATS = ("\t", "start_time\tstop_time\tspeaker\tvalue"), (",", "Start_Time,End_Time,Text,Confidence")


def read(path: Path) -> Script:
    """Reads a transcript file.

    Raises:
      InputError: not there, of another kind, or not as `transcript.py` says; never quotes the text.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: transcripts are {', '.join(SUFFIXES)} files, or folders of them: convert it")
    if suffix in FORMATS:
        return FORMATS[suffix](path)
    if suffix in TABLES:
        return _read_table(path)
    text = read_text(path)
    if suffix == ".txt" and script_formats.has_ranges(text):
        return script_formats.read_ranges(path, text)
    if suffix == ".txt" and not subtitles.is_subtitles(text):
        return Script(path, tuple(map(Line, answers_of(text))), is_file=True)
    cues = subtitles.parse(path, text)
    return Script(path, tuple(Line(join(cue.lines), cue.start, cue.end, cue.speaker) for cue in cues), is_file=True)


def answers_of(text: str) -> tuple[str, ...]:
    """An answer for every line of a text that is not blank."""
    return tuple(line for line in text.splitlines() if line.strip())


def _read_table(path: Path) -> Script:
    known = ("question", "start", "end", "speaker", "score", "confidence")
    table = read_table(path, (("text", "word"),), known, aliases=_ALIASES, formats=_FORMATS)
    header = table.header
    if ("start" in header) != ("end" in header):
        raise InputError(f"{path}: the header must name start with end, or neither: correct it")
    unit, lines = "word" if "word" in header else "text", []
    for line, row in table.rows:
        where = f"{path}: line {line}"
        start, end = (number(where, name, row.get(name, ""), 0, empty=None) for name in ("start", "end"))
        if start is not None and end is not None and end < start:
            raise InputError(f"{where}: end is before start: mend the cells")
        question = whole(where, "question", row.get("question", ""), LAST_QUESTION, empty=None)
        lines.append(Line(row[unit], start, end, row.get("speaker", ""), question))
    notes = tuple(note.removeprefix(f"{path}: ") for note in table.notes)
    return Script(path, tuple(lines), unit == "word", is_file=True, notes=notes)


def is_json_transcript(path: Path) -> bool:
    """Whether a JSON file is a transcript of Whisper, and no table."""
    try:
        whole_file = parse_json(str(path), read_text(path))
    except InputError:
        return False
    return isinstance(whole_file, dict) and "segments" in whole_file

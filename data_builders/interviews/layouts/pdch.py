"""PDCH: consultations of 72 Chinese patients with their psychiatrist, some on two occasions, HAMD-17.

    wav_data/001A/0.wav, 1.wav                          25 minutes each but the last; 001B: the second occasion
    wav_data/001A/0_correction_timestamp_emotion.txt    lines 00:00-00:02, then 患者：... (patient), 医生：... (doctor)
    HAMD_annotation_en.xlsx                             Serial, items 1 to 17 (9: not assessed), total, often blank

Times begin anew with every recording. A record is an occasion, a person its cluster. Transcripts without times and
speakers (`0.txt`, `0_correction.txt`) hold the doctor's words undivided; a recording that has no other is not read.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.features.table import natural_key, refuse_duplicates, require_id
from mmpsy_jax.io import InputError, number, read_table

NEEDS = "the folder of PDCH, which holds wav_data/001A/ ... and HAMD_annotation_en.xlsx"
TABLE = "HAMD_annotation_en.xlsx"
PATIENT = "患者"
MOST = 52.0
# Highest score of each item of the HAMD-17 (Hamilton 1960).
ITEMS = dict(
    zip((f"hamd17_{n}" for n in range(1, 18)), (4, 4, 4, 2, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 4, 2, 2), strict=True)
)
NOT_ASSESSED = 9
_SESSION = re.compile(r"(\d{1,4})([A-Z])", re.IGNORECASE)
_RECORDING = re.compile(r"(\d+)\.wav", re.IGNORECASE)
_TIMED = "_correction_timestamp_emotion.txt"


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The occasions of the folder.

    Raises:
      InputError: no table of scores, or another one; an occasion in two folders; a bad id or score.
    """
    files = _files.tree(folder)
    sessions = _sessions(files)
    scores, notes = _scores(folder, files) if scored else ({}, [])
    entries, notes_of, lacking = [], [], {}
    for one in sorted({*sessions, *scores}, key=natural_key):
        match = _SESSION.fullmatch(one)
        parts, odd, reason = _parts(sessions.get(one, []))
        if scored and not match:
            reason = "its folder is not called like 001A: rename it, or move it elsewhere"
        if scored and one not in scores:
            odd.append(f"is not in {TABLE}: has no score")
        lacking |= {one: reason} if reason else {}
        notes_of += [(one, note) for note in odd]
        labels = scores.get(one, dict.fromkeys(["hamd17", *ITEMS])) if scored else {}
        occasion = {"occasion": match[2] if match else ""}
        cluster = match[1] if match else one
        entries.append(Entry(one, speaker=PATIENT, labels=labels, subgroups=occasion, cluster=cluster, parts=parts))
    blank = sum(entry.labels["hamd17"] is None for entry in entries if scored)
    notes += [f"occasions without a total of the HAMD-17: {blank}"] * bool(blank)
    return Manifest(
        folder,
        ("hamd17", *ITEMS),
        ("occasion",),
        tuple(entries),
        clustered=True,
        notes=tuple(notes),
        ranges={"hamd17": (0.0, MOST), **{item: (0.0, float(most)) for item, most in ITEMS.items()}},
        notes_of=tuple(notes_of),
        lacking=lacking,
    )


def _sessions(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Recordings by occasion, in their order."""
    sessions: dict[str, list[Path]] = {}
    for file in files:
        if _RECORDING.fullmatch(file.name):
            place = file.absolute().parent
            one = _pad(place.name)
            require_id(str(place), "the name of the folder", one)
            of_one = sessions.setdefault(one, [])
            if of_one and of_one[0].absolute().parent != place:
                raise InputError(f"{place}: the same occasion lies at {of_one[0].parent}: keep one of the two")
            of_one.append(file)
    return sessions


def _parts(recordings: Sequence[Path]) -> tuple[tuple[Part, ...], list[str], str]:
    """The recordings with their transcripts, what is odd, and what is missing."""
    there = {file: file.with_name(f"{file.stem}{_TIMED}") for file in recordings}
    bare = [file.name for file, timed in there.items() if not timed.is_file()]
    parts = tuple(Part(file, timed) for file, timed in there.items() if timed.is_file())
    if not parts:
        return (), [], f"none of its recordings has a N{_TIMED}" if recordings else "its folder is missing"
    return parts, [f"is not read, for lack of a transcript with times and speakers: {', '.join(bare)}"] * bool(bare), ""


def _pad(text: str) -> str:
    match = _SESSION.fullmatch(text.strip())
    return f"{int(match[1]):03d}{match[2].upper()}" if match else text.strip()


def _scores(folder: Path, files: Sequence[Path]) -> tuple[dict[str, dict[str, float | None]], list[str]]:
    """Total and items of every occasion in the table, and notes."""
    path = _files.named(files, TABLE) or _files.named(files, Path(TABLE).with_suffix(".csv").name)
    if path is None:
        raise _files.no_scores(folder, files, (TABLE,))
    table = read_table(path, ("Serial", "total"), aliases={"id": "Serial", "session": "Serial"}, extra="keep")
    scores, places = {}, []
    for line, row in table.rows:
        where, one = f"{path}: line {line}", _pad(row["Serial"])
        require_id(where, "Serial", one)
        places.append((f"line {line}", one))
        scores[one] = {"hamd17": _files.score(where, "total", row["total"], MOST)}
        for n, (item, most) in enumerate(ITEMS.items(), 1):
            cell = next((row[name] for name in (str(n), f"{n}.0", f"item{n}") if name in row), "")
            absent = not cell or number(where, f"item {n}", cell) == NOT_ASSESSED
            scores[one][item] = None if absent else _files.score(where, f"item {n}", cell, most)
    refuse_duplicates(path, places)
    return scores, list(table.notes)


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones of two heights; two recordings in most folders, two occasions of every third person, blank totals."""
    draw = np.random.default_rng(seed)
    rows = [["Serial", *range(1, 18), "total"]]
    for i, score in enumerate(_synthetic.scores(draw, participants, 30, 17)):
        patient, doctor = draw.uniform(110, 220) * (1.2 - score / 60), 300.0
        for occasion in "AB" if i % 3 == 0 else "A":
            place = folder / "wav_data" / f"{i + 1:03d}{occasion}"
            for n in range(2 if i % 4 else 1):
                lengths = draw.integers(1, 3, 8).tolist()
                turns = list(zip([doctor, patient] * 4, map(float, lengths), strict=True))
                _synthetic.write_voice(place / f"{n}.wav", draw, turns)
                _write_transcript(place / f"{n}{_TIMED}", draw, lengths, score / MOST)
                (place / f"{n}.txt").write_text(_synthetic.words(draw, 0, 20, _synthetic.LOW_ZH), encoding="utf-8")
            items = [min(most, round(score * most / MOST)) for most in ITEMS.values()]
            items[13] = NOT_ASSESSED if i == 2 else items[13]
            rows.append([place.name, *items, None if i == 1 or occasion == "B" else score])
    _synthetic.write_sheet(folder / TABLE, rows)


def _write_transcript(file: Path, draw: np.random.Generator, lengths: Sequence[int], share: float) -> None:
    lines, at = [], 0
    for k, length in enumerate(lengths):
        who, low = (PATIENT, share) if k % 2 else ("医生", 0.0)
        words = _synthetic.words(draw, low, 3 * length, _synthetic.LOW_ZH)
        lines += [f"{at // 60:02d}:{at % 60:02d}-{(at + length) // 60:02d}:{(at + length) % 60:02d}", f"{who}：{words}"]
        at += length
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")

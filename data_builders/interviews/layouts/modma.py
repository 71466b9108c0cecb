"""MODMA audio (Lanzhou 2015): 29 Chinese recordings each of 52 people, PHQ-9, GAD-7 and diagnosis.

    audio_lanzhou_2015/02010001/01.wav ... 29.wav          interview, reading and pictures; no transcripts
    subjects_information_audio_lanzhou_2015.xlsx           `subject id` without its leading zero, `type` MDD or HC

A copy of 16 kHz (a folder with `16khz` in its name) is read where the original is not there. Ids begin with 0201 for
patients, 0202 or 0203 for controls.
"""

import re
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.features.table import refuse_duplicates, require_id
from mmpsy_jax.io import InputError, one_of, read_table

NEEDS = "the folder of MODMA's audio, which holds 02010001/ ... and the .xlsx table of subjects"
TABLE = "subjects_information_audio_lanzhou_2015.xlsx"
REQUIRED = ("subject id", "type", "PHQ-9", "GAD-7")
MOST = {"PHQ-9": ("phq9", 27.0), "GAD-7": ("gad7", 21.0)}
CLIPS = 29
TYPES = {"MDD": "mdd", "HC": "control", "NC": "control"}  # NC by some descriptions of the corpus
CLASSES = ("control", "mdd")
_AGES = (25, 35, 45)
_CLIP = re.compile(r"\d{1,2}\.wav", re.IGNORECASE)


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The people of the folder.

    Raises:
      InputError: no table, or another one; a bad id, type or score; somebody twice.
    """
    files = _files.tree(folder)
    clips, copies = _clips(folder, files, scored)
    people, notes = _read_people(folder, files) if scored else (dict.fromkeys(clips, ({}, {}, "")), [])
    if scored and (unlisted := sorted(clips.keys() - people.keys())):
        notes.append(f"folders of people whom {TABLE} does not list, and who are left out: {_files.list_ids(unlisted)}")
    lacking = _files.require_files(people, {"recording": clips}, files)
    entries, notes_of = [], []
    for one, (labels, subgroups, odd) in people.items():
        parts = tuple(Part(clip, _words_of(clip)) for clip in clips.get(one, ()))
        notes_of += [(one, odd)] if odd else []
        notes_of += [(one, f"{len(parts)} of {CLIPS} recordings are here")] if 0 < len(parts) != CLIPS else []
        subgroups = subgroups or {"sex": "", "age": ""}
        entries.append(Entry(one, labels=labels, subgroups=subgroups, cluster=one, parts=parts))
    return Manifest(
        folder,
        ("phq9", "gad7", "diagnosis"),
        ("sex", "age"),
        tuple(entries),
        notes=(*notes, *copies),
        ranges={label: (0.0, most) for label, most in MOST.values()},
        classes={"diagnosis": CLASSES},
        notes_of=tuple(notes_of),
        lacking=lacking,
    )


def _clips(folder: Path, files: list[Path], scored: bool) -> tuple[dict[str, list[Path]], list[str]]:
    """Recordings by id, in their order, and a note on copies."""
    places: dict[str, dict[Path, list[Path]]] = {}
    for file in files:
        one = _pad(file.absolute().parent.name)
        if _CLIP.fullmatch(file.name) and (one.isdecimal() or not scored):
            places.setdefault(one, {}).setdefault(file.parent, []).append(file)
    chosen, copied = {}, 0
    for one, of_one in places.items():
        originals = [place for place in of_one if "khz" not in str(place.relative_to(folder)).casefold()]
        copied += not originals
        if len(originals or of_one) > 1:
            first, second, *_ = originals or of_one
            raise InputError(f"{second}: the same person lies at {first}: keep one of the two")
        chosen[one] = of_one[(originals or list(of_one))[0]]
    return chosen, [f"people of whom only the 16 kHz copy is here, which is read: {copied}"] * bool(copied)


def _words_of(clip: Path) -> Path | None:
    """A transcript that somebody made of a recording and put beside it."""
    return next((file for file in (clip.with_suffix(end) for end in (".txt", ".csv", ".srt")) if file.is_file()), None)


def _pad(text: str) -> str:
    """An id of eight digits, of which tables of numbers have lost the leading zero."""
    one = _files.identify(text)
    return one.zfill(8) if one.isdecimal() else one


def _read_people(folder: Path, files: list[Path]) -> tuple[dict[str, tuple[dict, dict, str]], list[str]]:
    """Labels, subgroups and what is odd of everybody in the table, and notes."""
    path = _files.named(files, TABLE)
    if path is None:
        raise _files.no_scores(folder, files, (TABLE,))
    table = read_table(path, REQUIRED, ("age", "gender"), extra="keep")
    people, places = {}, []
    for line, row in table.rows:
        where, one, kind = f"{path}: line {line}", _pad(row["subject id"]), row["type"].upper()
        require_id(where, "subject id", one)
        places.append((f"line {line}", one))
        if kind not in TYPES:
            raise one_of(f"type in line {line} of {path}", kind, TYPES)
        labels = {label: _files.score(where, name, row[name], most) for name, (label, most) in MOST.items()}
        labels["diagnosis"] = float(CLASSES.index(TYPES[kind]))
        subgroups = {"sex": _files.sex(row.get("gender", "")), "age": _files.band(row.get("age", ""), _AGES)}
        odd = "its type contradicts its id: the type is used" if (one[:4] == "0201") != (kind == "MDD") else ""
        people[one] = labels, subgroups, odd
    refuse_duplicates(path, places)
    return people, list(table.notes)


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones of a second; ids that lost their zero in the table, an empty row in it, one clip too few."""
    draw = np.random.default_rng(seed)
    header = [
        "subject id",
        "type",
        "age",
        "gender",
        "education（years）",
        "PHQ-9",
        "CTQ-SF",
        "LES",
        "SSRS",
        "GAD-7",
        "PSQI",
    ]
    rows = [header, [None] * len(header)]
    for i, score in enumerate(_synthetic.scores(draw, participants, 27, 10)):
        ill = score >= 10
        one = f"{2010001 if ill else (2020001, 2030001)[i // 2 % 2]}"[:4] + f"{i + 1:03d}"
        anxiety = int(np.clip(score * 0.7 + draw.normal(0, 2), 0, 21))
        more = [
            int(draw.integers(18, 55)),
            "FM"[i % 2],
            int(draw.integers(9, 20)),
            score,
            *draw.integers(30, 60, 3).tolist(),
        ]
        rows.append([int(one), "MDD" if ill else "HC", *more, anxiety, int(draw.integers(0, 21))])
        height = draw.uniform(110, 220) * (1.2 - score / 45)
        for clip in range(1, CLIPS + 1 - (i == 0)):
            place = folder / "audio_lanzhou_2015" / one.zfill(8)
            _synthetic.write_voice(place / f"{clip:02d}.wav", draw, [(height, 0.7), (0.0, 0.1)], rate=44_100)
    _synthetic.write_sheet(folder / TABLE, rows)

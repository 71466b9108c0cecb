"""ANDROIDS: a tale read aloud and an interview, in Italian, of people half of whom are patients with depression.

    Reading-Task/audio/{HC,PT}/01_CF56_1.wav              112 people
    Interview-Task/audio/{HC,PT}/01_CF56_1.wav            116 people, both voices
    Interview-Task/audio_clip/01_CF56_1/01_CF56_1_1.wav   the participant's turns alone
    interview_timedata.csv                                01_CF56_1, then start and end of each of these turns
    fold-lists.csv                                        five folds of readers, five of the interviewed

A name says number and condition (P or C), sex, age and education (1 to 4); number and condition are a person, who is a
cluster: its two tasks are two records. The diagnosis is a psychiatrist's. Of an interview only the turns are read, as
clips, or cut out of the whole by their times: the interviewer alone tells patients from controls (arXiv 2603.24651).
"""

import csv
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.io import InputError, number, read_text

NEEDS = "the folder of ANDROIDS, which holds Reading-Task/ and Interview-Task/, or one of the two"
CLASSES = ("control", "depression")
LABELS, GROUPS = ("depressed", "diagnosis"), ("task", "sex", "age", "education")
FOLDS, TIMES = ("fold-lists.csv", "fold-list.csv"), "interview_timedata.csv"
EDUCATION = {"1": "primary", "2": "lower secondary", "3": "upper secondary", "4": "university"}
_AGES = (25, 35, 45, 55, 65)
_NAME = re.compile(r"(\d{1,3})_([A-Z])([MF])(\d\d)_([\dX])(?:_(\d+))?", re.IGNORECASE)
_LATE = 1e6  # seconds: after the end of any recording
Turns = Sequence[tuple[float, float]]


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The people of the folder, a record for each task.

    Raises:
      InputError: a recording in two places, or turns that are no pairs of times.
    """
    files = _files.tree(folder)
    beside = [*files, *folder.absolute().parent.glob("*.csv")]  # the lists of a task lie one folder above
    turns = _turns(next((file for file in beside if file.name.lower() == TIMES), None))
    lists = next((file for file in beside if file.name.lower() in FOLDS), None) if scored else None
    folds, notes = _folds(lists) if lists else ({}, [])
    recordings, lacking = _recordings(file for file in files if file.suffix.lower() == ".wav")
    entries, notes_of = [_entry(name, {}, {}, scored) for name in lacking], []
    for (person, task), of_record in recordings.items():
        whole, clips = of_record.get(0), tuple(Part(of_record[n]) for n in sorted(of_record) if n)
        name = _NAME.fullmatch((whole or clips[0].recording).stem)
        ill = {"P": 1.0, "C": 0.0}.get(name[2].upper())
        one, fold = (
            f"{person}_{task}",
            folds.get((task, f"{name[1]}_{name[2]}{name[3]}{name[4]}_{name[5]}".upper()), ""),
        )
        group = {"pt": 1.0, "hc": 0.0}.get(whole.parent.name.lower(), ill) if whole else ill
        odd = ["its name says neither patient nor control: has no diagnosis"] * (ill is None)
        odd += ["lies in the folder of the other group: its name counts"] * (ill is not None and group != ill)
        notes_of += [(one, note) for note in odd]
        timed = turns.get(whole.stem.upper()) if whole and task == "interview" else None
        if task == "interview" and not clips and not timed:
            lacking[one] = f"neither clips in audio_clip/ nor times in {TIMES} tell its turns from the interviewer's"
        groups = {
            "task": task,
            "sex": {"M": "male", "F": "female"}[name[3].upper()],
            "age": _files.band(name[4], _AGES),
            "education": EDUCATION.get(name[5], ""),
        }
        entry = _entry(one, dict.fromkeys(LABELS, ill), groups, scored)
        parts = clips or (Part(whole, omit=_between(timed or ())),)
        entries.append(dataclasses.replace(entry, cluster=person, fold=fold, parts=parts))
    entries, more = _files.keep_folds(entries, lacking)
    return Manifest(
        folder,
        LABELS,
        GROUPS,
        tuple(entries),
        clustered=True,
        notes=(*notes, *more),
        ranges={"depressed": (0.0, 1.0)},
        classes={"diagnosis": CLASSES},
        notes_of=tuple(notes_of),
        lacking=lacking,
    )


def _entry(one: str, labels: Mapping[str, float | None], groups: Mapping[str, str], scored: bool) -> Entry:
    labels = {name: labels.get(name) for name in LABELS} if scored else {}
    return Entry(one, labels=labels, subgroups={name: groups.get(name, "") for name in GROUPS}, cluster=one)


def _recordings(files: Iterable[Path]) -> tuple[dict[tuple[str, str], dict[int, Path]], dict[str, str]]:
    """Recordings by person and task, the whole as 0 and clips by their numbers; and whose names say nobody."""
    by_record: dict[tuple[str, str], dict[int, Path]] = {}
    unknown = {}
    for file in files:
        folders = {place.name.lower() for place in file.absolute().parents}
        name = _NAME.fullmatch(file.stem)
        if not name:
            unknown[file.name] = "its name is not like 01_CF56_1.wav: rename it, or move it elsewhere"
            continue
        task = "reading" if "reading-task" in folders else "interview"
        of_record = by_record.setdefault((f"{int(name[1]):02d}_{name[2].upper()}", task), {})
        if of_record.setdefault(int(name[6] or 0), file) != file:
            raise InputError(f"{file}: lies at {of_record[int(name[6] or 0)]}, too: keep one of the two")
    return by_record, unknown


def _turns(path: Path | None) -> dict[str, Turns]:
    """Start and end in seconds of every turn, by name of the recording."""
    turns = {}
    for line, row in enumerate(csv.reader(read_text(path).splitlines()) if path else (), 1):
        times = [number(f"{path}: line {line}", "a time", cell.strip(), 0) for cell in row[1:] if cell.strip()]
        if len(times) % 2:
            raise InputError(f"{path}: line {line} has {len(times)} times: a turn has a start and an end")
        if row:
            turns[row[0].strip().upper()] = sorted(zip(times[::2], times[1::2], strict=True))
    return turns


def _between(turns: Turns) -> Turns:
    """What lies outside of turns; nothing where none is known."""
    omit, at = [], 0.0
    for start, end in turns:
        omit += [(at, start)] * (start > at)
        at = max(at, end)
    return (*omit, (at, _LATE)) if turns else ()


def _folds(path: Path) -> tuple[dict[tuple[str, str], str], list[str]]:
    """The fold of everybody by task and name, from a block of columns per task, and notes."""
    first, second, *rows = [*csv.reader(read_text(path).splitlines()), [], []]
    folds, task = {}, ""
    for column, name in enumerate(second):
        block = first[column].strip().lower() if column < len(first) else ""
        task = "reading" if block.startswith("read") else "interview" if block.startswith("interview") else task
        fold = re.sub(r"\D", "", name)
        cells = (row[column].strip(" '\"").upper() for row in rows if column < len(row))
        folds |= {(task, cell): fold for cell in cells if task and fold and _NAME.fullmatch(cell)}
    return folds, [] if folds else [f"{path}: is not read: no columns of folds below Read and Interview"]


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones of two heights; untarred twice, people with one task, an interview without clips, apostrophes in folds."""
    draw = np.random.default_rng(seed)
    root, times, lists = folder / "Androids-Corpus" / "Androids-Corpus", [], {"reading": {}, "interview": {}}
    for i in range(participants):
        ill = i % 2
        name = f"{i // 2 + 1:02d}_{'CP'[ill]}{'FM'[i // 2 % 2]}{draw.integers(20, 70)}_{i % 4 + 1}"
        height, group = draw.uniform(90, 220) * (1.2 - 0.3 * ill), ("HC", "PT")[ill]
        for task in ("reading", "interview") if i else ("interview",):
            lists[task].setdefault(i // 2 % 5, []).append(f"'{name}'")
            place = root / f"{task.capitalize()}-Task"
            if task == "reading":
                _synthetic.write_voice(place / "audio" / group / f"{name}.wav", draw, [(height, 4.0)], rate=44_100)
                continue
            lengths, voices = draw.uniform(0.8, 1.6, 6), [300.0, height] * 3
            ends = np.round(np.cumsum(lengths), 2)
            _synthetic.write_voice(place / "audio" / group / f"{name}.wav", draw, [*zip(voices, lengths, strict=True)])
            times.append(",".join([name, *(f"{at:g}" for k in (1, 3, 5) for at in (ends[k - 1], ends[k]))]))
            for k, length in enumerate(lengths[1::2], 1) if i != 1 else ():
                _synthetic.write_voice(place / "audio_clip" / name / f"{name}_{k}.wav", draw, [(height, length)])
    (root / TIMES).write_text("\n".join(times) + "\n")
    numbers = [f"fold{k + 1}" for k in range(5)]
    deepest = max(len(names) for of_task in lists.values() for names in of_task.values())
    rows = [["Read", *[""] * 6, "Interview", *[""] * 4], [*numbers, "", "", *numbers]]
    for row in range(deepest):
        cell = lambda task, k: (lists[task].get(k, []) + [""] * deepest)[row]  # noqa: B023, E731
        rows.append([*(cell("reading", k) for k in range(5)), "", "", *(cell("interview", k) for k in range(5))])
    (root / FOLDS[0]).write_text("\n".join(map(",".join, rows)) + "\n")

"""CMDC, a Chinese corpus of semi-structured interviews: twelve spoken answers each of 26 patients and 52 controls.

    MDD/MDD01/Q1.wav ... Q12.wav, Q1.txt ... Q12.txt    48 kHz stereo; text without times; also called Q1-.wav
    HC52/Q9.wav, Q9.txt                                 the same without the folder of the group
    SubjectInfo.csv                                     where it was handed out: ID, PHQtotal, items, fold

The group is the diagnosis (major depressive disorder or healthy control). Names of columns differ between copies, so
that a table is known by a column of ids like MDD01.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.features.table import require_id
from mmpsy_jax.io import InputError, Table, read_table, write_table

NEEDS = "the folder of CMDC, which holds MDD/MDD01/ ..., or MDD01/ ..., with Q1.wav and Q1.txt in each"
CLASSES = ("control", "mdd")
QUESTIONS = 12
ITEMS = tuple(f"phq9_{n}" for n in range(1, 10))
_ANSWER = re.compile(r"Q(\d{1,2})(-?)\.(wav|txt)", re.IGNORECASE)
_PERSON = re.compile(r"(MDD|HC)[ _-]?(\d{1,3})", re.IGNORECASE)
_TOTALS = ("phq9total", "phqtotal", "phq9score", "phqscore", "phq9sum", "phqsum", "phq9", "phq")
_ITEM = re.compile(r"(?:phq9?)?(?:item|q)?([1-9])")


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The people of the folder; a table of scores is read where there is one.

    Raises:
      InputError: somebody in two folders, two tables of one person, a bad id or score.
    """
    files = _files.tree(folder)
    scores, folds, notes = _tables(files) if scored else ({}, {}, [])
    entries, notes_of, lacking = [], [], {}
    for one, answers in _answers(files, scored).items():
        person = _PERSON.fullmatch(one)
        if scored and not person:
            lacking[one] = "its folder is not called like MDD01 or HC01: rename it, or move it elsewhere"
        absent = [f"Q{n}.{kind}" for n, of in sorted(answers.items()) for kind in ("wav", "txt") if kind not in of]
        if absent and any("txt" in of for of in answers.values()):
            lacking[one] = f"lacks {', '.join(absent)}"
        if len(answers) != QUESTIONS:
            notes_of.append((one, f"{len(answers)} of {QUESTIONS} answers are here"))
        parts = tuple(Part(of.get("wav"), of.get("txt"), question=n) for n, of in sorted(answers.items()))
        labels, odd = _labels(one, scores.get(one, {}), bool(scores)) if scored else ({}, [])
        notes_of += [(one, note) for note in odd]
        entries.append(Entry(one, labels=labels, cluster=one, fold=folds.get(one, ""), parts=parts))
    entries, more = _files.keep_folds(entries, lacking)
    absent = sorted(scores.keys() - {entry.participant for entry in entries})
    more += [f"people of the table without a folder: {_files.list_ids(absent)}"] * bool(absent)
    return Manifest(
        folder,
        tuple(entries[0].labels) if entries and scored else (),
        (),
        tuple(entries),
        notes=(*notes, *more),
        ranges={"depressed": (0.0, 1.0), "phq9": (0.0, 27.0), **dict.fromkeys(ITEMS, (0.0, 3.0))},
        classes={"diagnosis": CLASSES},
        notes_of=tuple(notes_of),
        lacking=lacking,
    )


def _answers(files: Sequence[Path], scored: bool) -> dict[str, dict[int, dict[str, Path]]]:
    """Recording and transcript of each answer, by person and question."""
    people: dict[str, dict[int, dict[str, Path]]] = {}
    places: dict[str, Path] = {}
    for file in files:
        match, place = _ANSWER.fullmatch(file.name), file.absolute().parent
        if not match:
            continue
        person = _PERSON.fullmatch(place.name)
        one = f"{person[1].upper()}{int(person[2]):02d}" if person else place.name
        require_id(str(place), "the name of the folder", one)
        if places.setdefault(one, place) != place:
            raise InputError(f"{place}: the same person lies at {places[one]}: keep one of the two")
        of_answer = people.setdefault(one, {}).setdefault(int(match[1]), {})
        if of_answer.setdefault(match[3].lower(), file) != file:
            raise InputError(f"{file}: the same answer is {of_answer[match[3].lower()].name}: keep one of the two")
    return people


def _labels(one: str, cells: Mapping[str, float | None], has_table: bool) -> tuple[dict[str, float | None], list[str]]:
    """Diagnosis by the name, PHQ-9 where there is a table of it, and what is odd."""
    person = _PERSON.fullmatch(one)
    ill = float(person[1].upper() == "MDD") if person else None
    labels = {"depressed": ill, "diagnosis": ill}
    if not has_table:
        return labels, []
    items = [cells.get(item) for item in ITEMS]
    total, summed = cells.get("phq9"), sum(items) if None not in items else None
    odd = ["has no PHQ-9"] * (total is None and summed is None)
    if total is not None and summed not in (None, total):
        odd = ["its PHQ-9 is not the sum of its items: the former is used"]
    total = summed if total is None else total
    return labels | {"phq9": total} | dict(zip(ITEMS, items, strict=True)), odd


def _tables(files: Sequence[Path]) -> tuple[dict[str, dict[str, float | None]], dict[str, str], list[str]]:
    """Scores and folds by person, from all tables with a column of ids, and notes on the others."""
    scores: dict[str, dict[str, float | None]] = {}
    folds: dict[str, str] = {}
    notes = []
    for path in (file for file in files if file.suffix.lower() in (".csv", ".xlsx")):
        table = read_table(path, extra="keep")
        ids = next((n for n, cells in table.columns.items() if any(map(_PERSON.fullmatch, cells))), None)
        columns = _columns(table)
        if ids is None or not columns:
            notes.append(f"{path}: is not read: no column of ids like MDD01, or none of PHQ-9 or folds")
            continue
        for line, row in table.rows:
            if not (person := _PERSON.fullmatch(row[ids])):
                continue
            one, where = f"{person[1].upper()}{int(person[2]):02d}", f"{path}: line {line}"
            folds |= {one: row[columns["fold"]]} if "fold" in columns else {}
            cells = {
                label: _files.score(where, column, row[column], 3 if label in ITEMS else 27)
                for label, column in columns.items()
                if label != "fold"
            }
            if scores.keys() & {one} and cells:
                raise InputError(f"{where}: this person has scores already: keep one row for each")
            if cells:
                scores[one] = cells
    return scores, folds, notes


def _columns(table: Table) -> dict[str, str]:
    """Columns by what they hold: `fold`, `phq9`, and the items where all nine are there."""
    plain = {re.sub(r"[\W_]", "", name.casefold()): name for name in table.columns}
    items = {match[1]: name for text, name in plain.items() if (match := _ITEM.fullmatch(text))}
    known = {f"phq9_{n}": name for n, name in items.items()} if len(items) == len(ITEMS) else {}
    total = next((plain[name] for name in _TOTALS if name in plain and plain[name] not in known.values()), None)
    return known | ({"phq9": total} if total else {}) | ({"fold": plain["fold"]} if "fold" in plain else {})


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones and Chinese characters; both ways to place people, `Q1-.wav`, an answer too few, a row without PHQ-9."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(participants):
        ill = i % 2
        one, answers = f"{'MDD' if ill else 'HC'}{i // 2 + 1:02d}", QUESTIONS - (i == 0)
        place = folder / one if i == 2 else folder / one[:-2] / one
        height, items = draw.uniform(110, 220) * (1.2 - 0.4 * ill), draw.integers(ill, 3 + ill, 9).tolist()
        for n in range(1, answers + 1):
            name = f"Q{n}-" if i == 1 and n == 1 else f"Q{n}"
            turns = [(height, float(draw.uniform(0.4, 0.8))), (0.0, 0.1)]
            _synthetic.write_voice(place / f"{name}.wav", draw, turns, rate=48_000, channels=2)
            (place / f"Q{n}.txt").write_text(_synthetic.words(draw, ill, 8, _synthetic.LOW_ZH), encoding="utf-8")
        rows.append([one, i // 2 % 5 + 1, *([""] * 10 if i == 3 else [*items, sum(items)])])
    header = ["ID", "fold", *(f"PHQ{n}" for n in range(1, 10)), "PHQtotal"]
    write_table(folder / "SubjectInfo.csv", header, sorted(rows))

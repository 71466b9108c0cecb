"""E-DAIC (AVEC 2019): English interviews by a virtual interviewer, 275 sessions, PHQ-8 and PCL-C.

    300_P/300_AUDIO.wav, 300_P/300_Transcript.csv     at any depth, such as 300_P.tar/300_P/
    labels/train_split.csv, labels/dev_split.csv, labels/test_split.csv
    labels/Detailed_PHQ8_Labels.csv                   items of train and dev

Transcripts are of a recogniser and name no speaker: both speakers are in words and sound. All sessions of DAIC-WOZ are
in it, under the same ids. `detailed_lables.csv` is not read.
"""

from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _daic, _files, _synthetic
from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.io import write_table

NEEDS = "the folder of E-DAIC, which holds 300_P/ ... and labels/"
TABLES = {"train": "train_split.csv", "validation": "dev_split.csv", "test": "test_split.csv"}
ITEMS = "Detailed_PHQ8_Labels.csv"
COLUMNS = {"Participant_ID": "participant", "Gender": "gender", "PHQ_Binary": "binary", "PHQ_Score": "phq8"}
COLUMNS |= {"PTSD Severity": "pclc"}  # "PCL-C (PTSD)" is whether it is reached
ITEM_COLUMNS = {"Participant_ID": "participant"}
ITEM_COLUMNS |= {f"PHQ_8{item}": f"phq8_{item.lower()}" for item in _daic.ITEMS}
BOTH = "the transcripts name no speaker: words and sound are those of both, and the interviewer's cannot be left out"


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The sessions of the folder.

    Raises:
      InputError: no table of splits, or one of another release; a bad id or score; somebody twice or in two splits.
    """
    return _daic.manifest(
        folder,
        (*_daic.LABELS, "pclc"),
        _read_scores if scored else None,
        rule="as published (AVEC 2019)",
        note=BOTH,
        same_people_as=("interviews/daic_woz",),
    )


def _read_scores(folder: Path, files: list[Path]) -> tuple[dict[str, _daic.Person], list[str]]:
    """People of the tables of splits with their items, and notes."""
    people: dict[str, _daic.Person] = {}
    tables = {split: _files.named(files, name) for split, name in TABLES.items()}
    if not any(tables.values()):
        raise _files.no_scores(folder, files, list(TABLES.values()))
    for split, path in tables.items():
        if path is not None:
            _daic.add(people, _daic.read_people(path, COLUMNS, ("Participant_ID", "PHQ_Score"), split), path)
    items = _files.named(files, ITEMS)
    if items is not None:
        rows = _daic.read_people(items, ITEM_COLUMNS, list(ITEM_COLUMNS))
        _daic.add(people, {one: row for one, row in rows.items() if one in people}, items)
    return people, [f"{ITEMS} is not here: no scores of items"] * (items is None)


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Two tones that take turns, of whose words none names a speaker; folders unpacked twice, no items of test."""
    draw = np.random.default_rng(seed)
    rows: dict[str, list[list]] = {split: [] for split in TABLES}
    items = []
    for number, score in enumerate(_synthetic.scores(draw, participants, 24, _daic.CUTOFF)):
        one = str((300, 600)[number % 2] + number)
        place = folder / ("data", f"{one}_P.tar", f"{one}_P")[number % 3] / f"{one}_P"
        turns = _daic.write_talk(place / f"{one}_AUDIO.wav", draw, score)
        lines = [[turn.start, turn.end, turn.text, round(draw.uniform(0.7, 1), 6)] for turn in turns]
        write_table(place / f"{one}_Transcript.csv", ["Start_Time", "End_Time", "Text", "Confidence"], lines)
        split = ("train", "train", "test", "validation", "train")[number % 5]
        trauma = float(draw.integers(17, 60))
        gender = ("female", "male")[draw.integers(2)]
        rows[split].append([one, gender, int(score >= _daic.CUTOFF), score, int(trauma > 43), trauma])
        if split != "test":
            items.append([one, *_daic.draw_items(draw, score), score])
    header = ["Participant_ID", "Gender", "PHQ_Binary", "PHQ_Score", "PCL-C (PTSD)", "PTSD Severity"]
    for split, name in TABLES.items():
        write_table(folder / "labels" / name, header, rows[split])
    write_table(folder / "labels" / ITEMS, [*ITEM_COLUMNS, "PHQ_8Total"], items)

"""DAIC-WOZ (AVEC 2017): English interviews by a virtual interviewer, 189 sessions, PHQ-8.

    300_P/300_AUDIO.wav, 300_P/300_TRANSCRIPT.csv     at any depth
    train_split_Depression_AVEC2017.csv, dev_split_Depression_AVEC2017.csv, test_split_Depression_AVEC2017.csv
    full_test_split.csv                               scores of the test sessions, where they were given out

The score is the PHQ-8, 0 to 24: eight items, no GAD-7. Known errors of the data, as https://github.com/adbailey1/daic_woz_process
lists them, are mended here (docs/corpora.md).
"""

import itertools
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _daic, _files, _synthetic
from mmpsy_jax.features.manifest import Manifest, Part
from mmpsy_jax.io import write_table

NEEDS = "the folder of DAIC-WOZ, which holds 300_P/ ... and the tables of splits"
TABLES = {
    "train": "train_split_Depression_AVEC2017.csv",
    "validation": "dev_split_Depression_AVEC2017.csv",
    "test": "test_split_Depression_AVEC2017.csv",
}
FULL_TEST = "full_test_split.csv"
COLUMNS = {"Participant_ID": "participant", "Gender": "gender", "PHQ8_Binary": "binary", "PHQ8_Score": "phq8"}
COLUMNS |= {f"PHQ8_{item}": f"phq8_{item.lower()}" for item in _daic.ITEMS}
HEADER = ["Participant_ID", "PHQ8_Binary", "PHQ8_Score", "Gender", *list(COLUMNS)[4:]]
FULL_COLUMNS = {"Participant_ID": "participant", "Gender": "gender", "PHQ_Binary": "binary", "PHQ_Score": "phq8"}
EXCLUDED = ("342", "394", "398", "460")
# Seconds that the transcript is ahead of its recording.
SHIFTS = {"318": 34.319917, "321": 3.8379167, "341": 6.1892, "362": 16.8582}
# Somebody came in: seconds of the recording.
INTERRUPTIONS = {"373": (395.0, 428.0), "444": (286.0, 387.0)}
WITHOUT_ELLIE = ("451", "458", "480")
ODD = {
    one: f"{s:.2f} s are added to the times of its transcript, which are ahead of the recording"
    for one, s in SHIFTS.items()
}
ODD |= {one: f"seconds {a:g} to {b:g} are left out: it was interrupted" for one, (a, b) in INTERRUPTIONS.items()}
ODD |= dict.fromkeys(WITHOUT_ELLIE, "its transcript lacks the interviewer")


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The sessions of the folder.

    Raises:
      InputError: no table of splits, or one of another release; a bad id or score; somebody twice or in two splits.
    """
    return _daic.manifest(
        folder,
        _daic.LABELS,
        _read_scores if scored else None,
        rule="as published (AVEC 2017)",
        part_of=_part,
        excluded=EXCLUDED,
        odd=ODD,
        speaker="Participant",
        same_people_as=("interviews/edaic",),
    )


def _part(one: str, recording: Path | None, transcript: Path | None) -> Part:
    return Part(
        recording, transcript, SHIFTS.get(one, 0.0), tuple([INTERRUPTIONS[one]] if one in INTERRUPTIONS else ())
    )


def _read_scores(folder: Path, files: list[Path]) -> tuple[dict[str, _daic.Person], list[str]]:
    """People of the tables of splits, and notes."""
    people: dict[str, _daic.Person] = {}
    tables = {split: _files.named(files, name) for split, name in TABLES.items()}
    full = _files.named(files, FULL_TEST)
    if not any((*tables.values(), full)):
        raise _files.no_scores(folder, files, (*TABLES.values(), FULL_TEST))
    for split, path in tables.items():
        if path is not None:
            required = ("Participant_ID", "PHQ8_Score") if split != "test" else ("Participant_ID", "Gender")
            _daic.add(people, _daic.read_people(path, COLUMNS, required, split), path)
    if full is not None:
        _daic.add(people, _daic.read_people(full, FULL_COLUMNS, ("Participant_ID", "PHQ_Score"), "test"), full)
    unscored = sum(person.labels.get("phq8") is None for person in people.values() if person.split == "test")
    note = f"sessions of the test split without a score: {unscored}; {FULL_TEST} holds them, where it was given out"
    return people, [note] * bool(unscored)


def _ids(count: int) -> list[str]:
    """Ids of synthetic people: first some of those of whom errors are known."""
    odd = ["409", "318", "451", "444"][: count - 3]
    others = (str(one) for one in itertools.count(300) if str(one) not in (*EXCLUDED, *SHIFTS, *INTERRUPTIONS, *odd))
    return [*odd, *itertools.islice(others, count - len(odd))]


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Two tones that take turns; of the known errors a shift, an interruption, no Ellie, and a wrong binary label."""
    draw = np.random.default_rng(seed)
    ids = _ids(participants)
    scores = [10, *_synthetic.scores(draw, participants - 1, 24, 10)]
    rows: dict[str, list[list]] = {split: [] for split in TABLES}
    for number, (one, score) in enumerate(zip(ids, scores, strict=True)):
        place = folder / f"{one}_P" / (f"{one}_P" if number == 1 else "")  # one was unpacked twice
        waits = {"wait": SHIFTS.get(one, 0.0) + 1, "interruption": INTERRUPTIONS.get(one)}
        turns = _daic.write_talk(place / f"{one}_AUDIO.wav", draw, score, **waits)
        lines = [["start_time", "stop_time", "speaker", "value"]]
        for turn in turns:
            if turn.is_participant or one not in WITHOUT_ELLIE:
                times = [f"{at - SHIFTS.get(one, 0.0):.3f}" for at in (turn.start, turn.end)]
                lines.append([*times, "Participant" if turn.is_participant else "Ellie", turn.text])
        lines[-1][-1] += " <laughter> scrubbed_entry"
        (place / f"{one}_TRANSCRIPT.csv").write_text("\n".join("\t".join(line) for line in lines) + "\n")
        binary = 0 if one == "409" else int(score >= _daic.CUTOFF)
        split = ("train", "train", "test", "validation", "train")[number % 5]
        rows[split].append([one, binary, score, int(draw.integers(2)), *_daic.draw_items(draw, score)])
    (folder / "342_P").mkdir()
    _daic.write_talk(folder / "342_P" / "342_AUDIO.wav", draw, 5)
    for split in ("train", "validation"):
        write_table(folder / TABLES[split], HEADER, rows[split])
    write_table(folder / TABLES["test"], ["participant_ID", "Gender"], [[row[0], row[3]] for row in rows["test"]])
    full = [cells for row in rows["test"] for cells in (["", "", "", ""], row[:4])]
    write_table(folder / FULL_TEST, ["Participant_ID", "PHQ_Binary", "PHQ_Score", "Gender"], full)

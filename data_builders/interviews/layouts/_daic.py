"""What DAIC-WOZ and E-DAIC share: sessions by their files, rows of the tables of splits and items, synthetic talks."""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.features.table import refuse_duplicates, require_id
from mmpsy_jax.io import InputError, read_table

ITEMS = ("NoInterest", "Depressed", "Sleep", "Tired", "Appetite", "Failure", "Concentrating", "Moving")
LABELS = ("phq8", *(f"phq8_{item.lower()}" for item in ITEMS))
RANGES = {"phq8": (0.0, 24.0), "pclc": (17.0, 85.0), **dict.fromkeys(LABELS[1:], (0.0, 3.0))}
CUTOFF = 10  # of the published binary labels
_AUDIO = re.compile(r"([^\W_][\w-]*)_AUDIO\.wav", re.IGNORECASE)
_WORDS = re.compile(r"([^\W_][\w-]*)_TRANSCRIPT\.csv", re.IGNORECASE)


@dataclasses.dataclass
class Person:
    """What tables say of a session: split, sex, scores by label, and what is odd."""

    split: str = ""
    sex: str = ""
    labels: dict[str, float | None] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


def read_people(path: Path, columns: Mapping[str, str], required: Sequence[str], split: str = "") -> dict[str, Person]:
    """The rows of a table by id.

    Args:
      path: of the table.
      columns: {name in the table: `participant`, `gender`, `binary` or a label}; others are not read.
      required: names of the table without which it is another one.
      split: of its people.

    Raises:
      InputError: another table, a bad id or score, or somebody twice.
    """
    rows = read_table(path, required, list(columns), extra="keep").rows
    people, places = {}, []
    for line, row in rows:
        where = f"{path}: line {line}"
        cells = {meant: row[name] for name, meant in columns.items() if name in row}
        one = _files.identify(cells["participant"])
        require_id(where, next(name for name in columns), one)
        places.append((f"line {line}", one))
        labels = {
            label: _files.score(where, name, row[name], RANGES[label][1])
            for name, label in columns.items()
            if name in row and label not in ("participant", "gender", "binary")
        }
        person = people[one] = Person(split, _files.sex(cells.get("gender", "")), labels)
        total, binary = labels.get("phq8"), _files.score(where, "the binary label", cells.get("binary", ""), 1)
        if None not in (total, binary) and (total >= CUTOFF) != bool(binary):
            person.notes.append(
                f"the published binary label contradicts the score (cut-off {CUTOFF}): the score is used"
            )
    refuse_duplicates(path, places)
    return people


def add(people: dict[str, Person], more: Mapping[str, Person], path: Path) -> None:
    """Adds what a further table says to what is known; further people are added.

    Raises:
      InputError: somebody is in two splits.
    """
    both = [one for one in more if one in people and people[one].split != (more[one].split or people[one].split)]
    if both:
        raise InputError(f"{path}: {_files.list_ids(both)} are in another split, too: fetch the tables of splits again")
    for one, person in more.items():
        known = people.setdefault(one, person)
        known.labels |= {name: value for name, value in person.labels.items() if value is not None}
        known.sex = known.sex or person.sex
        known.notes = list(dict.fromkeys([*known.notes, *person.notes]))
    for person in people.values():
        items = [person.labels.get(name) for name in LABELS[1:]]
        if None not in (*items, person.labels.get("phq8")) and sum(items) != person.labels["phq8"]:
            person.notes = list(dict.fromkeys([*person.notes, "the published items do not add up to the score"]))


def manifest(
    folder: Path,
    labels: Sequence[str],
    read_scores: Callable[[Path, list[Path]], tuple[dict[str, Person], list[str]]] | None,
    *,
    rule: str,
    part_of: Callable[[str, Path | None, Path | None], Part] = lambda one, *files: Part(*files),
    excluded: Collection[str] = (),
    odd: Mapping[str, str] | None = None,
    note: str = "",
    speaker: str = "",
    **more: Any,
) -> Manifest:
    """The sessions of a folder.

    Args:
      folder: of the corpus, or of one session.
      labels: names of the scores.
      read_scores: people of the tables of a folder, given its files, and notes; None reads no scores.
      rule: by whom the splits were made.
      part_of: what is known of a session with its recording and transcript.
      excluded: sessions that the owners of the corpus excluded.
      odd: what is known to be odd about sessions.
      note: about all of them.
      speaker: name of the participant in the transcripts; "" where these name none.
      **more: of `Manifest`.
    """
    files = _files.tree(folder)
    recordings, words = (
        {one: file for one, file in _files.by_id(files, pattern).items() if one not in excluded}
        for pattern in (_AUDIO, _WORDS)
    )
    here = recordings.keys() | words.keys()
    people, notes = read_scores(folder, files) if read_scores else ({one: Person() for one in here}, [])
    people = {one: person for one, person in people.items() if one not in excluded}
    if left := sorted({one for pattern in (_AUDIO, _WORDS) for one in _files.by_id(files, pattern)} & set(excluded)):
        notes.append(f"sessions that the owners of the corpus exclude, and that are left out: {_files.list_ids(left)}")
    if read_scores and (unlisted := sorted(here - people.keys())):
        notes.append(f"sessions that no table of splits lists and that are left out: {_files.list_ids(unlisted)}")
    lacking = _files.require_files(people, {"recording": recordings, "transcript": words}, files)
    entries = []
    for one, person in people.items():
        part = part_of(one, recordings.get(one), words.get(one))
        scores = {name: person.labels.get(name) for name in labels} if read_scores else {}
        entry = Entry(one, speaker=speaker, labels=scores, subgroups={"sex": person.sex}, cluster=one)
        entries.append(dataclasses.replace(entry, split=person.split, parts=(part,)))
    entries, rule, about_splits = _files.keep_official_splits(entries, lacking, rule)
    notes_of = [(one, note) for one, person in people.items() for note in person.notes]
    notes_of += [(one, note) for one, note in (odd or {}).items() if one in people]
    return Manifest(
        folder,
        tuple(labels),
        ("sex",),
        tuple(entries),
        notes=(*[note] * bool(note), *notes, *about_splits),
        ranges={name: RANGES[name] for name in labels},
        split_rule=rule,
        notes_of=tuple(notes_of),
        lacking=lacking,
        **more,
    )


@dataclasses.dataclass(frozen=True)
class Turn:
    """A turn of a synthetic talk: seconds from the beginning of the recording, who speaks, and words."""

    start: float
    end: float
    is_participant: bool
    text: str


def write_talk(
    file: Path,
    draw: np.random.Generator,
    score: float,
    *,
    wait: float = 1.0,
    interruption: tuple[float, float] | None = None,
) -> list[Turn]:
    """Writes a recording of two tones that take turns, and gives the turns.

    The participant's tone is lower, and more of the words are low ones, the higher the score.

    Args:
      file: of the recording.
      draw: of everything.
      score: PHQ-8.
      wait: seconds before anybody speaks.
      interruption: seconds between which somebody else is there; the participant speaks then and once more after it.
    """
    height, share = draw.uniform(110, 220) * (1.2 - score / 40), score / RANGES["phq8"][1]
    turns, sound = [], [(0.0, wait)]
    for i in range(8):
        seconds = float(draw.uniform(1.0, 2.5))
        start = turns[-1].end + 0.2 if turns else wait
        text = _synthetic.words(draw, share, 6) if i % 2 else f"question {i // 2 + 1}"
        turns.append(Turn(round(start, 3), round(start + seconds, 3), bool(i % 2), text))
        sound += [(height if i % 2 else 250.0, seconds), (0.0, 0.2)]
    if interruption:
        start, end = interruption
        sound += [(0.0, start - turns[-1].end - 0.2), (400.0, end - start), (height, 2.0)]
        turns += [Turn(start + 1, start + 3, True, "interrupted"), Turn(end, end + 2, True, "after it")]
    _synthetic.write_voice(file, draw, sound)
    return turns


def draw_items(draw: np.random.Generator, score: int) -> list[int]:
    """Eight items of 0 to 3 that add up to a score."""
    items = [score // 8] * 8
    for i in draw.permutation(8)[: score % 8]:
        items[i] += 1
    return items

"""EATD-Corpus: three spoken answers in Chinese of 162 volunteers, SDS.

    EATD-Corpus/t_1/, v_1/, or train/1/, validation/1/     with, for each of positive, neutral and negative:
        positive.wav, positive_out.wav (noise removed), positive.txt
        label.txt (raw SDS, 20 to 80), new_label.txt (the SDS, 1.25 times that)

The original recording is read; `_out.wav`, of which some are empty, only where there is no other. The published
validation part is what papers report on, and there is no third part: here it is `test`, and a hash of the id takes an
eighth of the published training part for validation.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np

from data_builders.common import splits
from data_builders.interviews.layouts import _files, _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest, Part
from mmpsy_jax.features.recording_folder import visible
from mmpsy_jax.features.table import require_id
from mmpsy_jax.io import InputError, number, read_text

NEEDS = "the folder EATD-Corpus, which holds t_1/ ... or train/1/ ..."
ANSWERS = ("positive", "neutral", "negative")
FACTOR = 1.25  # of the SDS to its raw score
SCORE, RAW = "new_label.txt", "label.txt"
RULE = "as published, of whose training part a hash of the id takes an eighth for validation; test is their validation"
_HEADER_BYTES = 44  # of a wav without samples
_SPELLED = re.compile(r"(?:.*/)?([tv])_(\d+)|(?:.*/)?(train|validation)/(\d+)", re.IGNORECASE)


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The people of the folder.

    Raises:
      InputError: a folder of neither spelling, somebody in two folders, or a label that is no SDS.
    """
    entries, notes_of, lacking = [], [], {}
    for one, place in _places(folder, scored).items():
        parts, notes, lacking[one] = _answers(place)
        sds, odd = _score(place) if scored else (None, [])
        notes_of += [(one, note) for note in (*notes, *odd)]
        entry = Entry(one, labels={"sds": sds} if scored else {}, cluster=one, parts=parts)
        entries.append(dataclasses.replace(entry, split={"t": "train", "v": "test"}[one[0]] if scored else ""))
    lacking = {one: reason for one, reason in lacking.items() if reason}
    training = [entry.participant for entry in entries if entry.split == "train" and entry.participant not in lacking]
    aside = sorted(training, key=splits.position)[: max(1, len(training) // 8)]
    entries = [dataclasses.replace(e, split="validation") if e.participant in aside else e for e in entries]
    entries, rule, notes = _files.keep_official_splits(entries, lacking, RULE)
    return Manifest(
        folder,
        ("sds",),
        (),
        tuple(entries),
        notes=tuple(notes),
        ranges={"sds": (25.0, 100.0)},
        split_rule=rule,
        notes_of=tuple(notes_of),
        lacking=lacking,
    )


def _places(folder: Path, scored: bool) -> dict[str, Path]:
    """Folders of answers by id, which is `t_1` or `v_1` in both spellings; of new people the name of their folder."""
    of_answers = {f"{name}{end}" for name in ANSWERS for end in (".wav", "_out.wav", ".txt")} | {SCORE, RAW}
    ids: dict[str, Path] = {}
    for place in dict.fromkeys(file.parent for file in _files.tree(folder) if file.name.lower() in of_answers):
        place = place.absolute()
        spelled = _SPELLED.fullmatch(f"{place.parent.name}/{place.name}")
        one = f"{(spelled[1] or spelled[3])[0].lower()}_{int(spelled[2] or spelled[4])}" if spelled else place.name
        if scored and not spelled:
            raise InputError(f"{place}: folders of people are train/1, validation/1, t_1 or v_1: move others elsewhere")
        require_id(str(place), "the name of the folder", one)
        if one in ids:
            raise InputError(f"{place}: the same person lies at {ids[one]}: keep one of the two")
        ids[one] = place
    return ids


def _answers(place: Path) -> tuple[tuple[Part, ...], list[str], str]:
    """The answers of a person, what is odd, and what is missing."""
    there = {file.name.lower(): file for file in visible(place.iterdir())}
    parts, notes, absent = [], [], []
    for name in ANSWERS:
        recording, denoised = there.get(f"{name}.wav"), there.get(f"{name}_out.wav")
        if recording is None and denoised is not None and denoised.stat().st_size > _HEADER_BYTES:
            recording = denoised
            notes.append(f"{name}_out.wav is read, since there is no {name}.wav")
        if recording is None:
            absent.append(f"{name}.wav" + " (its _out.wav is empty)" * (denoised is not None))
        parts.append(Part(recording, there.get(f"{name}.txt")))
        absent += [f"{name}.txt"] * (parts[-1].transcript is None)
    return tuple(parts), notes, f"lacks {', '.join(absent)}" if absent else ""


def _score(place: Path) -> tuple[float | None, list[str]]:
    """The SDS, None where no file of it holds a number, and what is odd about it."""
    cells = {}
    for name in (SCORE, RAW):
        there = (file for file in visible(place.iterdir()) if file.name.lower() == name)
        cells[name] = next((read_text(file).strip() for file in there), "")
    sds = number(str(place / SCORE), "the SDS", cells[SCORE], 25, 100, empty=None)
    raw = number(str(place / RAW), "the raw SDS", cells[RAW], 20, 80, empty=None)
    if sds is None:
        return (None, ["has no score"]) if raw is None else (raw * FACTOR, [f"{SCORE} is computed from {RAW}"])
    odd = raw is not None and abs(sds - raw * FACTOR) >= 1
    return sds, [f"{SCORE} is not {FACTOR} times {RAW}: the former is used"] * odd


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones and Chinese characters; both spellings of folders, blanks in labels, an empty denoised recording."""
    draw = np.random.default_rng(seed)
    raws = _synthetic.scores(draw, participants, 70, 44)
    for number_, raw in enumerate(max(raw, 21) for raw in raws):
        is_test = number_ % 3 == 2
        place = folder / ("validation" if is_test else "train") / str(number_ + 1)
        if number_ % 2:
            place = folder / f"{'v' if is_test else 't'}_{number_ + 1}"
        height, share = draw.uniform(110, 220) * (1.2 - raw / 120), (raw - 20) / 60
        for i, name in enumerate(ANSWERS):
            turns = [(height, float(draw.uniform(1, 2))), (0.0, 0.2)] * 2
            _synthetic.write_voice(place / f"{name}.wav", draw, turns)
            empty = number_ == 0 and i == 0
            _synthetic.write_voice(place / f"{name}_out.wav", draw, [(0.0, 0.0)] if empty else turns)
            (place / f"{name}.txt").write_text(_synthetic.words(draw, share, 20, _synthetic.LOW_ZH), encoding="utf-8")
        (place / RAW).write_text(f"{raw}\n")
        (place / SCORE).write_text(f" {raw * FACTOR} \n")

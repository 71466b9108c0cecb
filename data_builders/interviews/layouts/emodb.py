"""EmoDB, the Berlin database of emotional speech: acted German sentences, ten speakers, seven emotions.

    wav/03a01Fa.wav    speaker 03, sentence a01, emotion F (Freude, happiness), take a

A record is a clip, and a speaker is its cluster, so that speakers stay together in splits and folds. Ten speakers of
whom sex and age are published (Burkhardt et al., "A database of German emotional speech", Interspeech 2005, and its
web page).
"""

import re
from pathlib import Path

import numpy as np

from data_builders.interviews.layouts import _synthetic
from mmpsy_jax.features.manifest import Entry, Manifest

NEEDS = "the folder of EmoDB, which holds wav/"
# By the letter of the German word.
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
SEX = dict.fromkeys(("03", "10", "11", "12", "15"), "male") | dict.fromkeys(("08", "09", "13", "14", "16"), "female")
_CLIP = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")


def read(folder: Path, *, scored: bool = True) -> Manifest:
    """The clips of the folder."""
    classes, entries, lacking = tuple(sorted(EMOTIONS.values())), [], {}
    place = folder / "wav" if (folder / "wav").is_dir() else folder
    for file in sorted(place.glob("*.wav")):
        match = _CLIP.fullmatch(file.stem)
        if not scored and not match:  # somebody's own clip
            entries.append(Entry(file.stem, recording=file, subgroups={"sex": "", "sentence": ""}, cluster=file.stem))
            continue
        if not match or match[3] not in EMOTIONS:
            lacking[file.name] = (
                f"clips are named like 03a01Fa.wav, with one of {', '.join(EMOTIONS)} for the emotion: move other "
                "recordings elsewhere"
            )
            labels = {"emotion": None} if scored else {}
            entries.append(Entry(file.name, labels=labels, subgroups={"sex": "", "sentence": ""}, cluster=file.name))
            continue
        speaker, sentence, letter, _ = match.groups()
        entries.append(
            Entry(
                file.stem,
                recording=file,
                labels={"emotion": float(classes.index(EMOTIONS[letter]))} if scored else {},
                subgroups={"sex": SEX.get(speaker, ""), "sentence": sentence},
                cluster=speaker,
            )
        )
    return Manifest(
        folder,
        ("emotion",),
        ("sex", "sentence"),
        tuple(entries),
        clustered=True,
        classes={"emotion": classes},
        lacking=lacking,
        unit="clips",
    )


def synthesize(folder: Path, *, participants: int, seed: int) -> None:
    """Tones whose pitch follows the emotion; two sentences of each speaker in each emotion."""
    draw = np.random.default_rng(seed)
    for speaker in range(3, 3 + participants):
        height = draw.uniform(90, 220)
        for i, letter in enumerate(EMOTIONS):
            for sentence in ("a01", "b02"):
                file = folder / "wav" / f"{speaker:02d}{sentence}{letter}a.wav"
                _synthetic.write_voice(file, draw, [(height * (1 + 0.15 * i), 1.5)])

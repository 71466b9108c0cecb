"""Writes SYNTHETIC interviews, spoken by espeak-ng, with a manifest: of no person, and the scores are made up.

    python benchmarks/spoken_interviews.py --output=DIR [--participants=30] [--answers=4] [--seed=0]

The made-up PHQ-9 total of a participant decides how the voice sounds (slower and lower with a higher score) and how
often a sentence of the second list is said. What a model finds there says nothing about people: it shows that
recordings and transcripts arrive where they should.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpsy_jax.io import InputError

PLAIN = (
    "Yesterday I walked to the market and bought some apples.",
    "My brother and I painted the garden fence together.",
    "We laughed a lot when the dog stole the sandwich.",
    "I read a good book about the sea last week.",
    "On Sunday we are going to visit my grandmother.",
    "The bus was full but I found a seat by the window.",
)
TIRED = (
    "I was tired all day and did not want to get up.",
    "Nothing was really interesting to me this week.",
    "I lay awake for hours and thought about the same things.",
    "I could not follow the lesson, everything was slow.",
    "I did not eat much and did not feel like talking.",
    "Most of the time I stayed in my room.",
)
HIGHEST = 27


def write(folder: Path, participants: int, answers: int, seed: int) -> Path:
    """Speaks the interviews.

    Args:
      folder: new or empty.
      participants, answers: how many, and how many each of them gives.
      seed: of voices, sentences and scores.

    Returns:
      the manifest.

    Raises:
      InputError: the folder holds something, or espeak-ng is not installed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty: give another --output")
    if shutil.which("espeak-ng") is None:
        raise InputError("espeak-ng: not found: install it (apt-get install espeak-ng)")
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, participants + 1):
        name = f"p{number}"
        # Half of them above the usual cut-off of 10, and nobody near it.
        score = int(rng.integers(0, 7) if number % 2 else rng.integers(14, HIGHEST + 1))
        voice = str(rng.choice(["m1", "m3", "f1", "f3"]))
        sentences = [
            " ".join(str(rng.choice(TIRED if rng.random() < score / HIGHEST else PLAIN)) for _ in range(2))
            for _ in range(answers)
        ]
        (folder / name).mkdir(parents=True)
        for k, text in enumerate(sentences, 1):
            options = [f"-ven+{voice}", f"-s{200 - 4 * score}", f"-p{60 - score}"]
            subprocess.run(["espeak-ng", *options, "-w", folder / name / f"answer_{k}.wav", text], check=True)
        (folder / f"{name}.txt").write_text("\n".join(sentences))
        rows.append([name, name, f"{name}.txt", score, voice[0]])
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["participant", "recording", "transcript", "label:phq9", "subgroup:voice"])
        writer.writerows(rows)
    return manifest


def main() -> None:
    """Parses the arguments and prints the path of the manifest."""
    parser = argparse.ArgumentParser(description="Synthetic interviews, spoken by espeak-ng.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--participants", type=int, default=30)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(write(options.output, options.participants, options.answers, options.seed))


if __name__ == "__main__":
    main()

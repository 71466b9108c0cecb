"""How clearly crops of one person and of two fall apart: what `features/faces.py` takes as limit for one person.

    python benchmarks/faces.py --photographs=FOLDER [--clips=20] [--crops=lfw_subset.npy]

FOLDER holds photographs named `person.jpg`, `person_2.jpg`, ... (what stands before digits names the person). Each
becomes clips of a hand-held camera: it is shifted, turned, zoomed, lit and blurred slowly and at random, at 10 frames a
second; clips of two persons cut from one to the other, or show them side by side. `--crops` adds faces without
photographs, [n, h, w] from 0 to 1 of as many persons, moved in the same way. Everything after that is the product's.
"""

import argparse
import collections
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

from mmpsy_jax.features import faces

ROWS = 240  # of a frame
cv2.setNumThreads(1)


def hand(rng: np.random.Generator, frames: int, size: float) -> np.ndarray:
    """Slow random movement around 0 with this standard deviation, [frames]."""
    steps = rng.normal(size=frames + 40)
    smooth = np.convolve(steps, np.hanning(21), mode="same")[20 : 20 + frames]
    return size * smooth / np.sqrt((np.hanning(21) ** 2).sum())


def film(rng: np.random.Generator, picture: np.ndarray, frames: int) -> list[np.ndarray]:
    """A grey picture as seen by a camera in a hand."""
    height, width = picture.shape
    x, y = hand(rng, frames, 0.02 * width), hand(rng, frames, 0.02 * height)
    turn, zoom = hand(rng, frames, 2.5), np.exp(hand(rng, frames, 0.05))
    light, contrast, blur = hand(rng, frames, 12), np.exp(hand(rng, frames, 0.1)), np.abs(hand(rng, frames, 0.6))
    shots = []
    for i in range(frames):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn[i], zoom[i])
        matrix[:, 2] += x[i], y[i]
        moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        if blur[i] > 0.3:
            moved = cv2.GaussianBlur(moved, (0, 0), blur[i])
        shown = 128 + contrast[i] * (moved.astype(float) - 128) + light[i] + rng.normal(0, 3, moved.shape)
        shots.append(np.clip(np.rint(shown), 0, 255).astype(np.uint8))
    return shots


def crops_of(frames: Sequence[np.ndarray]) -> np.ndarray:
    """All crops of all frames, as `faces.track` groups them."""
    return faces.collect(frames)[1]


def read_photographs(folder: Path) -> dict[str, list[np.ndarray]]:
    """Grey pictures by person, `ROWS` each way: head and shoulders of the largest face; the rest is left out."""
    by_person: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            continue
        boxes = faces.find(picture)
        if len(boxes):
            x, y, width, height = max(boxes.tolist(), key=lambda box: box[2] * box[3])
            top, left = max(0, y - height), max(0, x - width)
            picture = picture[top : y + 2 * height, left : x + 2 * width]
            picture = cv2.resize(picture, (ROWS, ROWS), interpolation=cv2.INTER_AREA)
        if len(faces.find(picture)) != 1:
            print(f"left out: {path.name}: not one face is found in it")
            continue
        by_person.setdefault(re.sub(r"[\d_]+$", "", path.stem), []).append(picture)
    return by_person


def from_photographs(rng: np.random.Generator, photographs: dict[str, list[np.ndarray]], two: bool) -> np.ndarray:
    """Crops of a clip of 4 to 6 s."""
    names = rng.permutation(list(photographs))[: 1 + two]
    pictures = [photographs[name][rng.integers(len(photographs[name]))] for name in names]
    frames = int(rng.integers(40, 61))
    films = [film(rng, picture, frames) for picture in pictures]
    if not two:
        return crops_of(films[0])
    if rng.random() < 0.5:  # side by side
        return crops_of([np.concatenate(pair, axis=1) for pair in zip(*films, strict=True)])
    cut = int(frames * rng.uniform(0.6, 0.8))
    return crops_of(films[0][:cut] + films[1][cut:])


def from_crops(rng: np.random.Generator, cut_out: np.ndarray, two: bool) -> np.ndarray:
    """Crops of a clip of 4 to 6 s of faces that were cut out before, with a margin of replicated pixels."""
    frames, crops = int(rng.integers(40, 61)), []
    chosen = rng.permutation(len(cut_out))[: 1 + two]
    cut = int(frames * rng.uniform(0.6, 0.8)) if two else frames
    for one, count in zip(chosen, (cut, frames - cut), strict=False):
        large = cv2.resize((255 * cut_out[one]).astype(np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
        for frame in film(rng, large, count):
            # The detector's box jitters by some percent by itself.
            x, y, side = (*rng.integers(2, 9, 2), rng.integers(82, 88))
            crops.append(faces.crop(frame, np.array([x, y, side, side])))
    return np.stack(crops)


def main() -> None:
    """Prints silhouettes and persons counted of clips of one and of two, and how many clips a limit judges wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--clips", type=int, default=20, help="of one person, and as many of two")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    photographs = read_photographs(options.photographs)
    print("photographs:", {name: len(pictures) for name, pictures in photographs.items()})
    sources = {"photographs": lambda rng, two: from_photographs(rng, photographs, two)}
    if options.crops:
        cut_out = np.load(options.crops)
        print(f"crops: {len(cut_out)} persons")
        sources["crops"] = lambda rng, two: from_crops(rng, cut_out, two)
    rng = np.random.default_rng(options.seed)
    drawn: dict[str, dict[bool, list[float]]] = {name: {False: [], True: []} for name in sources}
    counted: dict[tuple[str, bool], list[int]] = {(name, two): [] for name in sources for two in (False, True)}
    for number in range(2 * options.clips):
        for name, draw in sources.items():
            crops, two = draw(rng, bool(number % 2)), bool(number % 2)
            drawn[name][two].append(faces.divide(crops)[0])
            counted[name, two].append(int(faces.group(crops).max()) + 1)
    for name, lists in drawn.items():
        values = {two: np.array(scores) for two, scores in lists.items()}
        for two, scores in values.items():
            quantiles = np.quantile(scores, (0, 0.5, 0.9, 0.95, 1) if not two else (0, 0.05, 0.1, 0.5, 1))
            who = "two persons" if two else "one person"
            print(f"{name}, {who}: " + " ".join(f"{q:.3f}" for q in quantiles))
            print(f"  persons counted: {dict(sorted(collections.Counter(counted[name, two]).items()))}", flush=True)
        for limit in (0.38, 0.42, 0.45, 0.47, 0.5, 0.54, 0.58):
            split, joined = (values[False] > limit).mean(), (values[True] <= limit).mean()
            print(f"  limit {limit:.2f}: {split:.1%} of one person split, {joined:.1%} of two taken for one")


if __name__ == "__main__":
    main()

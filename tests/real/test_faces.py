"""Photographs of real people: every frontal face is found; a shaken camera makes nobody two, and two people are two.

No public package ships video with faces, so a clip is made of one photograph: the picture slips, turns, nears and
darkens from frame to frame like that of a camera in the hand, and each frame has noise of its own.
"""

import itertools

import numpy as np
import pytest

from mmpsy_jax.features import faces

pytestmark = pytest.mark.real
FRONTAL = ("biden", "obama", "obama2", "obama3")
FRAMES, SIDE, CLIPS = 30, 256, 4


@pytest.fixture(scope="module")
def photographs(assets):
    """Grey pictures by name, with the box of the one face in each."""
    import cv2

    folder = assets / "pypi" / "face_recognition-1.3.0" / "tests" / "test_images"
    files = {name: folder / f"{name}.jpg" for name in FRONTAL}
    files["astronaut"] = assets / "pypi" / "skimage" / "data" / "astronaut.png"
    made = {}
    for name, file in files.items():
        picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        shrink = min(1, 640 / max(picture.shape))
        made[name] = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return made


def face_of(picture):
    """Centre and size of the largest face."""
    x, y, width, height = max(faces.find(picture).tolist(), key=lambda box: box[2])
    return np.array([x + width / 2, y + height / 2]), width


def moved(picture, seed):
    """Frames u8 [FRAMES, SIDE, SIDE] around the face, as a camera in the hand sees it."""
    import cv2

    rng = np.random.default_rng(seed)
    centre, width = face_of(picture)
    steps = rng.normal(size=(5, FRAMES)).cumsum(1)
    across, down, turn, near, light = steps / np.abs(steps).max(1, keepdims=True)
    frames = []
    for t in range(FRAMES):
        scale = 90 / width * (1 + 0.12 * near[t])
        matrix = cv2.getRotationMatrix2D(tuple(centre), 6 * turn[t], scale)
        matrix[:, 2] += SIDE / 2 - centre + [14 * across[t], 14 * down[t]]
        frame = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(float)
        frame = frame * (1 + 0.2 * light[t]) + rng.normal(0, 4, frame.shape)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return np.stack(frames)


def test_every_frontal_face_is_found(photographs):
    counts = {name: len(faces.find(picture)) for name, picture in photographs.items()}
    print(counts)
    assert min(counts.values()) >= 1
    for name, picture in photographs.items():
        seen = [len(faces.find(frame)) > 0 for frame in moved(picture, seed=100)]
        print(name, f"{sum(seen)} of {len(seen)} frames")
        assert np.mean(seen) >= 0.9, name


def test_one_person_before_a_moving_camera_is_one(photographs):
    """The largest group has the person in every frame; a false face in the background may be a group of its own."""
    split, more = [], 0
    for name, seed in itertools.product(photographs, range(CLIPS)):
        made = faces.track(moved(photographs[name], seed))
        more += made.persons > 1
        if made.frames[0] < 0.95 * FRAMES:
            split.append((name, seed, made.persons, made.frames))
    print(
        f"of {len(photographs) * CLIPS} clips of one person {len(split)} are split: {split}; {more} have a false face"
    )
    assert not split and more <= 2


def test_two_people_are_two(photographs):
    """One after the other in a clip: the one in most frames is kept, in all of them, and the other in none."""
    pairs = [("biden", "obama"), ("biden", "astronaut"), ("obama2", "astronaut"), ("obama3", "biden")]
    wrong, more = [], 0
    for (one, other), seed in itertools.product(pairs, range(CLIPS)):
        clip = np.concatenate([moved(photographs[one], seed), moved(photographs[other], seed + 50)[: FRAMES // 2]])
        made = faces.track(clip)
        shown = made.face.any(axis=1)
        more += made.persons > 2
        if made.persons < 2 or shown[FRAMES:].any() or shown[:FRAMES].mean() < 0.95:
            wrong.append((one, other, seed, made.persons, int(shown[:FRAMES].sum()), int(shown[FRAMES:].sum())))
    print(
        f"of {len(pairs) * CLIPS} clips of two people {len(wrong)} mix or lose them: {wrong}; {more} have a false face"
    )
    assert not wrong

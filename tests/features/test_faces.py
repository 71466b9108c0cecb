"""Faces of drawn persons (SYNTHETIC): found, told apart, the one in most frames taken."""

import numpy as np
import pytest

from data_builders.affect_video import demo_truth, drawing
from mmpsy_jax.features import faces
from tests.drawn_clips import looks, scene

COUNT = 24


@pytest.fixture(scope="module")
def frames():
    """One person in 18 of 24 frames, another one in 10; in the last two nobody."""
    present = np.zeros((2, COUNT), bool)
    present[0, :18], present[1, 12:22] = True, True
    return scene(present), present


def test_drawn_faces_of_all_emotions_are_found_where_they_are():
    rng = np.random.default_rng(3)
    found, count, half = 0, 0, 30.0
    for _ in range(4):
        cues = demo_truth._FACES + 0.4 * rng.normal(size=demo_truth._FACES.shape)
        centre = np.stack([rng.uniform(60, 100, 7), rng.uniform(60, 80, 7)], axis=1)
        plain = np.full((7, 160, 160), 0.5)
        pictures = drawing.draw_faces(plain, drawing.draw_look(rng), cues, centre, half)
        for picture, (x, y) in zip(np.rint(255 * pictures).astype(np.uint8), centre, strict=True):
            boxes = faces.find(picture)
            inside = [abs(a + w / 2 - x) < 0.3 * half and y < b + h / 2 < y + 0.6 * half for a, b, w, h in boxes]
            found, count = found + any(inside), count + 1
    assert found >= 0.95 * count


def test_the_person_in_most_frames_is_the_speaker(frames):
    pictures, present = frames
    made = faces.track(pictures)
    assert made.persons == 2 and made.frames == (18, 22)
    shown, anybody = made.face.any(axis=1), made.any_face.any(axis=1)
    np.testing.assert_array_equal(shown, present[0])
    np.testing.assert_array_equal(anybody, present.any(axis=0))
    alone = present[0] & ~present[1]
    np.testing.assert_array_equal(made.face[alone], made.any_face[alone])
    assert not made.face[present[1] & ~present[0]].any()


def test_who_comes_first_or_is_on_the_left_does_not_matter(frames):
    pictures, present = frames
    made = faces.track(pictures[::-1, :, ::-1].copy())
    np.testing.assert_array_equal(made.face.any(axis=1), present[0, ::-1])


def test_of_several_faces_in_a_frame_the_largest_is_any_face():
    first, second = looks()
    plain = np.full((1, 240, 320), 0.5)
    calm = np.zeros((1, 6))
    picture = drawing.draw_faces(plain, first, calm, np.array([[80.0, 90.0]]), 30)
    picture = drawing.draw_faces(picture, second, calm, np.array([[225.0, 100.0]]), 45)
    frame = np.rint(255 * picture[0]).astype(np.uint8)
    boxes = faces.find(frame)
    assert len(boxes) == 2
    largest = boxes[np.argmax(boxes[:, 2])]
    assert largest[0] > 150
    np.testing.assert_array_equal(faces.track([frame]).any_face[0], faces.crop(frame, largest).ravel())


def test_one_person_stays_one_whatever_the_expression():
    present = np.array([[True] * COUNT, [False] * COUNT])
    made = faces.track(scene(present, seed=2))
    assert made.persons == 1 and made.frames == (COUNT, COUNT)


def test_equal_crops_are_one_person():
    assert faces.group(np.full((5, 48, 48), 7, np.uint8)).tolist() == [0] * 5


def test_crops_hardly_depend_on_the_light(frames):
    frame = frames[0][0].astype(float)
    box = faces.find(frames[0][0])[0]
    bright, dim = (faces.crop(np.rint(a * frame + b).astype(np.uint8), box) for a, b in ((1, 0), (0.5, 60)))
    assert bright.shape == (48, 48) and np.abs(bright.astype(int) - dim).mean() < 6


def test_nobody_is_all_zeros():
    made = faces.track(np.full((3, 120, 160), 128, np.uint8))
    assert made.persons == 0 and made.frames == (0, 0)
    assert made.face.shape == (3, 48 * 48) and not made.face.any() and not made.any_face.any()


def boxes_of(*lists):
    return [np.array(own, int).reshape(-1, 4) for own in lists]


def test_a_box_that_most_frames_around_do_not_show_is_no_face():
    """A false one comes and goes; a face moves, is missed now and then, and keeps its first and last frames."""
    face = [[[50 + 2 * t, 40, 60, 60]] * (t not in (4, 9)) for t in range(20)]
    false = [[[55, 110, 50, 50]] * (t in (1, 2, 6, 12)) for t in range(20)]
    kept = faces.steady(boxes_of(*(one + other for one, other in zip(face, false, strict=True))))
    assert [own.tolist() for own in kept] == [
        [True] * len(one) + [False] * len(other) for one, other in zip(face, false, strict=True)
    ]


@pytest.mark.parametrize("count, kept", [(6, 6), (5, 0)])
def test_a_face_has_to_be_there_for_six_frames(count, kept):
    seen = boxes_of(*([[0, 0, 40, 40]] * (8 <= t < 8 + count) for t in range(30)))
    assert sum(own.sum() for own in faces.steady(seen)) == kept


def test_false_boxes_are_nobody_and_two_persons_stay_two(frames, monkeypatch):
    """A pattern in the background that is taken for a face in every fifth frame."""
    pictures, present = frames
    rng, find, calls = np.random.default_rng(0), faces.find, iter(range(COUNT))
    pattern = np.kron(rng.integers(0, 256, (6, 6)), np.ones((10, 10))).astype(np.uint8)
    noisy = [picture.copy() for picture in pictures]
    for picture in noisy:
        picture[-60:, :60] = pattern

    def find_more(frame):
        false = [[0, len(frame) - 60, 60, 60]] * (next(calls) % 5 == 0)
        return np.concatenate([find(frame), *boxes_of(false)])

    monkeypatch.setattr(faces, "find", find_more)
    made = faces.track(noisy)
    assert made.persons == 2 and made.frames == (18, 22)
    assert not made.any_face[~present.any(axis=0)].any()

"""Faces of the person whom a clip shows most: found in every frame, grouped by person, the largest group kept.

Frontal faces are found by OpenCV's bundled cascade; a box that most of the frames around do not show is taken for no
face. Faces are cropped, made grey, equalised and shrunk to 48 x 48. Crops are grouped by k-means on their principal
components, with k by the silhouette, and the group that is in most frames is taken for the speaker, as the paper does
(docs/affect_video.md). Who is seen most need not be who speaks, and a group may mix persons who look alike.

Departures from the paper, which leaves the rest open: the frames around, k from 2 to 5, one person unless the
silhouette is above `_ONE_PERSON`, the number of components and the sizes.
"""

import dataclasses
import functools
import itertools
import multiprocessing
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import threadpoolctl
from jaxtyping import Bool, Int, UInt8

_CASCADE = "haarcascade_frontalface_default.xml"
SIZE = 48  # pixels of a crop, each way
_SMALLEST = 0.1  # a face, as share of the height of the frame
_AROUND = 5  # frames before and after: more than half of them show a face again, while false boxes come and go
_MOVE = 0.3  # by which the box of a face moves and grows within them at most, as share of its width
_COMPONENTS = 16
_MOST_PERSONS = 5
_ONE_PERSON = 0.47
_SILHOUETTE_SAMPLE = 2000  # it takes the square of that many distances


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """What the frames of a clip show; a frame without such a face is all zeros.

    Attributes:
      face: of the person in most frames.
      any_face: the largest of each frame, whoever it is.
      frames: frames that show the person, and frames that show anybody.
      persons: number of groups; 0 where there is no face at all.
    """

    face: UInt8[np.ndarray, "t 2304"]
    any_face: UInt8[np.ndarray, "t 2304"]
    frames: tuple[int, int]
    persons: int


def card() -> dict[str, Any]:
    """How faces are made, for `corpus.json`."""
    return {
        "name": "frontal_faces",
        "cascade": _CASCADE,
        "size": SIZE,
        "smallest": _SMALLEST,
        "frames_around": _AROUND,
        "move_below": _MOVE,
        "components": _COMPONENTS,
        "most_persons": _MOST_PERSONS,
        "one_person_below": _ONE_PERSON,
    }


@functools.cache
def _cascade() -> Any:
    import cv2

    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(1)  # a worker among others, one for each core
    return cv2.CascadeClassifier(cv2.data.haarcascades + _CASCADE)


def find(frame: UInt8[np.ndarray, "h w"]) -> Int[np.ndarray, "n 4"]:
    """Boxes of frontal faces in a grey frame: x, y, width, height in pixels."""
    smallest = max(24, round(_SMALLEST * frame.shape[0]))
    boxes = _cascade().detectMultiScale(frame, scaleFactor=1.1, minNeighbors=5, minSize=(smallest, smallest))
    return np.asarray(boxes, np.int64).reshape(-1, 4)


def steady(boxes: Sequence[Int[np.ndarray, "_ 4"]]) -> list[Bool[np.ndarray, " _"]]:
    """For each frame, which of its boxes are in more than half of the frames around, its own included."""
    kept = []
    for number, here in enumerate(boxes):
        around, limit = boxes[max(0, number - _AROUND) : number + _AROUND + 1], _MOVE * here[:, None, 2:3]
        seen = sum((np.abs(here[:, None] - other) < limit).all(axis=2).any(axis=1).astype(int) for other in around)
        kept.append(2 * seen > len(around))
    return kept


def crop(frame: UInt8[np.ndarray, "h w"], box: Int[np.ndarray, " 4"]) -> UInt8[np.ndarray, "48 48"]:
    """The face in a box."""
    import cv2

    x, y, width, height = box
    return equalise(cv2.resize(frame[y : y + height, x : x + width], (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def equalise(face: UInt8[np.ndarray, "48 48"]) -> UInt8[np.ndarray, "48 48"]:
    """The same face with all grey values equally frequent, which takes out most of the light."""
    import cv2

    return cv2.equalizeHist(face)


def group(crops: UInt8[np.ndarray, "n 48 48"]) -> Int[np.ndarray, " n"]:
    """The person of each crop, numbered from 0; one person where no division is clear enough."""
    silhouette, persons = divide(crops)
    return persons if silhouette > _ONE_PERSON else np.zeros(len(crops), int)


def divide(crops: UInt8[np.ndarray, "n 48 48"]) -> tuple[float, Int[np.ndarray, " n"]]:
    """The best division of crops into two groups or more, and its silhouette; -1 where there is none."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    flat = crops.reshape(len(crops), -1)
    highest = min(_MOST_PERSONS, len(np.unique(flat, axis=0)) - 1)
    best, persons = -1.0, np.zeros(len(crops), int)
    if highest < 2:
        return best, persons
    with threadpoolctl.threadpool_limits(1):  # so little is computed that threads wait longer than they work
        components = PCA(min(_COMPONENTS, len(crops) - 1), svd_solver="randomized", random_state=0)
        embedded = components.fit_transform(flat.astype(np.float32) / 255)
        for k in range(2, highest + 1):
            labels = KMeans(k, n_init=10, random_state=0).fit_predict(embedded)
            size = _SILHOUETTE_SAMPLE if len(labels) > _SILHOUETTE_SAMPLE else None
            silhouette = silhouette_score(embedded, labels, sample_size=size, random_state=0)
            if silhouette > best:
                best, persons = float(silhouette), labels
    return best, persons


def collect(
    frames: Iterable[UInt8[np.ndarray, "h w"]],
) -> tuple[list[Int[np.ndarray, "_ 4"]], UInt8[np.ndarray, "n 48 48"]]:
    """The steady boxes of each frame of a clip, and the crops of all of them in turn."""
    boxes, crops = [], []
    for frame in frames:
        boxes.append(find(frame))
        crops += [crop(frame, box) for box in boxes[-1]]
    kept = steady(boxes)
    shown = np.array([face for face, yes in zip(crops, itertools.chain(*kept), strict=True) if yes], np.uint8)
    return [rows[yes] for rows, yes in zip(boxes, kept, strict=True)], shown


def track(frames: Iterable[UInt8[np.ndarray, "h w"]]) -> Faces:
    """Faces of a clip.

    Args:
      frames: grey, in the order of time.
    """
    boxes, crops = collect(frames)
    count = len(boxes)
    none = np.zeros((count, SIZE * SIZE), np.uint8)
    if not len(crops):
        return Faces(none, none, (0, 0), 0)
    index = np.repeat(np.arange(count), [len(rows) for rows in boxes])
    area = np.concatenate(boxes)[:, 2:].prod(axis=1)
    person = group(crops)
    seen = [len(np.unique(index[person == number])) for number in range(person.max() + 1)]
    speaker = person == int(np.argmax(seen))
    return Faces(
        face=_largest(crops[speaker], index[speaker], area[speaker], count),
        any_face=_largest(crops, index, area, count),
        frames=(max(seen), len(np.unique(index))),
        persons=len(seen),
    )


def _largest(
    crops: UInt8[np.ndarray, "n 48 48"], index: Int[np.ndarray, " n"], area: Int[np.ndarray, " n"], count: int
) -> UInt8[np.ndarray, "t 2304"]:
    """The largest crop of each frame."""
    largest = np.zeros((count, SIZE * SIZE), np.uint8)
    order = np.argsort(area, kind="stable")  # the last one written stays
    for i in order:
        largest[index[i]] = crops[i].ravel()
    return largest

"""Where clips, speakers and labels stand: `clips.csv` of any folder, or MELD as published.

    DIR/clips.csv          columns clip (file in DIR), speaker, and where known emotion, valence, arousal
    MELD/{train,dev,test}_sent_emo.csv and MELD/{train_splits,dev_splits_complete,output_repeated_splits_test}/

Words of a clip are never read: a column `text` of `clips.csv` is allowed, MELD's `Utterance` is always there.
"""

import csv
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.mmpsy import splits
from mmpsy_jax.errors import InputError, one_of

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
RATINGS = ("valence", "arousal")
LABELS = ("emotion", *RATINGS)
TABLE = "clips.csv"
REQUIRED, OPTIONAL = ("clip", "speaker"), (*LABELS, "text")

# Published split -> ours, and its folder of clips.
MELD_SPLITS = {
    "train": ("train", "train_splits"),
    "dev": ("validation", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
MELD_EMOTIONS = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprise",
}
_MELD_COLUMNS = ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
      name: unique id.
      group: who or what stays together in splits.
      labels: by name; NaN where missing. `emotion` is an index into `EMOTIONS`.
      path: of the video; None for a clip that is drawn.
      split: where the source itself says so.
    """

    name: str
    group: str
    labels: dict[str, float]
    path: Path | None = None
    split: str | None = None


def digest(clips: Sequence[Clip]) -> str:
    """Changes with any id, group, label, or size of a file."""
    made = hashlib.sha256()
    for clip in clips:
        size = clip.path.stat().st_size if clip.path else 0
        made.update(f"{clip.name}\x00{clip.group}\x00{clip.labels}\x00{clip.split}\x00{size}\n".encode())
    return made.hexdigest()

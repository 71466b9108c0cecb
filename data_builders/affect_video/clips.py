"""A clip, with what is said of it in a table, and its labels."""

import dataclasses
from pathlib import Path

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
RATINGS = ("valence", "arousal")
LABELS = ("emotion", *RATINGS)


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
      name: unique id.
      cluster: who or what stays together in splits.
      labels: by name; NaN where missing. `emotion` is an index into `EMOTIONS`.
      path: of the video; None for a clip that is drawn.
      split: where the source itself says so.
    """

    name: str
    cluster: str
    labels: dict[str, float]
    path: Path | None = None
    split: str | None = None

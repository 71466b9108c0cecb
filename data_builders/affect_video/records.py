"""A clip -> its record: windows of sound and faces side by side."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_builders.common import store
from mmpsy_jax.features import faces, video
from mmpsy_jax.features.mel import LogMel, MelSettings
from mmpsy_jax.features.recording import Level
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError

FRAMES_PER_SECOND = 10
# Sound seldom ends with the picture, and log-mel frames are centred: up to so many frames begin no window (our choice).
_SHORTEST_REST = 3
_SLACK_S = 0.2  # by which the header of a video may be longer than what is read
DTYPE = "float16"


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """What was seen and heard in a clip.

    Attributes:
      sound: log-mel windows; None where the clip has no sound.
      faces: of the speaker, and the largest of each frame; None where there is no face.
      sound_s: seconds of sound.
      frames: number of frames.
      notes: what is odd about it but no error.
    """

    sound: Windows | None
    faces: dict[str, UInt8[np.ndarray, "t 2304"]] | None
    sound_s: float
    frames: int
    notes: tuple[str, ...] = ()


def log_mel(window_seconds: float) -> LogMel:
    """The extractor of sound: the house's settings, in windows of their own without overlap."""
    return LogMel(MelSettings(window_seconds=window_seconds, overlap_seconds=0.0))


def modalities(window_seconds: float) -> dict[str, dict[str, Any]]:
    """The entry of `corpus.json`."""
    frames = round(window_seconds * FRAMES_PER_SECOND)
    face = {
        "kind": "features",
        "shape": [frames, faces.SIZE**2],
        "time_axis": 0,
        "extractor": faces.card() | {"frames_per_second": FRAMES_PER_SECOND},
    }
    return {"audio": log_mel(window_seconds).card(), "face": face, "any_face": face}


def read_clip(path: Path, window_seconds: float) -> Content:
    """Faces and sound of a video.

    Args:
      path: of it.
      window_seconds: of its record.

    Raises:
      InputError: no video, a damaged one, one with clipped sound, or with neither sound nor a face.
    """
    tracked = faces.track(video.frames(path, FRAMES_PER_SECOND))
    mel = log_mel(window_seconds)
    rate = mel.settings.sample_rate
    level = Level()
    samples = video.sound(path, rate, level)
    sound, notes = None, []
    if len(samples):
        notes.append(level.note(path))
        sound = None if level.silent else mel.extract_samples([[samples]], DTYPE)
    else:
        notes.append("has no sound")
    promised, decoded = video.length(path), max(len(tracked.face) / FRAMES_PER_SECOND, len(samples) / rate)
    if promised and promised - decoded > _SLACK_S and not level.shortened:
        notes.append(f"cut off: header {promised:.1f} s, found {decoded:.1f} s")
    if not tracked.persons:
        notes.append("shows no face")
    if sound is None and not tracked.persons:
        raise InputError(f"{path}: {' and '.join(notes)}: nothing is left to read; leave the clip out")
    shown = {"face": tracked.face, "any_face": tracked.any_face} if tracked.persons else None
    return Content(sound, shown, len(samples) / rate, len(tracked.face), tuple(filter(None, notes)))


def to_arrays(content: Content) -> dict[str, Any]:
    """As `store.Store` keeps it."""
    numbers = {"sound_s": content.sound_s, "frames": content.frames, "notes": content.notes}
    return numbers | (content.faces or {}) | store.of_windows(content.sound, "sound_")


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Content:
    """The inverse of `to_arrays`."""
    shown = {name: arrays[name] for name in ("face", "any_face")} if "face" in arrays else None
    notes = tuple(arrays["notes"].tolist())
    sound = store.to_windows(arrays, "sound_")
    return Content(sound, shown, float(arrays["sound_s"]), int(arrays["frames"]), notes)


def record(content: Content, window_seconds: float) -> dict[str, Any]:
    """The features of a clip's record (docs/architecture.md, "A record") beside id and labels.

    Args:
      content: of the clip.
      window_seconds: of a window.
    """
    entries = modalities(window_seconds)
    shown, heard = entries["face"]["shape"][0], entries["audio"]["shape"][1]
    sounding = 0 if content.sound is None else int(content.sound.lengths.sum()) - _SHORTEST_REST
    count = max(1, -(-content.frames // shown), -(-sounding // heard))
    features: dict[str, Any] = {
        "duration_s": content.sound_s,
        "n_windows": count,
        "window_start_s": (window_seconds * np.arange(count)).astype(np.float32),
    }
    for name, entry in entries.items():
        values, lengths = np.zeros((count, *entry["shape"]), DTYPE), np.zeros(count, np.int32)
        if name == "audio":
            if content.sound is not None:
                kept = min(count, len(content.sound.values))
                values[:kept], lengths[:kept] = content.sound.values[:kept], content.sound.lengths[:kept]
        elif content.faces is not None:
            values.reshape(count * shown, -1)[: content.frames] = content.faces[name] / 255.0
            lengths[:] = np.clip(content.frames - shown * np.arange(count), 0, shown)
        features |= {f"has_{name}": bool(lengths.any()), name: values, f"{name}_length": lengths}
    return features

"""A clip -> its record: windows of sound and faces side by side."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_builders.affect_video.source import Clip
from mmpsy_jax.features import faces, video
from mmpsy_jax.features.mel import LogMel, MelSettings
from mmpsy_jax.features.recording import Level
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError

FRAMES_PER_SECOND = 10
# Sound seldom ends with the picture, and log-mel frames are centred: up to so many frames begin no window (our choice).
_SHORTEST_REST = 3
_SLACK_S = 0.2  # by which the header of a video may be longer than what is read
DTYPE = np.float16


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


def read_clip(clip: Clip, window_seconds: float) -> Content:
    """Faces and sound of a video.

    Args:
      clip: with a path.
      window_seconds: of its record.

    Raises:
      InputError: no video, a damaged one, one with clipped sound, or with neither sound nor a face.
    """
    tracked = faces.track(video.frames(clip.path, FRAMES_PER_SECOND))
    mel = log_mel(window_seconds)
    rate = mel.settings.sample_rate
    level = Level()
    samples = video.sound(clip.path, rate, level)
    sound, notes = None, []
    if len(samples):
        notes.append(level.note(clip.path))
        sound = None if level.silent else mel.extract_samples([[samples]], DTYPE)
    else:
        notes.append("has no sound")
    promised, found = video.length(clip.path), max(len(tracked.face) / FRAMES_PER_SECOND, len(samples) / rate)
    if promised and promised - found > _SLACK_S and not level.shortened:
        notes.append(f"cut off: header {promised:.1f} s, found {found:.1f} s")
    if not tracked.persons:
        notes.append("shows no face")
    if sound is None and not tracked.persons:
        raise InputError(f"{clip.path}: {' and '.join(notes)}: nothing is left to read; leave the clip out")
    shown = {"face": tracked.face, "any_face": tracked.any_face} if tracked.persons else None
    return Content(sound, shown, len(samples) / rate, len(tracked.face), tuple(filter(None, notes)))


def outcome(read: Callable[[Clip], Content], clip: Clip) -> Content | InputError:
    """What `read` gives, or what is wrong with the clip, so that other clips of a worker are not lost with it."""
    try:
        return read(clip)
    except InputError as error:
        return error


def record(clip: Clip, content: Content, cluster: str, window_seconds: float) -> dict[str, Any]:
    """The record of a clip (docs/architecture.md, "A record").

    Args:
      clip: id, cluster and labels.
      content: of the clip.
      cluster: name of the feature that holds the clip's cluster.
      window_seconds: of a window.
    """
    entries = modalities(window_seconds)
    shown, heard = entries["face"]["shape"][0], entries["audio"]["shape"][1]
    sounding = 0 if content.sound is None else int(content.sound.lengths.sum()) - _SHORTEST_REST
    count = max(1, -(-content.frames // shown), -(-sounding // heard))
    made: dict[str, Any] = {
        "participant": clip.name,
        cluster: clip.cluster,
        **{name: np.float32(value) for name, value in clip.labels.items()},
        "n_answers": 1,
        "n_characters": 0,
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
        made |= {f"has_{name}": bool(lengths.any()), name: values, f"{name}_length": lengths}
    return made

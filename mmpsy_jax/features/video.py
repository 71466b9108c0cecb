"""Video files -> grey frames at a fixed rate, and their sound, on one clock.

Read by PyAV (FFmpeg). Times are those of the container, from its start. Our choice: the frame at t is the one that is
shown then, large frames are shrunk to 720 rows, channels of sound are averaged as those of recordings are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mmpsy_jax.errors import InputError
from mmpsy_jax.features.recording import Level, decoded, open_av, promised, resampled, sound_stream

_MOST_ROWS = 720
_REMEDY = "give a video file that FFmpeg reads, for example mp4 or mkv"
# Clocks of containers are coarse (a millisecond in mkv): a frame this early is not yet late.
_TOLERANCE_S = 2e-3


def frames(path: Path, per_second: float) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Grey frames at 0, 1 / per_second, 2 / per_second, ... seconds, up to the end of the last one.

    Args:
      path: of the file.
      per_second: how many.

    Raises:
      InputError: no video, or a damaged one.
    """
    with open_av(path, "video", _REMEDY) as (container, start):
        shown, given, end = None, 0, 0.0
        for frame in container.decode(video=0) if container.streams.video else ():
            time = (frame.time or 0.0) - start
            while shown is not None and given / per_second < time - _TOLERANCE_S:
                yield _grey(shown)
                given += 1
            shown, end = frame, time + _seconds(frame, container)
        if shown is None:
            raise InputError(f"{path}: holds no pictures: {_REMEDY}")
        while given / per_second < end - _TOLERANCE_S:
            yield _grey(shown)
            given += 1


def _seconds(frame: Any, container: Any) -> float:
    """How long a frame is shown."""
    if frame.duration:
        return float(frame.duration * frame.time_base)
    return float(1 / (container.streams.video[0].average_rate or 25))


def _grey(frame: Any) -> UInt8[np.ndarray, "h w"]:
    scale = min(1.0, _MOST_ROWS / frame.height)
    small = frame.reformat(round(scale * frame.width), round(scale * frame.height), "gray")
    # Telephones note how they were held; the angle is counterclockwise.
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), round(frame.rotation / 90)))


def sound(path: Path, sample_rate: int, level: Level | None = None) -> Float32[np.ndarray, " n"]:
    """Samples of the first track of sound between -1 and 1, mono, from the start of the container; empty without one.

    Args:
      path: of the file.
      sample_rate: in Hz.
      level: is filled with what is odd about the sound.

    Raises:
      InputError: no video, or a damaged one.
    """
    level = Level() if level is None else level
    with open_av(path, "video", _REMEDY) as (container, start):
        stream = sound_stream(container, path)
        if stream is None:
            return np.zeros(0, np.float32)
        level.promised_s = promised(container, stream)
        blocks = decoded(container, stream, start, level, path)
        return np.concatenate(
            [np.zeros(0, np.float32), *resampled(path, stream.rate, blocks, sample_rate, level)], dtype=np.float32
        )

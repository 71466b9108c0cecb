"""Video files -> grey frames at a fixed rate, and their sound, on one clock.

Read by PyAV (FFmpeg). Times are those of the container, from its start. Our choice: the frame at t is the one that is
shown then, large frames are shrunk to 720 rows, channels of sound are averaged as those of recordings are.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from jaxtyping import Float32, UInt8

from mmpsy_jax.errors import InputError

_MOST_ROWS = 720
_REMEDY = "give a video file that FFmpeg reads, for example mp4 or mkv"
# Clocks of containers are coarse (a millisecond in mkv): a frame this early is not yet late.
_TOLERANCE_S = 2e-3


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[Any, float]]:
    """The container and the second at which it starts; what FFmpeg raises inside becomes an InputError."""
    import av

    try:
        with av.open(str(path)) as container:
            yield container, (container.start_time or 0) / av.time_base
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a video ({reason}): {_REMEDY}") from error


def frames(path: Path, per_second: float) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Grey frames at 0, 1 / per_second, 2 / per_second, ... seconds, up to the end of the last one.

    Args:
      path: of the file.
      per_second: how many.

    Raises:
      InputError: no video, or a damaged one.
    """
    with _open(path) as (container, start):
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


def sound(path: Path, sample_rate: int) -> Float32[np.ndarray, " n"]:
    """Samples of the first track of sound between -1 and 1, mono, from the start of the container; empty without one.

    Args:
      path: of the file.
      sample_rate: in Hz.

    Raises:
      InputError: no video, or a damaged one.
    """
    import av

    with _open(path) as (container, start):
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        blocks, rate, late = [], container.streams.audio[0].rate, None
        to_float = av.AudioResampler(format="fltp")
        for frame in container.decode(audio=0):
            late = max(0.0, (frame.time or 0.0) - start) if late is None else late
            blocks += [made.to_ndarray().mean(axis=0) for made in to_float.resample(frame)]
        if not blocks:
            return np.zeros(0, np.float32)
        samples = np.concatenate([np.zeros(round(late * rate), np.float32), *blocks])
    return samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate)

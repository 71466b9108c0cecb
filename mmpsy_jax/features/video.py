"""Video files -> grey frames at a fixed rate, and their sound, on one clock.

Read by PyAV (FFmpeg). Times are those of the container, from its start. The frame at t is the one that is shown then,
pixels are made square, large frames are shrunk to 720 rows. Sound is read as that of recordings.
"""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mmpsy_jax.features.recording import HOLD_LENGTH, Level, decoded, open_av, promised, resampled, sound_stream
from mmpsy_jax.io import InputError

_MOST_ROWS = 720
_WIDEST = 4  # pixels may be so much wider than high, or higher than wide; beyond it the file is wrong
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
        shown, count, end = None, 0, 0.0
        for frame, time, until in _timed(container, start):
            while shown is not None and count / per_second < time - _TOLERANCE_S:
                yield _grey(shown, container)
                count += 1
            shown, end = frame, until
        if shown is None:
            raise InputError(f"{path}: holds no pictures: {_REMEDY}")
        while count / per_second < end - _TOLERANCE_S:
            yield _grey(shown, container)
            count += 1


def _timed(container: Any, start: float) -> Iterator[tuple[Any, float, float]]:
    """Pictures in the order in which they are shown, with the seconds at which each begins and ends.

    Decoders give them in this order. AVI counts them in the order in which they were coded, and what it says of a
    picture is then true of another one: the next picture has the next time there. Elsewhere a picture without a time,
    or with one that lies before that of the picture before, follows at once.
    """
    if not container.streams.video:
        return
    stream, counted, end, begun = container.streams.video[0], container.format.name == "avi", 0.0, -1.0
    waiting: collections.deque[int | None] = collections.deque()
    for packet in container.demux(stream):
        if counted and packet.size:
            waiting.append(packet.dts)
        for frame in packet.decode():
            stamp = (waiting.popleft() if waiting else None) if counted else frame.pts
            time = end if stamp is None else float(stamp * stream.time_base) - start
            begun = end if time < begun else time
            end = begun + _seconds(frame, stream)
            yield frame, begun, end


def _seconds(frame: Any, stream: Any) -> float:
    """How long a frame is shown."""
    if frame.duration:
        return float(frame.duration * frame.time_base)
    return float(1 / (stream.average_rate or 25))


def _grey(frame: Any, container: Any) -> UInt8[np.ndarray, "h w"]:
    scale, aspect = min(1.0, _MOST_ROWS / frame.height), float(container.streams.video[0].sample_aspect_ratio or 1)
    width = max(1, round(scale * frame.width * (aspect if 1 / _WIDEST <= aspect <= _WIDEST else 1.0)))
    small = frame.reformat(width, round(scale * frame.height), "gray")
    # Telephones note how they were held; the angle is counterclockwise.
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), round(frame.rotation / 90)))


def length(path: Path) -> float | None:
    """Seconds of a video by the header of its container; None where that does not say it.

    Raises:
      InputError: no video.
    """
    with open_av(path, "video", _REMEDY) as (container, _):
        known = container.duration and container.format.name.startswith(HOLD_LENGTH)
        return container.duration / 1e6 if known else None


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

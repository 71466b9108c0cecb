"""Recordings of which some stretches or one channel are used, and where in the recording each second of them lies."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mmpsy_jax.features import recording
from mmpsy_jax.features.recording import Level
from mmpsy_jax.features.script_lines import Span
from mmpsy_jax.io import file_sha256


@dataclasses.dataclass(frozen=True)
class Clip:
    """What is used of a recording.

    Attributes:
      path: of it.
      stretches: that are used, ascending and apart, in seconds; they are joined. None for all of it.
      channel: the only one that is used, from 1, whatever the settings of an extractor; 0 follows these.
    """

    path: Path
    stretches: tuple[Span, ...] | None = None
    channel: int = 0

    def __str__(self) -> str:
        return str(self.path)

    def samples(self, sample_rate: int, level: Level, channel: int = 0) -> Iterator[Float32[np.ndarray, " n"]]:
        """Blocks of what is used; arguments and errors as of `recording.samples`, `level` is of the whole recording."""
        blocks = recording.samples(self.path, sample_rate, level, self.channel or channel)
        if self.stretches is None:
            yield from blocks
            return
        bounds = [(round(start * sample_rate), round(end * sample_rate)) for start, end in self.stretches]
        position, k = 0, 0
        for block in blocks:
            end = position + len(block)
            while k < len(bounds) and bounds[k][0] < end:
                yield block[max(0, bounds[k][0] - position) : bounds[k][1] - position]
                if bounds[k][1] > end:
                    break
                k += 1
            position = end

    def about(self) -> dict[str, Any]:
        """What tells it from the whole recording; empty for that."""
        stretches = {} if self.stretches is None else {"stretches": [list(span) for span in self.stretches]}
        return {**stretches, **({"channel": self.channel} if self.channel else {})}

    def sha256(self) -> str:
        """Of the file; another one of each part of it."""
        whole = file_sha256(self.path)
        return whole if not self.about() else hashlib.sha256(f"{whole} {self.about()}".encode()).hexdigest()


def as_clips(recordings: Sequence[Path | Clip]) -> list[Clip]:
    """Recordings as clips, whole where they are none yet."""
    return [one if isinstance(one, Clip) else Clip(one) for one in recordings]


def divide(
    recordings: Sequence[Path], seconds: Sequence[float], stretches: Sequence[Span] | None, channel: int = 0
) -> list[Path | Clip]:
    """What is used of recordings that lie one behind the other, without those of which nothing is.

    Args:
      recordings: in order.
      seconds: length of each.
      stretches: that are used, in seconds from the beginning of the first one; None for everything.
      channel: of all of them.
    """
    if stretches is None:
        return [Clip(path, None, channel) if channel else path for path in recordings]
    clips: list[Path | Clip] = []
    start = 0.0
    for path, length in zip(recordings, seconds, strict=True):
        inside = [(max(a, start) - start, min(b, start + length) - start) for a, b in stretches]
        inside = [span for span in inside if span[0] < span[1]]
        clips += [Clip(path, tuple(inside), channel)] if inside else []
        start += length
    return clips


class Timeline:
    """Between the time of stretches that are joined, and that of the recordings which they were cut out of.

    Args:
      stretches: ascending and apart.
    """

    def __init__(self, stretches: Sequence[Span]):
        lengths = [end - start for start, end in stretches]
        self._starts = np.array([start for start, _ in stretches])
        self._joined = np.array([0.0, *itertools.accumulate(lengths)])
        self._edges = np.array(stretches, np.float64).reshape(-1)

    def joined(self, seconds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Seconds of the recordings, in the joined stretches; between two of these, where they meet."""
        return np.interp(seconds, self._edges, np.repeat(self._joined, 2)[1:-1])

    def source(self, seconds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Seconds of the joined stretches, in the recordings; where two meet, the start of the second."""
        k = np.clip(np.searchsorted(self._joined, seconds, side="right") - 1, 0, len(self._starts) - 1)
        return self._starts[k] + seconds - self._joined[k]

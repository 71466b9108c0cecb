"""What the synthetic trees of all layouts are made of: tones for voices."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000


def write_voice(
    file: Path, draw: np.random.Generator, turns: Sequence[tuple[float, float]], rate: int = RATE, channels: int = 1
) -> None:
    """Writes a recording of tones, one behind the other, with a little noise.

    Args:
      file: its folder is made.
      draw: of noise and overtones.
      turns: (height in Hz, 0 for silence; seconds) of each.
      rate: samples per second.
      channels: that all hold the same.
    """
    sound = []
    for height, seconds in turns:
        time = np.arange(round(seconds * rate)) / rate
        voice = np.zeros(len(time))
        for k, loud in enumerate(draw.uniform(0.3, 1.0, 4) if height else ()):
            voice += loud * np.sin(2 * np.pi * height * (k + 1) * time)
        beat = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)  # about four syllables in a second
        sound.append(0.08 * voice * beat + 0.002 * draw.standard_normal(len(time)))
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = np.concatenate(sound).astype(np.float32)
    soundfile.write(file, np.stack([samples] * channels, axis=1), rate, subtype="PCM_16")


def write_sheet(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Writes a workbook of one sheet; None is an empty cell."""
    import openpyxl  # takes as long as numpy

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    book.save(file)


# Made up: what is said more often by those with high scores, and what by everybody.
LOW = ("tired", "alone", "heavy", "nothing", "gray")
COMMON = ("well", "work", "sunday", "garden", "people", "train", "music", "yes", "morning", "kitchen")
LOW_ZH, COMMON_ZH = "累孤灰沉空", "好今天家里工作朋友音乐早上"


def words(draw: np.random.Generator, share: float, count: int, low: str | Sequence[str] = LOW) -> str:
    """Words without a sense, as they are written in their language.

    Args:
      draw: of which.
      share: of the score in its maximum: the larger, the more of `low`.
      count: how many.
      low: `LOW` or `LOW_ZH`.
    """
    common = COMMON if low is LOW else COMMON_ZH
    picked = [draw.choice(list(low if draw.random() < 0.6 * share else common)) for _ in range(count)]
    return (" " if low is LOW else "").join(picked)


def scores(draw: np.random.Generator, count: int, most: int, cutoff: int) -> list[int]:
    """Scores of so many people, about half of them from the cut-off on, so that folds of few people have both."""
    return [int(draw.integers(cutoff, most + 1) if i % 2 else draw.integers(0, cutoff)) for i in range(count)]

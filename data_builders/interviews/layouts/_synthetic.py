"""What the synthetic trees of all layouts are made of: tones for voices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write_voice(file: Path, draw: np.random.Generator, turns: Sequence[tuple[float, float]], rate: int = RATE) -> None:
    """Writes a recording of tones, one behind the other, with a little noise.

    Args:
      file: its folder is made.
      draw: of noise and overtones.
      turns: (height in Hz, 0 for silence; seconds) of each.
      rate: samples per second.
    """
    sound = []
    for height, seconds in turns:
        time = np.arange(round(seconds * rate)) / rate
        overtones = draw.uniform(0.3, 1.0, 4) * bool(height)
        voice = sum(a * np.sin(2 * np.pi * height * (k + 1) * time) for k, a in enumerate(overtones))
        beat = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)  # about four syllables in a second
        sound.append(0.08 * voice * beat + 0.002 * draw.standard_normal(len(time)))
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.concatenate(sound).astype(np.float32), rate, subtype="PCM_16")

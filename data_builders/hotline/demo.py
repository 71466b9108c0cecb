"""A synthetic source in the layout of `source.py`: callers whose emotions are tones. Nothing of it is a recording.

Caller c has an inclination to each emotion and a trend over the call: P(emotion k in segment j of n) =
sigmoid(a_ck + b_ck (j / (n - 1) - 1/2)), a_ck ~ N(-1.4, 0.8), b_ck ~ N(0, 1.5). A segment is the harmonics of the
caller's voice and white noise, and for each emotion that holds a tone of its own frequency, which comes and goes four
times a second. All constants are our choice.
"""

from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from data_builders.hotline.columns import AUDIO_FOLDER, CALLER_ROLE, EMOTIONS, NEGATIVE
from mmpsy_jax.io import InputError, write_table

CALLERS, SEGMENTS = 24, 12
SAMPLE_RATE = 16_000
SECONDS = (1.0, 3.0)
_OPERATOR_ROLE = 0
_LOWEST_TONE, _STEP = 400.0, 1.22  # Hz, ratio of neighbouring tones
_TONE, _VOICE, _NOISE = 0.08, 0.05, 0.02


def write(folder: Path, *, participants: int = CALLERS, seed: int = 0, seconds: tuple[float, float] = SECONDS) -> None:
    """Writes the source as `Config.demo` does; how well it can be told is not known."""
    write_source(folder, participants, seed, seconds)


def write_source(folder: Path, callers: int = CALLERS, seed: int = 0, seconds: tuple[float, float] = SECONDS) -> None:
    """Writes tables and wav files of so many callers; a caller's depend on its number and the seed only.

    Args:
      folder: created where missing.
      callers: how many, at least 3.
      seed: of everything.
      seconds: shortest and longest segment.

    Raises:
      InputError: too few callers.
    """
    if callers < 3:
        raise InputError(f"hotline demo: {callers} callers: give at least 3, one per split")
    for number in range(callers):
        _write_call(folder, f"caller_{number}", np.random.default_rng([seed, number]), seconds)


def _write_call(folder: Path, caller: str, rng: np.random.Generator, seconds: tuple[float, float]) -> None:
    inclination, trend = rng.normal(-1.4, 0.8, len(EMOTIONS)), rng.normal(0, 1.5, len(EMOTIONS))
    pitch, clock = rng.uniform(90, 240), 0.0
    audio = folder / AUDIO_FOLDER / caller
    audio.mkdir(parents=True, exist_ok=True)
    rows = []
    for turn in range(2 * SEGMENTS):  # the operator speaks first, then in turn
        if turn % 2 == 0:
            rows.append([turn, _OPERATOR_ROLE, round(clock, 2), 0, *[0] * len(EMOTIONS)])
            clock += rng.uniform(*seconds)
            continue
        odds = inclination + trend * (turn / (2 * SEGMENTS - 1) - 0.5)
        present = rng.uniform(size=len(EMOTIONS)) < 1 / (1 + np.exp(-odds))
        samples = _segment(present, pitch, rng.uniform(*seconds), rng)
        soundfile.write(audio / f"{turn}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        rows.append([turn, CALLER_ROLE, round(clock, 2), int(present.any()), *present.astype(int)])
        clock += len(samples) / SAMPLE_RATE
    write_table(folder / f"{caller}.csv", ["index", "role", "start_s", NEGATIVE, *EMOTIONS], rows)


def _segment(present: np.ndarray, pitch: float, seconds: float, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = _NOISE * rng.standard_normal(len(time))
    for harmonic in range(1, 4):
        sound += _VOICE / harmonic * np.sin(2 * np.pi * harmonic * pitch * time + rng.uniform(0, 2 * np.pi))
    for k in np.flatnonzero(present):
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time + rng.uniform(0, 2 * np.pi))
        sound += _TONE * swell * np.sin(2 * np.pi * _LOWEST_TONE * _STEP**k * time + rng.uniform(0, 2 * np.pi))
    return sound.astype(np.float32)

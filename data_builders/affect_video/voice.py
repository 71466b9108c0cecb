"""A synthetic voice whose pitch, pace, strength and colour follow cues: a pulse wave through resonances, in syllables.

All constants are our choice; nobody's voice was a model.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

_HARMONICS = 20
_TABLE = 512  # samples of a period
_NOISE = 0.002  # background, the same for all: energy is heard against it


@dataclasses.dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
      pitch: of a neutral voice in Hz.
      tempo: its syllables per second.
      formants: resonances in Hz.
    """

    pitch: float
    tempo: float
    formants: tuple[float, ...]


def draw_voice(rng: np.random.Generator) -> Voice:
    """A speaker by chance."""
    return Voice(
        pitch=rng.uniform(140, 165),
        tempo=rng.uniform(3.4, 3.8),
        formants=(rng.uniform(510, 590), rng.uniform(1400, 1600), rng.uniform(2450, 2650)),
    )


def speak(
    rng: np.random.Generator,
    voice: Voice,
    cues: Float[np.ndarray, " 5"],
    intensity: Float[np.ndarray, " n"],
    sample_rate: int,
) -> Float32[np.ndarray, " n"]:
    """Sound of a clip.

    Args:
      rng: of syllables and noise.
      voice: of the speaker.
      cues: `demo_truth.VOICE_CUES`; zeros are a neutral voice.
      intensity: share of the cues at each sample.
      sample_rate: in Hz.
    """
    from scipy import signal

    pitch, pitch_range, tempo, energy, brightness = cues
    n = len(intensity)
    time = np.arange(n) / sample_rate
    # A syllable is half a sine in strength, and a step in pitch.
    beat = np.cumsum(voice.tempo * np.exp(0.45 * tempo * intensity)) / sample_rate + rng.uniform()
    syllable = beat.astype(int)
    melody = rng.normal(size=syllable[-1] + 1)[syllable] + np.sin(2 * np.pi * (0.4 * time + rng.uniform()))
    octaves = 0.5 * pitch * intensity + 0.12 * np.exp(0.8 * pitch_range * intensity) * melody
    cycles = np.cumsum(voice.pitch * 2 ** np.clip(octaves, -1.2, 1.6)) / sample_rate
    strength = np.sin(np.pi * (beat - syllable)) ** 1.5 * np.exp(0.8 * energy * intensity)
    place = (_TABLE * cycles).astype(int) % _TABLE
    dark, bright = _periods()
    share = 1 / (1 + np.exp(-2 * brightness * intensity))
    wave = strength * ((1 - share) * dark[place] + share * bright[place])
    for formant in voice.formants:
        b, a = signal.iirpeak(formant, 4, fs=sample_rate)
        wave = wave + signal.lfilter(b, a, wave)
    return (0.02 * wave + _NOISE * rng.normal(size=n)).astype(np.float32)


def _periods() -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """One period of a dark and of a bright voice."""
    k = np.arange(1, _HARMONICS + 1)
    waves = np.sin(2 * np.pi * np.outer(np.arange(_TABLE) / _TABLE, k))
    return waves @ k**-2.5, 0.5 * waves @ k**-0.3

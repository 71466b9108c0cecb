"""Recordings as they are: windows of 16-bit samples, for speech encoders that read waveforms."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.features import mel
from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.recording import Level, require_channel
from mmpsy_jax.features.windows import SoundExtractor, Windows, cut_sound, require
from mmpsy_jax.rules import number, whole

LONGEST_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class WaveformSettings:
    """How recordings become windows of samples.

    Attributes:
      sample_rate: recordings are resampled to it, in Hz; pretrained encoders expect 16,000.
      window_seconds: longer recordings become several windows, which do not overlap.
      channel: as of `MelSettings`.

    Raises:
      InputError: a value that cannot be.
    """

    sample_rate: int = 16000
    window_seconds: float = 10.0
    channel: int = 0

    def __post_init__(self):
        require_channel("waveform", self.channel)
        require("waveform settings: sample_rate", self.sample_rate, whole(1))
        rule = number(0, LONGEST_SECONDS, above=True)
        require("waveform settings: window_seconds", self.window_seconds, rule, ", which is what Whisper hears")

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def step_seconds(self) -> float:
        """From one window to the next."""
        return self.window_seconds


class Waveform(SoundExtractor):
    """The extractor of recordings as samples, whose values are those of 16-bit samples."""

    name = "waveform"

    def __init__(self, settings: WaveformSettings = WaveformSettings()):
        self.settings = settings

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: samples, 1."""
        return self.settings.window_samples, 1

    def about(self) -> dict[str, Any]:
        """Samples are whole numbers."""
        return {"dtype": "int16"}

    def extract(self, recordings: Sequence[Path | Clip], dtype: np.dtype) -> Windows:
        """As of `SoundExtractor`; a recording that is clipped or without sound is an error."""
        clips = as_clips(recordings)
        rate, levels = self.settings.sample_rate, [Level() for _ in clips]
        blocks = [
            block
            for clip, level in zip(clips, levels, strict=True)
            for block in clip.samples(rate, level, self.settings.channel)
        ]
        notes = [level.note(clip.path) for clip, level in zip(clips, levels, strict=True)]
        joined = np.clip(np.rint(np.concatenate(blocks) * mel.SCALE), -mel.SCALE, mel.SCALE - 1).astype(dtype)
        seconds = [level.seconds for level in levels]
        return cut_sound(joined[:, None], self.settings.window_samples, rate, seconds, notes)

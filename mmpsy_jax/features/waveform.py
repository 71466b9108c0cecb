"""Recordings as they are: windows of 16-bit samples, for speech encoders that read waveforms."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.features import mel, text
from mmpsy_jax.features.recording import Level, require_channel, samples
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError

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
        rate, seconds = self.sample_rate, self.window_seconds
        if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
            raise InputError(f"waveform settings: sample_rate is {rate!r}, must be a whole number above 0")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SECONDS:
            raise InputError(
                f"waveform settings: window_seconds is {seconds!r}, must be a number above 0 and at most "
                f"{LONGEST_SECONDS}, which is what Whisper hears"
            )

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def step_seconds(self) -> float:
        """From one window to the next."""
        return self.window_seconds


class Waveform:
    """The extractor of recordings as samples.

    Attributes:
      name, kind, time_axis: for the card of a corpus.
      settings: of the windows.
    """

    name, kind, time_axis = "waveform", "features", 0

    def __init__(self, settings: WaveformSettings = WaveformSettings()):
        self.settings = settings

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: samples, 1."""
        return self.settings.window_samples, 1

    def card(self) -> dict[str, Any]:
        """The modality's entry in `corpus.json`."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "time_axis": self.time_axis,
            "dtype": "int16",
            "extractor": {"name": self.name, **dataclasses.asdict(self.settings)},
        }

    def extract(self, recordings: Sequence[Path], dtype: np.dtype) -> Windows:
        """Windows of the recordings of one participant, in order, one behind the other.

        Args:
          recordings: files.
          dtype: of the windows; values are those of 16-bit samples.

        Raises:
          InputError: a file that is no recording, without sound or clipped.
        """
        levels = [Level() for _ in recordings]
        blocks = [
            block
            for path, level in zip(recordings, levels, strict=True)
            for block in samples(path, self.settings.sample_rate, level, self.settings.channel)
        ]
        notes = tuple(level.note(path) for path, level in zip(recordings, levels, strict=True))
        joined = np.clip(np.rint(np.concatenate(blocks) * mel.SCALE), -mel.SCALE, mel.SCALE - 1).astype(dtype)
        size = self.settings.window_samples
        values, lengths = text.windows(joined[:, None], size)
        return Windows(
            values=values,
            lengths=lengths,
            start_s=(size * np.arange(len(values)) / self.settings.sample_rate).astype(np.float32),
            duration_s=len(joined) / self.settings.sample_rate,
            parts_s=tuple(level.seconds for level in levels),
            notes=notes,
        )

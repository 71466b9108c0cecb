"""Log-mel windows of recordings, as the MMPsy release defines them, from files of any length in little memory.

Recordings of one participant, one behind the other, at 16 kHz in mono on the scale of 16-bit samples -> mel power of 80
bands (n_fft 2048, hop 533, centred frames) -> dB, cut off 80 dB below the loudest value -> z-normalised over everything
-> windows of 1,800 frames every 1,500, the last one zero-padded. (Facts of the release's feature script. It resamples
by linear interpolation, we by soxr: alike for recordings that are at 16 kHz already.) `MelSettings` changes any of it.

Cut-off, mean and deviation are those of the whole recording. So it is read once, block by block, into a temporary file
of dB values (10 kB a second); that file is read once for mean and deviation, and once more for the windows. In memory
are a block and the windows themselves (20 MB an hour in float16).
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import librosa
import numpy as np
from jaxtyping import Float32, Shaped

from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.recording import BLOCK_SECONDS, Level, require_channel
from mmpsy_jax.features.windows import SoundExtractor, Windows, require
from mmpsy_jax.io import InputError
from mmpsy_jax.rules import number, whole

# Samples of the release are 16-bit numbers; this matters only beside the floor of dB values, `AMIN`.
SCALE = 32768.0
AMIN = 1e-10
_SOME_SOUND = "a recording must hold some sound"


@dataclasses.dataclass(frozen=True)
class MelSettings:
    """How recordings become windows; the defaults are those of the MMPsy release.

    Attributes:
      sample_rate: recordings are resampled to it, in Hz.
      n_fft: samples per frame (Hann window).
      hop: samples between frames.
      bands: number of mel bands (Slaney's scale and normalisation, as librosa's default).
      fmin, fmax: edges of the bands in Hz; None is half the sample rate.
      top_db: values this far below the loudest one are cut off.
      window_seconds, overlap_seconds: of the windows.
      channel: of recordings with several the only one that is used, from 1; 0 averages them.

    Raises:
      InputError: a value that cannot be.
    """

    sample_rate: int = 16000
    n_fft: int = 2048
    hop: int = 533
    bands: int = 80
    fmin: float = 0.0
    fmax: float | None = None
    top_db: float = 80.0
    window_seconds: float = 60.0
    overlap_seconds: float = 10.0
    channel: int = 0

    def __post_init__(self):
        for field in ("sample_rate", "n_fft", "hop", "bands"):
            require(f"mel settings: {field}", getattr(self, field), whole(1))
        require_channel("mel", self.channel)
        for field in ("fmin", "top_db", "window_seconds", "overlap_seconds", *(["fmax"] * (self.fmax is not None))):
            require(f"mel settings: {field}", getattr(self, field), number())
        if not 0 <= self.fmin < self.highest_hz <= self.sample_rate / 2:
            raise InputError(
                f"mel settings: bands from {self.fmin:g} to {self.highest_hz:g} Hz: must ascend, within 0 and half the "
                f"sample rate ({self.sample_rate / 2:g} Hz)"
            )
        if self.n_fft % 2 or self.hop > self.n_fft or self.top_db <= 0:
            raise InputError("mel settings: n_fft must be even, hop at most n_fft, top_db above 0")
        if self.step_frames < 1 or self.overlap_seconds < 0:
            raise InputError(
                f"mel settings: windows of {self.window_seconds:g} s that overlap by {self.overlap_seconds:g} s: the "
                "overlap must be at least 0 and shorter than the window"
            )

    @property
    def highest_hz(self) -> float:
        """Upper edge of the highest band."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def frames_per_second(self) -> float:
        """`sample_rate / hop`, or the whole number within a thousandth of it: the release calls its 30.02 30."""
        exact = self.sample_rate / self.hop
        return float(round(exact)) if abs(exact - round(exact)) < 1e-3 * exact else exact

    @property
    def window_frames(self) -> int:
        """Frames of a window."""
        return round(self.window_seconds * self.frames_per_second)

    @property
    def step_frames(self) -> int:
        """Frames from one window to the next."""
        return round((self.window_seconds - self.overlap_seconds) * self.frames_per_second)

    @property
    def step_seconds(self) -> float:
        """Seconds from one window to the next."""
        return self.step_frames / self.frames_per_second


RELEASE = MelSettings()


def padded(
    sources: Iterable[Iterable[Float32[np.ndarray, " n"]]], settings: MelSettings = RELEASE
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Blocks of recordings one behind the other, with the zeros that centre the first and the last frame."""
    ends = np.zeros(settings.n_fft // 2, np.float32)
    yield ends
    for source in sources:
        yield from source
    yield ends


def decibels(
    blocks: Iterable[Float32[np.ndarray, " n"]], settings: MelSettings = RELEASE
) -> Iterator[Float32[np.ndarray, "frames bands"]]:
    """Mel power in dB by librosa, block by block, without the cut-off.

    Args:
      blocks: from `padded`.
      settings: of the frames and bands.
    """
    buffer = np.zeros(0)
    for block in blocks:
        buffer = np.concatenate([buffer, block * SCALE])
        frames = (len(buffer) - settings.n_fft) // settings.hop + 1
        if frames < 1:
            continue
        power = librosa.feature.melspectrogram(
            y=buffer[: (frames - 1) * settings.hop + settings.n_fft],
            sr=settings.sample_rate,
            n_fft=settings.n_fft,
            hop_length=settings.hop,
            n_mels=settings.bands,
            fmin=settings.fmin,
            fmax=settings.highest_hz,
            center=False,
        )
        buffer = buffer[frames * settings.hop :]
        yield librosa.power_to_db(power, amin=AMIN, top_db=None).T.astype(np.float32)


# Blocks of samples from `padded` -> blocks of dB values; `decibels`, or that of `benchmarks/jitted_mel.py`.
Transform = Callable[[Iterable[np.ndarray], MelSettings], Iterable[np.ndarray]]


class LogMel(SoundExtractor):
    """The extractor of recordings: log-mel windows."""

    name, kind, time_axis = "log_mel", "frames", 1

    def __init__(self, settings: MelSettings = RELEASE, transform: Transform = decibels):
        self.settings = settings
        self._transform = transform

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: bands, frames."""
        return self.settings.bands, self.settings.window_frames

    def extract(self, recordings: Sequence[Path | Clip], dtype: np.dtype) -> Windows:
        """As of `SoundExtractor`.

        Raises:
          InputError: a file that is no recording, without sound or clipped, or all of them the same value throughout.
        """
        settings, clips = self.settings, as_clips(recordings)
        levels = [Level() for _ in clips]
        windows = self.extract_samples(
            (
                clip.samples(settings.sample_rate, level, settings.channel)
                for clip, level in zip(clips, levels, strict=True)
            ),
            dtype,
        )
        notes = [level.note(clip.path) for clip, level in zip(clips, levels, strict=True)]
        if windows is None:
            raise InputError(f"{recordings[0]}: is silent throughout: {levels[0].cancelled or _SOME_SOUND}")
        return dataclasses.replace(windows, parts_s=tuple(level.seconds for level in levels), notes=tuple(notes))

    def extract_samples(
        self, sources: Iterable[Iterable[Float32[np.ndarray, " n"]]], dtype: np.dtype
    ) -> Windows | None:
        """Windows of sounds, one behind the other; None where they are silent throughout.

        Args:
          sources: blocks of samples of each at the sample rate of the settings, between -1 and 1.
          dtype: of the windows.
        """
        settings = self.settings
        with tempfile.TemporaryFile() as spool:
            loudest, frames = -np.inf, 0
            for block in self._transform(padded(sources, settings), settings):
                loudest, frames = max(loudest, float(block.max())), frames + len(block)
                spool.write(np.ascontiguousarray(block, np.float32))
            floor = np.float32(loudest - settings.top_db)
            mean, deviation = _moments(spool, frames, floor, settings)
            if deviation < 1e-6:
                return None
            length, step, rate = settings.window_frames, settings.step_frames, settings.frames_per_second
            count = 1 + max(0, -(-(frames - length) // step))
            values = np.zeros((count, *self.shape), dtype)
            starts = np.arange(count) * step
            lengths = np.minimum(frames - starts, length).astype(np.int32)
            for window, start, valid in zip(values, starts.tolist(), lengths.tolist(), strict=True):
                above = np.maximum(_read(spool, start, valid, settings), floor).astype(np.float64)
                window[:, :valid] = ((above - mean) / deviation).T
        start_s = (starts / rate).astype(np.float32)
        return Windows(values, lengths, start_s, duration_s=float(start_s[-1] + lengths[-1] / rate))


def _read(spool: IO[bytes], start: int, frames: int, settings: MelSettings) -> Shaped[np.ndarray, "f bands"]:
    spool.seek(start * settings.bands * 4)
    return np.frombuffer(spool.read(frames * settings.bands * 4), np.float32).reshape(-1, settings.bands)


def _moments(spool: IO[bytes], frames: int, floor: np.float32, settings: MelSettings) -> tuple[float, float]:
    """Mean and standard deviation over all values; sums are taken from the floor, which keeps them exact enough."""
    total = square = 0.0
    block, number = round(BLOCK_SECONDS * settings.frames_per_second), frames * settings.bands
    for start in range(0, frames, block):
        above = np.maximum(_read(spool, start, block, settings).astype(np.float64) - floor, 0.0)
        total, square = total + above.sum(), square + (above * above).sum()
    mean = total / number
    return mean + float(floor), max(0.0, square / number - mean * mean) ** 0.5

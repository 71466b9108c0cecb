"""Log-mel windows of recordings, as the MMPsy release defines them, from files of any length in little memory.

Recordings of one participant, one behind the other, at 16 kHz in mono on the scale of 16-bit samples -> mel power of 80
bands (n_fft 2048, hop 533, centred frames) -> dB, cut off 80 dB below the loudest value -> z-normalised over everything
-> windows of 1,800 frames every 1,500, the last one zero-padded. (Facts of the release's feature script. It resamples
by linear interpolation, we by soxr: alike for recordings that are at 16 kHz already.)

Cut-off, mean and deviation are those of the whole recording. So it is read once, block by block, into a temporary file
of dB values (10 kB a second); that file is read once for mean and deviation, and once more for the windows. In memory
are a block and the windows themselves (20 MB an hour in float16).
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import librosa
import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Shaped

from mmpsy_jax.errors import InputError

SAMPLE_RATE, N_FFT, HOP, BANDS = 16000, 2048, 533, 80
TOP_DB = 80.0
FRAMES_PER_WINDOW, FRAMES_BETWEEN_WINDOWS, FRAMES_PER_SECOND = 1800, 1500, 30
# Samples of the release are 16-bit numbers; this matters only beside the floor of dB values, 1e-10.
_SCALE = 32768.0
_BLOCK_SECONDS = 30
_BLOCK_FRAMES = _BLOCK_SECONDS * FRAMES_PER_SECOND


def samples(path: Path) -> Iterator[Float32[np.ndarray, " n"]]:
    """Blocks of a recording at 16 kHz, mono, between -1 and 1.

    Raises:
      InputError: no recording, or one without sound in it.
    """
    total = 0
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            last = False
            while not last:
                block = file.read(rate * _BLOCK_SECONDS, dtype="float32", always_2d=True)
                last = not len(block)
                total += len(block)
                mono = block.mean(axis=1) if len(block) else np.zeros(0, np.float32)
                if not np.isfinite(mono).all():
                    raise InputError(f"{path}: holds samples that are not finite: export the recording again")
                yield mono if stream is None else stream.resample_chunk(mono, last=last)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # what soundfile and soxr make of a damaged file
        reason = str(error).splitlines()[0].removeprefix(f"Error opening '{path}': ").rstrip(".")
        raise InputError(f"{path}: cannot be read as a recording ({reason}): give wav, flac, mp3 or ogg") from error
    if not total:
        raise InputError(f"{path}: has zero length: a recording must hold at least one sample")


def decibels(paths: Sequence[Path]) -> Iterator[Float32[np.ndarray, "frames 80"]]:
    """Mel power in dB of recordings one behind the other, block by block, without the cut-off."""
    buffer = np.zeros(N_FFT // 2)
    ends = [np.zeros(N_FFT // 2, np.float32)]
    for block in (block for source in (*map(samples, paths), ends) for block in source):
        buffer = np.concatenate([buffer, block * _SCALE])
        frames = (len(buffer) - N_FFT) // HOP + 1
        if frames < 1:
            continue
        power = librosa.feature.melspectrogram(
            y=buffer[: (frames - 1) * HOP + N_FFT],
            sr=SAMPLE_RATE,
            n_fft=N_FFT,
            hop_length=HOP,
            n_mels=BANDS,
            center=False,
        )
        buffer = buffer[frames * HOP :]
        yield librosa.power_to_db(power, top_db=None).T.astype(np.float32)


def record(paths: Sequence[Path], dtype: np.dtype) -> dict[str, Any]:
    """What a record says about recordings: the features of the record contract that follow from them alone.

    Args:
      paths: recordings of one participant, in order.
      dtype: of the windows.

    Raises:
      InputError: a file that is no recording, without sound, or the same value throughout.
    """
    with tempfile.TemporaryFile() as spool:
        loudest, frames = -np.inf, 0
        for block in decibels(paths):
            loudest, frames = max(loudest, float(block.max())), frames + len(block)
            spool.write(block.tobytes())
        floor = np.float32(loudest - TOP_DB)
        mean, deviation = _moments(spool, frames, floor)
        if deviation < 1e-6:
            raise InputError(f"{paths[0]}: is silent throughout: a recording must hold some sound")
        count = 1 + max(0, -(-(frames - FRAMES_PER_WINDOW) // FRAMES_BETWEEN_WINDOWS))
        windows = np.zeros((count, BANDS, FRAMES_PER_WINDOW), dtype)
        starts = np.arange(count) * FRAMES_BETWEEN_WINDOWS
        lengths = np.minimum(frames - starts, FRAMES_PER_WINDOW).astype(np.int32)
        for window, start, length in zip(windows, starts.tolist(), lengths.tolist(), strict=True):
            values = np.maximum(_read(spool, start, length), floor).astype(np.float64)
            window[:, :length] = ((values - mean) / deviation).T
    window_start_s = (starts / FRAMES_PER_SECOND).astype(np.float32)
    return {
        "duration_s": np.float32(window_start_s[-1] + lengths[-1] / FRAMES_PER_SECOND),
        "n_windows": np.int32(count),
        "window_start_s": window_start_s,
        "has_audio": True,
        "audio": windows,
        "audio_length": lengths,
    }


def _read(spool: IO[bytes], start: int, frames: int) -> Shaped[np.ndarray, "f 80"]:
    spool.seek(start * BANDS * 4)
    return np.frombuffer(spool.read(frames * BANDS * 4), np.float32).reshape(-1, BANDS)


def _moments(spool: IO[bytes], frames: int, floor: np.float32) -> tuple[float, float]:
    """Mean and standard deviation over all values; sums are taken from the floor, which keeps them exact enough."""
    total = square = 0.0
    for start in range(0, frames, _BLOCK_FRAMES):
        above = np.maximum(_read(spool, start, _BLOCK_FRAMES).astype(np.float64) - floor, 0.0)
        total, square = total + above.sum(), square + (above * above).sum()
    mean = total / (frames * BANDS)
    return mean + float(floor), max(0.0, square / (frames * BANDS) - mean * mean) ** 0.5

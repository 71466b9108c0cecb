"""Statistics of a whole recording that classical speech research classifies: eGeMAPS, or plain functionals.

eGeMAPS (Eyben et al., IEEE Transactions on Affective Computing 2016; 88 numbers) is computed by openSMILE where the
optional package `opensmile` is installed. Its licence (audEERING Research License) forbids commercial use, so nothing
here depends on it.

Plain functionals describe pitch, where there are samples, and level, change and the first cepstral coefficients
of log-mel frames: mean, standard deviation, 20th, 50th and 80th percentile, mean rising and falling slope per second,
and how often and how long it is quiet. Pitch comes from the autocorrelation of a Hann window of 40 ms, divided by that
of the window (Boersma 1993).

Departures from the papers: the limits of voiced and of quiet frames; that of voiced ones is Praat's.
"""

import functools
import importlib.util
import warnings
from typing import Any

import librosa
import numpy as np
import scipy.fft
from jaxtyping import Float

from mmpsy_jax.features.mel import AMIN, RELEASE, SCALE

EGEMAPS = "egemaps"
OWN = "functionals"
PERCENTILES = (20, 50, 80)
CEPSTRAL = 4  # coefficients 1 to 4, as eGeMAPS has them

_SHORTEST_S = 0.1  # openSMILE gives no numbers of less
_PITCH_HZ = (60.0, 500.0)
_PITCH_WINDOW_S, _PITCH_HOP_S = 0.04, 0.01
_VOICED = 0.45  # strength of the peak, 1 for a periodic sound
_NEARLY = 0.85
_QUIET_DB = 25.0  # frames that far below the 95th percentile have no pitch
_FRAMES_AT_ONCE = 4096


def has_opensmile() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec("opensmile") is not None


def egemaps(samples: Float[np.ndarray, " n"], sample_rate: int) -> Float[np.ndarray, " 88"]:
    """The 88 functionals of eGeMAPS version 02 of a recording between -1 and 1; NaN for less than 0.1 s."""
    if len(samples) < _SHORTEST_S * sample_rate:
        return np.full(88, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a segment is short: NaN says so
        table = _smile().process_signal(np.asarray(samples, np.float32), sample_rate)
    return table.iloc[0].to_numpy(np.float64)


@functools.cache
def _smile() -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )


def of_samples(samples: Float[np.ndarray, " n"], sample_rate: int) -> dict[str, float]:
    """Functionals of pitch, in semitones above 27.5 Hz, and of the log-mel frames of a recording between -1 and 1."""
    hop = round(RELEASE.hop * sample_rate / RELEASE.sample_rate)
    power = librosa.feature.melspectrogram(
        y=np.asarray(samples, np.float32) * SCALE,
        sr=sample_rate,
        n_fft=RELEASE.n_fft,
        hop_length=hop,
        n_mels=RELEASE.bands,
    )
    decibels = 10 * np.log10(np.maximum(power, AMIN))
    decibels = np.maximum(decibels, decibels.max() - RELEASE.top_db)
    hertz = pitch(samples, sample_rate)
    semitones = 12 * np.log2(hertz / 27.5)
    voiced = {"voiced_share": float(np.isfinite(hertz).mean())}
    return describe("pitch", semitones, 1 / _PITCH_HOP_S) | voiced | of_mel(decibels, sample_rate / hop)


def of_mel(frames: Float[np.ndarray, "bands n"], frames_per_second: float) -> dict[str, float]:
    """Functionals of the log-mel frames of a recording, whose scale may be anybody's."""
    frames = np.asarray(frames, np.float64)
    level = frames.mean(axis=0)
    cepstrum = scipy.fft.dct(frames, axis=0, norm="ortho")[1 : 1 + CEPSTRAL]
    change = np.abs(np.diff(frames, axis=1)).mean(axis=0)
    tracks = {"level": level, "change": change, **{f"cepstrum_{k + 1}": track for k, track in enumerate(cepstrum)}}
    values = {}
    for name, track in tracks.items():
        values |= describe(name, track, frames_per_second)
    return values | _pauses(level, frames_per_second)


def describe(name: str, track: Float[np.ndarray, " n"], frames_per_second: float) -> dict[str, float]:
    """The functionals of one track; its NaN are left out, and no slope leads across them.

    Returns:
      by NAME_mean, NAME_sd, NAME_p20, ..., NAME_rise and NAME_fall (per second); NaN where nothing is known.
    """
    known, steps = track[np.isfinite(track)], np.diff(track) * frames_per_second
    if not len(known):
        keys = ("mean", "sd", *(f"p{p}" for p in PERCENTILES), "rise", "fall")
        return {f"{name}_{key}": np.nan for key in keys}
    values = {"mean": known.mean(), "sd": known.std()}
    values |= {f"p{p}": value for p, value in zip(PERCENTILES, np.percentile(known, PERCENTILES), strict=True)}
    for key, part in (("rise", steps[steps > 0]), ("fall", steps[steps < 0])):
        values[key] = part.mean() if len(part) else 0.0
    return {f"{name}_{key}": float(value) for key, value in values.items()}


def _pauses(level: Float[np.ndarray, " n"], frames_per_second: float) -> dict[str, float]:
    """How much, how often and how long it is quiet: below the middle of the 10th and the 90th percentile of level."""
    if not len(level):
        return dict.fromkeys(("quiet_share", "quiet_per_second", "quiet_seconds"), np.nan)
    quiet = level < np.percentile(level, (10, 90)).mean()
    stretches = int(quiet[0]) + int((np.diff(quiet.astype(int)) == 1).sum())
    seconds = len(level) / frames_per_second
    return {
        "quiet_share": float(quiet.mean()),
        "quiet_per_second": stretches / seconds,
        "quiet_seconds": float(quiet.sum() / frames_per_second / max(stretches, 1)),
    }


def pitch(samples: Float[np.ndarray, " n"], sample_rate: int) -> Float[np.ndarray, " frames"]:
    """Fundamental frequency in Hz every 10 ms, from 60 to 500 Hz; NaN where the sound is quiet or has no period."""
    samples = np.asarray(samples, np.float64)
    size, hop = round(_PITCH_WINDOW_S * sample_rate), round(_PITCH_HOP_S * sample_rate)
    if len(samples) < size:
        return np.full(1, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    return np.concatenate(
        [_pitch(windows[i : i + _FRAMES_AT_ONCE], sample_rate) for i in range(0, len(windows), _FRAMES_AT_ONCE)]
    )


def _pitch(windows: Float[np.ndarray, "n size"], sample_rate: int) -> Float[np.ndarray, " n"]:
    size = windows.shape[1]
    hann = np.hanning(size)
    length = scipy.fft.next_fast_len(2 * size, real=True)

    def autocorrelation(x):
        products = scipy.fft.irfft(np.abs(scipy.fft.rfft(x, length)) ** 2, length)[..., : size // 2]
        return products / np.maximum(products[..., :1], 1e-30)

    centred = windows - windows.mean(axis=1, keepdims=True)
    strength = autocorrelation(centred * hann) / autocorrelation(hann)
    first, last = int(sample_rate / _PITCH_HZ[1]), min(int(sample_rate / _PITCH_HZ[0]) + 1, size // 2 - 1)
    before, at, after = (strength[:, first + k : last + 1 + k] for k in (-1, 0, 1))
    height = np.where((before <= at) & (at >= after), at, 0.0)
    # Every multiple of the period is a peak too: the first one that is nearly as high as the highest.
    best = np.argmax(height >= _NEARLY * height.max(axis=1, keepdims=True), axis=1)[:, None]
    before, at, after = (np.take_along_axis(part, best, axis=1)[:, 0] for part in (before, at, after))
    curvature = before - 2 * at + after  # a parabola through the peak and its neighbours
    offset = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1.0), 0.0)
    decibels = 10 * np.log10(np.maximum((centred**2).mean(axis=1), 1e-12))
    loud = decibels > np.percentile(decibels, 95) - _QUIET_DB
    voiced = loud & (height.max(axis=1) >= _VOICED)
    return np.where(voiced, sample_rate / (first + best[:, 0] + offset), np.nan)

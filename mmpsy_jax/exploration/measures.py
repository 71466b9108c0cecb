"""What is measured of one record: simple numbers of its sound and its words, and the mean of embeddings.

Sound is described by the functionals of its log-mel frames or samples (`features/functionals.py`); levels need samples
as they were recorded, since log-mel windows are normalised. A frame of 25 ms counts as loud from the middle of the 10th
and the 90th percentile of the levels on, as pauses are told there; the signal-to-noise ratio is the level of the loud
frames less that of the others. The moving-average type-token ratio is that of Covington and McFall 2010.

Free of jax: worker processes import this module.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from mmpsy_jax.evaluation import near_duplicates
from mmpsy_jax.features import functionals, out_of_distribution
from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.mel import SCALE
from mmpsy_jax.features.recording import Level
from mmpsy_jax.features.waveform import Waveform

AUDIO = "audio"
RATE = 16000
SOUND, WORDS, INPUTS = "sound", "words", "inputs"
_FRAME = RATE // 40
_FLOOR = 1e-10  # mean square of a frame: -100 dB, below the noise of 16 bits
_PITCH_SECONDS = 300.0
_MATTR = 50
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+(?:['\u2019][^\W_{_WIDE}]+)*")


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a number is shown.

    Attributes:
      title: with its unit.
      family: `SOUND`, `WORDS` or `INPUTS`; effect sizes are of the first two.
      unit: it is divided by this.
      is_size: it spans orders of magnitude: its logarithm of 1 + x enters distances.
    """

    title: str
    family: str
    unit: float = 1.0
    is_size: bool = False


MEASURES = {
    "duration_s": Measure("audio in minutes", SOUND, 60.0, is_size=True),
    "speaking_s": Measure("minutes of it that are loud", SOUND, 60.0, is_size=True),
    "level_db": Measure("level of loud frames, dBFS", SOUND),
    "noise_db": Measure("level of quiet frames, dBFS", SOUND),
    "snr_db": Measure("signal-to-noise ratio, dB", SOUND),
    "clipped_percent": Measure("clipped samples, percent", SOUND),
    "quiet_share": Measure("share of quiet frames", SOUND),
    "quiet_per_second": Measure("pauses per second", SOUND),
    "quiet_seconds": Measure("mean length of a pause, seconds", SOUND),
    "pitch_p50": Measure("median pitch, semitones from 27.5 Hz", SOUND),
    "pitch_sd": Measure("spread of pitch, semitones", SOUND),
    "voiced_share": Measure("share of voiced frames", SOUND),
    "level_sd": Measure("spread of level (log-mel)", SOUND),
    "change_mean": Measure("change between frames (log-mel)", SOUND),
    "cepstrum_1_mean": Measure("spectral tilt (1st cepstral)", SOUND),
    "cepstrum_1_sd": Measure("spread of spectral tilt", SOUND),
    "cepstrum_2_mean": Measure("curvature of spectrum (2nd cepstral)", SOUND),
    "n_answers": Measure("answers", WORDS, is_size=True),
    "n_words": Measure("words", WORDS, is_size=True),
    "n_characters": Measure("characters", WORDS, is_size=True),
    "words_per_answer": Measure("words per answer", WORDS, is_size=True),
    "characters_per_answer": Measure("characters per answer", WORDS, is_size=True),
    "characters_per_minute": Measure("characters per minute of audio", WORDS, is_size=True),
    "characters_per_word": Measure("characters per word", WORDS),
    "type_token_ratio": Measure(f"type-token ratio over {_MATTR} words", WORDS),
    "n_turns": Measure("turns", WORDS, is_size=True),
    "n_interviewer_characters": Measure("characters of the interviewer", WORDS, is_size=True),
}


def measure_of(name: str) -> Measure:
    """Of `MEASURES`; those of further inputs are named after these."""
    return MEASURES.get(name) or Measure(name.replace("_", " "), INPUTS)


@dataclasses.dataclass(frozen=True)
class Described:
    """One record.

    Attributes:
      numbers: by measure; NaN or absent where nothing is known.
      means: of each modality of embeddings or other features the mean over its valid steps.
      has: whether it has each modality.
      prints: fingerprints of its log-mel windows.
      text: its transcript, "" where there is none; it stays in memory.
    """

    numbers: dict[str, float]
    means: dict[str, Float[np.ndarray, " d"]]
    has: dict[str, bool]
    prints: UInt64[np.ndarray, "k 2"]
    text: str


def describe(
    record: Mapping[str, Any],
    modalities: Mapping[str, Mapping[str, Any]],
    window_seconds: float,
    text: str = "",
    recordings: Sequence[Path | Clip] = (),
) -> Described:
    """Describes a record (docs/architecture.md).

    Args:
      record: of one participant.
      modalities: their entries of `corpus.json`; the interviewer's are not looked at.
      window_seconds: length of a window.
      text: the transcript, where it is at hand.
      recordings: that it was made of, where they are at hand: levels and pitch are measured in them.

    Raises:
      InputError: a recording that cannot be read.
    """
    numbers, means, has = {}, {}, {}
    prints = np.zeros((0, 2), np.uint64)
    duration = float(record["duration_s"])
    if duration > 0:
        numbers["duration_s"] = duration
    for name, entry in modalities.items():
        if "role" in entry:
            continue
        has[name] = bool(record[f"has_{name}"])
        if not has[name] or entry["kind"] == "ids":
            continue
        axis, lengths = entry["time_axis"], record[f"{name}_length"]
        windows = np.moveaxis(record[name], 1 + axis, 1)
        steps = windows[np.arange(windows.shape[1]) < lengths[:, None]].astype(np.float32)
        steps = steps.reshape(len(steps), -1)
        extractor = entry.get("extractor") or {}
        if name == AUDIO and extractor.get("name") == Waveform.name:
            samples = steps[:, 0] / SCALE
            numbers |= functionals.of_samples(samples, extractor["sample_rate"]) if len(samples) else {}
            continue
        numbers |= {
            f"{name}_{key}": value
            for key, value in out_of_distribution.measures(record[name], lengths, entry).items()
            if key != "length"
        }
        if name == AUDIO and entry["kind"] == "frames" and len(steps):
            numbers |= functionals.of_mel(steps.T, windows.shape[1] / window_seconds)
            prints = near_duplicates.fingerprints(np.moveaxis(record[name], 1 + axis, 2), lengths)
        elif entry["kind"] == "features":
            means[name] = steps.mean(axis=0, dtype=np.float64)
    if recordings:
        numbers |= of_recordings(recordings)
    if duration > 0 and "quiet_share" in numbers:
        numbers["speaking_s"] = duration * (1 - numbers["quiet_share"])
    numbers |= of_words(record, text)
    return Described(
        {name: value for name, value in numbers.items() if name in MEASURES or "_spread_" in name},
        means,
        has,
        prints,
        text,
    )


def of_words(record: Mapping[str, Any], text: str) -> dict[str, float]:
    """Numbers of what was said; none where nothing was, or where nobody knows."""
    characters, answers = int(record["n_characters"]), int(record["n_answers"])
    if not characters:
        return {}
    numbers = {
        "n_characters": characters,
        "n_answers": answers,
        "characters_per_answer": characters / max(1, answers),
    }
    for name in ("n_turns", "n_interviewer_characters"):
        if int(record.get(name, 0)):
            numbers[name] = int(record[name])
    if float(record["duration_s"]) > 0:
        numbers["characters_per_minute"] = 60 * characters / float(record["duration_s"])
    tokens = words(text)
    if tokens:
        numbers |= {
            "n_words": len(tokens),
            "words_per_answer": len(tokens) / max(1, answers),
            "characters_per_word": float(np.mean([len(token) for token in tokens])),
            "type_token_ratio": _type_token_ratio(tokens),
        }
    return {name: float(value) for name, value in numbers.items()}


def words(text: str) -> list[str]:
    """Its words in lower case; a Chinese or Japanese character is a word."""
    return _WORD.findall(text.casefold())


def _type_token_ratio(tokens: Sequence[str]) -> float:
    """Mean share of different words in all runs of `_MATTR` words; NaN of fewer words."""
    if len(tokens) < _MATTR:
        return np.nan
    numbered = np.unique(tokens, return_inverse=True)[1]
    runs = np.sort(np.lib.stride_tricks.sliding_window_view(numbered, _MATTR), axis=1)
    return float((1 + (np.diff(runs, axis=1) > 0).sum(axis=1)).mean() / _MATTR)


def of_recordings(recordings: Sequence[Path | Clip]) -> dict[str, float]:
    """Levels, and pitch of the first minutes, of recordings as they are.

    Raises:
      InputError: one that cannot be read.
    """
    powers, hertz, clipped, samples = [], [], 0, 0
    for clip in as_clips(recordings):
        level = Level()
        for block in clip.samples(RATE, level):
            powers.append(_powers(block))
            if sum(map(len, powers)) * _FRAME < RATE * _PITCH_SECONDS:
                hertz.append(functionals.pitch(block, RATE))
        clipped, samples = clipped + level.clipped, samples + level.samples
    return {
        "clipped_percent": 100 * clipped / max(1, samples),
        **_levels(np.concatenate(powers) if powers else np.zeros(0)),
        **_pitch(hertz),
    }


def _powers(block: Float[np.ndarray, " n"]) -> Float[np.ndarray, " frames"]:
    frames = block[: len(block) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.square(frames, dtype=np.float64).mean(axis=1)


def _levels(powers: Float[np.ndarray, " frames"]) -> dict[str, float]:
    """Levels of the loud and of the quiet frames in dB of full scale; none of a recording of one level."""
    decibels = 10 * np.log10(np.maximum(powers, _FLOOR))
    if not len(decibels) or not np.ptp(decibels):
        return {}
    is_loud = decibels >= np.percentile(decibels, (10, 90)).mean()
    if is_loud.all():
        return {}
    loud, quiet = (10 * np.log10(max(powers[part].mean(), _FLOOR)) for part in (is_loud, ~is_loud))
    return {"level_db": float(loud), "noise_db": float(quiet), "snr_db": float(loud - quiet)}


def _pitch(hertz: Iterable[Float[np.ndarray, " frames"]]) -> dict[str, float]:
    track = np.concatenate([np.zeros(0), *hertz])
    if not len(track):
        return {}
    described = functionals.describe("pitch", 12 * np.log2(track / 27.5), 100.0)
    return {**described, "voiced_share": float(np.isfinite(track).mean())}

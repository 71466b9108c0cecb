"""Writes a synthetic corpus in exactly the layout of the released MMPsy files, with a signal planted in it.

    folder/data/wav_select.json
    folder/data/np_data/user_7/mel-spectrogram/{0,1,...}.npy       [80, 1800]
    folder/data/np_data/user_7/sentence_embeddings/{0,1,...}.npy   [175, 768]
    folder/optimum.json                                            how well anybody could predict the scores

Who these people are and what is known about them: `demo_truth.py`. This file turns their cues into log-mel windows,
token embeddings and nonsense text of similar sizes as the real ones. It needs numpy and scipy only, so that its worker
processes start fast. Nothing in it was derived from a recording or a transcript; the only facts taken from the release
are counts and sizes. Equations: `docs/demo_corpus.md`.
"""

import dataclasses
import errno
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from data_builders.common import shards
from data_builders.mmpsy import demo_truth
from mmpsy_jax.io import InputError, write_json

# Structure that all demo corpora share (embedding table, cue directions); `seed` only changes the people.
_WORLD = 20_240_822

# Sizes of the released interviews: answers per participant, characters per answer (log scale, between and within
# participants). The rate gives the released ratio of text to audio roughly and 1.5 windows per participant.
_ANSWERS = (7.4, 0.09, 4, 10)  # median, log standard deviation, least, most
_LOG_CHARACTERS, _BETWEEN, _WITHIN, _LONGEST_ANSWER = 3.14, 0.75, 0.78, 400
_CHARACTERS_PER_SECOND, _RATE_DEVIATION = 5.5, 0.15
_SECONDS = (12.0, 200.0)

# As in the published feature script: windows of 60 s overlapping by 10 s; BERT truncates to 512 tokens.
_WINDOW_SECONDS, _HOP_SECONDS = 60.0, 50.0
_TOKEN_LIMIT, _TOKENS_PER_WINDOW = 512, 175

# Strength of the planted signal; before normalisation the noise of a mel bin has standard deviation 0.8.
_MEL_CUE, _MEL_SPEAKER, _MEL_TILT, _MEL_LOUDNESS, _MEL_NOISE = 0.22, 0.18, 0.45, 0.35, 0.80
_CUE_PERIODS = (2.0, 3.0, 4.0, 6.0)  # seconds
_TEXT_CUE, _TEXT_CHARACTER, _TEXT_NOISE = 3.0, 0.5, 0.3
_TILT = 0.12  # of character log frequencies per unit of cue

_FIRST_CHARACTER, _N_CHARACTERS = 0x4E00, 600
_COMMA, _STOP = "，", "。"

# As in the released file, where they do not follow the README's bands.
_LEVELS = {"phq9": (5, 10, 20), "gad7": (5, 10, 19)}
_LEVEL_NAMES = ("Normal", "Mild", "Moderate", "Severe")


@dataclasses.dataclass(frozen=True)
class _Job:
    """Everything a worker process needs to make one participant."""

    folder: str
    index: int
    seed: int
    mel_shape: tuple[int, int]
    text_shape: tuple[int, int]


def write(
    folder: Path,
    *,
    participants: int = 800,
    seed: int = 0,
    audio_shape: tuple[int, int] = (80, 1800),
    text_shape: tuple[int, int] = (175, 768),
    workers: int | None = None,
) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Writes the corpus as `Config.demo` does."""
    optimum = write_corpus(folder, participants, seed, workers, audio_shape, text_shape)
    return lambda test: demo_truth.with_test(optimum, test)


def write_corpus(
    folder: str | os.PathLike,
    participants: int = 800,
    seed: int = 0,
    workers: int | None = None,
    mel_shape: tuple[int, int] = (80, 1800),
    text_shape: tuple[int, int] = (175, 768),
) -> dict[str, Any]:
    """Writes the corpus below `folder`/data/ and what is known about it to `folder`/optimum.json.

    The files depend on the arguments only, never on the number of workers; the first n participants are the same in a
    corpus of any size. `wav_select.json` is written last: a folder without it is unfinished, and is started afresh.

    Args:
      folder: created where missing; must not hold a finished corpus.
      participants: how many people.
      seed: of the people; the planted directions are the same for all seeds.
      workers: processes; 0 for none, None to choose by size.
      mel_shape: (bands, frames) of a 60 s window; at least (8, 12).
      text_shape: (tokens, dimensions) of a window; at least (5, 8).

    Returns:
      The "optimum" entry of `corpus.json`; `demo_truth.with_test` adds the values on the test split.

    Raises:
      InputError: an argument is out of range, `folder` already holds a corpus, or the disk is full (nothing is left).
    """
    folder = Path(folder)
    _check_arguments(participants, seed, workers, mel_shape, text_shape)
    data = folder / "data"
    if (data / "wav_select.json").exists():
        raise InputError(f"{folder} already holds a corpus: give an empty folder or remove {data}")
    try:
        _remove(data)  # left over from a killed run: it has no table
        jobs = [_Job(str(data), index, seed, tuple(mel_shape), tuple(text_shape)) for index in range(participants)]
        table = _run(jobs, workers)
        truth = demo_truth.describe([row["user_id"] for row in table], seed)
        write_json(folder / "optimum.json", truth)
        write_json(data / "wav_select.json", table)
    except BaseException as error:
        _remove(data)
        (folder / "optimum.json").unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"no space left while writing the demo corpus to {folder}: it needs about 3 MB per participant; "
                "free some space or give fewer participants; nothing was left behind"
            ) from error
        raise
    return truth


def _check_arguments(participants, seed, workers, mel_shape, text_shape) -> None:
    if participants < 1:
        raise InputError(f"demo corpus: participants={participants} must be at least 1")
    if seed < 0:
        raise InputError(f"demo corpus: seed={seed} must not be negative")
    if workers is not None and workers < 0:
        raise InputError(f"demo corpus: workers={workers} must not be negative; 0 works without further processes")
    for name, shape, least in (("mel_shape", mel_shape, (8, 12)), ("text_shape", text_shape, (5, 8))):
        if len(shape) != 2 or any(size < low for size, low in zip(shape, least, strict=True)):
            raise InputError(f"demo corpus: {name}={tuple(shape)} must have two sizes, at least {least}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _run(jobs: list[_Job], workers: int | None) -> list[dict[str, Any]]:
    workers = shards.default_workers(len(jobs)) if workers is None else min(workers, len(jobs))
    if workers < 2:
        return [_write_participant(job) for job in jobs]
    with shards.make_pool(workers) as pool:
        try:
            return list(pool.map(_write_participant, jobs, chunksize=8))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_participant(job: _Job) -> dict[str, Any]:
    """Writes the windows of one participant and returns its row of the table."""
    who = demo_truth.people([job.index], job.seed)
    audio_cue, text_cue = who.cues("audio")[0], who.cues("text")[0]
    rng = np.random.default_rng([job.seed, job.index, 1])
    answers = _answers(rng, text_cue)
    characters = np.concatenate(answers)
    rate = _CHARACTERS_PER_SECOND * np.exp(_RATE_DEVIATION * rng.standard_normal())
    seconds = float(np.clip(len(characters) / rate + len(answers), *_SECONDS))  # plus a second of pause per answer

    name = demo_truth.participant_id(job.index)
    home = Path(job.folder) / "np_data" / name
    mel = mel_windows(_mel(rng, audio_cue, seconds, job.mel_shape), job.mel_shape)
    text = token_windows(_tokens(rng, text_cue, characters, job.text_shape), len(mel), job.text_shape)
    for kind, windows in (("mel-spectrogram", mel), ("sentence_embeddings", text)):
        (home / kind).mkdir(parents=True)
        for number, window in enumerate(windows):
            np.save(home / kind / f"{number}.npy", window, allow_pickle=False)

    scores = {scale: int(who.scores[scale][0]) for scale in demo_truth.SCALES}
    alphabet = _alphabet()
    return {
        "user_id": name,
        "phq-label": {"score": scores["phq9"], "level": _level("phq9", scores["phq9"])},
        "gad-label": {"score": scores["gad7"], "level": _level("gad7", scores["gad7"])},
        "audios": {
            f"wav_{number}.wav": "".join(alphabet[character] for character in answer)
            for number, answer in enumerate(answers, 1)
        },
    }


def _level(scale: str, score: int) -> str:
    return _LEVEL_NAMES[int(np.digitize(score, _LEVELS[scale]))]


# ------------------------------------------------------------------------------------------------------------- text


@functools.cache
def _alphabet() -> str:
    """Comma, full stop, then meaningless Chinese characters by falling frequency."""
    return _COMMA + _STOP + "".join(chr(_FIRST_CHARACTER + number) for number in range(_N_CHARACTERS))


@functools.cache
def _character_tilts() -> Float[np.ndarray, "4 characters"]:
    """How the four text cues move the log frequency of each character; punctuation stays."""
    return np.random.default_rng([_WORLD, 1]).standard_normal((4, _N_CHARACTERS))


def _answers(rng: np.random.Generator, cue: Float[np.ndarray, "4"]) -> list[Int[np.ndarray, " characters"]]:
    """Answers as indices into `_alphabet`; their lengths carry no information about the scores."""
    median, deviation, least, most = _ANSWERS
    count = int(np.clip(round(median * np.exp(deviation * rng.standard_normal())), least, most))
    talkative = _BETWEEN * rng.standard_normal()
    lengths = np.exp(_LOG_CHARACTERS + talkative + _WITHIN * rng.standard_normal(count))
    lengths = np.clip(np.rint(lengths), 1, _LONGEST_ANSWER).astype(int)
    logits = -np.log(np.arange(_N_CHARACTERS) + 5.0) + _TILT * (cue @ _character_tilts())
    cumulative = np.cumsum(np.exp(logits - logits.max()))
    answers = []
    for length in lengths:
        drawn = 2 + np.searchsorted(cumulative, rng.random(length) * cumulative[-1], side="right")
        drawn[7::8] = 0
        drawn[-1] = 1
        answers.append(np.minimum(drawn, _N_CHARACTERS + 1))
    return answers


@functools.cache
def _embedding_world(dimensions: int) -> tuple[Float32[np.ndarray, "tokens d"], Float32[np.ndarray, "4 d"]]:
    """One vector per character (the last two: start and end of the text), and four orthonormal cue directions."""
    rng = np.random.default_rng([_WORLD, 2, dimensions])
    table = _TEXT_CHARACTER * rng.standard_normal((len(_alphabet()) + 2, dimensions), np.float32)
    directions = np.linalg.qr(rng.standard_normal((dimensions, 4)))[0].T
    return table, directions.astype(np.float32)


def _tokens(
    rng: np.random.Generator, cue: Float[np.ndarray, "4"], characters: Int[np.ndarray, " n"], shape: tuple[int, int]
) -> Float32[np.ndarray, "t d"]:
    """Embeddings of the text between its start and end token, truncated as BERT does (in proportion to the window)."""
    table, directions = _embedding_world(shape[1])
    limit = _TOKEN_LIMIT * shape[0] // _TOKENS_PER_WINDOW
    ids = np.concatenate(([len(table) - 2], characters[: limit - 2], [len(table) - 1]))
    noise = _TEXT_NOISE * rng.standard_normal((len(ids), shape[1]), np.float32)
    return table[ids] + noise + _TEXT_CUE * (cue.astype(np.float32) @ directions)


def token_windows(
    tokens: Float32[np.ndarray, "t d"], count: int, shape: tuple[int, int]
) -> list[Float[np.ndarray, "tokens d"]]:
    """`count` windows placed in equal steps over the text, as the published script does.

    One window takes the beginning only, and the rounding of the step may lose some last tokens: also as published.
    """
    hop = max(0, (len(tokens) - shape[0]) // (count - 1)) if count > 1 else 0
    return [_padded(tokens[hop * number :][: shape[0]], shape) for number in range(count)]


# ------------------------------------------------------------------------------------------------------------ audio


def _cosines(bands: int, orders: range) -> Float[np.ndarray, "orders bands"]:
    """Smooth, mutually orthogonal patterns over frequency with mean 0 and mean square 1."""
    position = (np.arange(bands) + 0.5) / bands
    return np.sqrt(2) * np.cos(np.pi * np.array(list(orders))[:, None] * position)


def _mel(
    rng: np.random.Generator, cue: Float[np.ndarray, "4"], seconds: float, shape: tuple[int, int]
) -> Float32[np.ndarray, "bands t"]:
    """A normalised log-mel spectrogram of the whole recording.

    Spectral tilt + loudness over time + speaker timbre + the cues, each with its own pattern over frequency and its own
    rhythm, + noise. Timbre and cues use different cosines, so that a cue can be told from the speaker's voice.
    """
    bands, frames = shape
    per_second = frames / _WINDOW_SECONDS
    count = round(seconds * per_second)
    time = np.arange(count) / per_second
    tilt = _MEL_TILT * _cosines(bands, range(1, 2))[0]
    timbre_patterns = _cosines(bands, range(6, min(10, bands)))
    timbre = _MEL_SPEAKER * rng.standard_normal(len(timbre_patterns)) @ timbre_patterns
    loudness = _MEL_LOUDNESS * _slow(rng, time)
    phases = rng.uniform(0, 2 * np.pi, 4)
    rhythm = 1 + 0.4 * np.sin(2 * np.pi * time / np.array(_CUE_PERIODS)[:, None] + phases[:, None])
    planted = (_MEL_CUE * _cosines(bands, range(2, 6))).T @ (cue[:, None] * rhythm)
    mel = _MEL_NOISE * rng.standard_normal((bands, count), np.float32)
    mel += (planted + (tilt + timbre)[:, None] + loudness).astype(np.float32)
    return (mel - mel.mean()) / mel.std()


def _slow(rng: np.random.Generator, time: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """A random curve that changes within about a second, with variance near 1: syllables and pauses."""
    knots = rng.standard_normal(int(time[-1]) + 2)
    return np.interp(time, np.arange(len(knots)), knots)


def mel_windows(mel: Float32[np.ndarray, "bands t"], shape: tuple[int, int]) -> list[Float[np.ndarray, "bands frames"]]:
    """Windows of 60 s every 50 s until the recording is covered; the last is padded with zeros."""
    hop = round(shape[1] * _HOP_SECONDS / _WINDOW_SECONDS)
    overlap = shape[1] - hop
    starts = itertools.takewhile(lambda start: start == 0 or start + overlap < mel.shape[1], itertools.count(0, hop))
    return [_padded(mel[:, start : start + shape[1]], shape) for start in starts]


def _padded(part: Float32[np.ndarray, "a b"], shape: tuple[int, int]) -> Float[np.ndarray, "x y"]:
    """`part` with zeros after it: float64 where something was padded, float32 elsewhere, as in the release."""
    if part.shape == shape:
        return np.ascontiguousarray(part)
    padded = np.zeros(shape)
    padded[: part.shape[0], : part.shape[1]] = part
    return padded

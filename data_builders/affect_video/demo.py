"""The demo's clips: drawn faces and a synthetic voice, made as arrays without any video. SYNTHETIC.

What is planted and how well it can be found stands in `demo_truth.py`; how it looks and sounds in `drawing.py` and
`voice.py`. Cues come and go: the intensity of face and voice rises and falls between 0.4 and 1. A head moves a little,
and pixels are noisy. In two fifths of the clips a second person is seen in 20 to 40 % of the frames, with an emotion of
their own: beside the speaker and nearer to the camera, or alone. In 2 % of the frames nobody is found. All our choice.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from data_builders.affect_video import demo_truth, drawing, voice
from data_builders.affect_video.clips import RATINGS, Clip
from data_builders.affect_video.records import DTYPE, FRAMES_PER_SECOND, Content, log_mel
from data_builders.common import splits
from mmpsy_jax.features import faces
from mmpsy_jax.io import InputError

SPEAKERS, CLIPS = 24, 10
SECONDS = (4.0, 8.0)
FRACTIONS = (0.5, 0.2, 0.3)
LABEL = "mismatch"
_TWO_PERSONS, _UNSEEN = 0.4, 0.02
_FLOOR = 0.4  # lowest intensity
# A crop of the cascade around a drawn head: pixels of half the head's width, and middle between the eyes.
_HALF, _EYES = faces.SIZE / 2.57, np.array([23.5, 18.5])
_PIXEL_NOISE = 0.02


@dataclasses.dataclass(frozen=True)
class DemoClip(Clip):
    """A clip with what it is drawn from.

    Attributes:
      seeds: of what is particular to its speaker, and of its arrays.
      face_cues, voice_cues: `demo_truth.Clips`.
    """

    seeds: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    face_cues: tuple[float, ...] = ()
    voice_cues: tuple[float, ...] = ()


def divide(count: int, split_file: str | None = None) -> dict[str, str]:
    """The split of so many speakers.

    Raises:
      InputError: too few, or as `splits.assign`.
    """
    if count < 3:
        raise InputError(f"affect_video demo: {count} speakers: give at least 3, one per split")
    speakers = [f"speaker_{number}" for number in range(count)]
    return splits.assign(speakers, FRACTIONS, split_file=split_file, may_rank=True)


def write(
    folder: Path, *, participants: int = SPEAKERS, seed: int = 0, split_file: str | None = None
) -> Callable[[Sequence[str]], dict[str, Any]]:
    """As `Config.demo`: clips are drawn when they are read, so that nothing is written."""
    planted = draw(divide(participants, split_file), seed)[1]
    return lambda test: demo_truth.optimum(planted, seed)


def draw(split_of: Mapping[str, str], seed: int) -> tuple[list[DemoClip], demo_truth.Clips]:
    """All clips, and what is planted in those of the test split; only clips outside training have mismatches.

    Args:
      split_of: of each speaker.
      seed: of everything.

    Raises:
      InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed {seed}: must be 0 or more")
    drawn, planted = [], {}
    for number, split in enumerate(splits.SPLITS):
        speakers = [speaker for speaker, its_split in split_of.items() if its_split == split]
        rate = 0.0 if split == "train" else demo_truth.MISMATCH_RATE
        planted[split] = clips = demo_truth.draw(np.random.default_rng([seed, number]), len(speakers) * CLIPS, rate)
        for i in range(len(speakers) * CLIPS):
            speaker, ratings = speakers[i // CLIPS], dict(zip(RATINGS, clips.ratings[i].tolist(), strict=True))
            drawn.append(
                DemoClip(
                    name=f"{speaker}/{i % CLIPS}",
                    cluster=speaker,
                    labels={"emotion": float(clips.emotion[i]), **ratings, LABEL: float(clips.mismatch[i])},
                    split=split,
                    seeds=((seed, number, 1 + i // CLIPS), (seed, number, 1 + i // CLIPS, 1 + i % CLIPS)),
                    face_cues=tuple(clips.face[i].tolist()),
                    voice_cues=tuple(clips.voice[i].tolist()),
                )
            )
    return drawn, planted["test"]


def content(clip: DemoClip, window_seconds: float, seconds: tuple[float, float] = SECONDS) -> Content:
    """Faces and sound of a clip.

    Args:
      clip: of `draw`.
      window_seconds: of its record.
      seconds: shortest and longest clip.
    """
    of_speaker, rng = (np.random.default_rng(seed) for seed in clip.seeds)
    look, speaker = drawing.draw_look(of_speaker), voice.draw_voice(of_speaker)
    mel = log_mel(window_seconds)
    rate = mel.settings.sample_rate
    frames = round(rng.uniform(*seconds) * FRAMES_PER_SECOND)
    duration = frames / FRAMES_PER_SECOND
    samples = voice.speak(rng, speaker, np.array(clip.voice_cues), intensity(rng, duration, rate), rate)
    shown = _crops(rng, look, np.array(clip.face_cues), frames)
    other = np.zeros(frames, bool)
    alone = False
    if rng.uniform() < _TWO_PERSONS:
        length = round(frames * rng.uniform(0.2, 0.4))
        start = rng.integers(frames - length + 1)
        other[start : start + length], alone = True, bool(rng.uniform() < 0.5)
    bystander = demo_truth.draw(rng, 1, 0.0).face[0]
    largest = np.where(other[:, None], _crops(rng, drawing.draw_look(rng), bystander, frames), shown)
    unseen = rng.uniform(size=frames) < _UNSEEN
    return Content(
        sound=mel.extract_samples([[samples]], DTYPE),
        faces={
            "face": np.where((unseen | (other & alone))[:, None], 0, shown).astype(np.uint8),
            "any_face": np.where(unseen[:, None], 0, largest).astype(np.uint8),
        },
        sound_s=duration,
        frames=frames,
    )


def intensity(rng: np.random.Generator, seconds: float, per_second: float) -> Float[np.ndarray, " n"]:
    """How much of the cues is there at each moment: it rises to 1 every 3 to 5 seconds."""
    time = np.arange(round(seconds * per_second)) / per_second
    period, phase = rng.uniform(3, 5), rng.uniform()
    return _FLOOR + (1 - _FLOOR) * np.sin(np.pi * (time / period + phase)) ** 2


def _crops(
    rng: np.random.Generator, look: drawing.Look, cues: Float[np.ndarray, " 6"], frames: int
) -> UInt8[np.ndarray, "t 2304"]:
    """A person's face as the cascade would crop it."""
    moved = _EYES + rng.normal(0, 0.4, (frames, 2))
    half = _HALF * (1 + rng.normal(0, 0.02, frames))
    ground = np.full((frames, faces.SIZE, faces.SIZE), rng.uniform(0.2, 0.7), np.float32)
    strength = intensity(rng, frames / FRAMES_PER_SECOND, FRAMES_PER_SECOND)
    pictures = drawing.draw_faces(ground, look, strength[:, None] * cues, moved, half)
    return np.stack([faces.equalise(face) for face in to_grey(rng, pictures)]).reshape(frames, -1)


def to_grey(rng: np.random.Generator, pictures: Float[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "t h w"]:
    """Pictures as a camera would give them."""
    noisy = pictures + _PIXEL_NOISE * rng.standard_normal(pictures.shape, dtype=np.float32)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)

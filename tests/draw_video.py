"""Renders a SYNTHETIC clip as a real video file, so that what reads videos, finds faces and hears can be tried."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from data_builders.affect_video import demo, drawing

_ROWS, _COLUMNS = 240, 320
_HALF = 34.0  # pixels of half a head's width


def draw_scene(
    rng: np.random.Generator,
    persons: Sequence[drawing.Look],
    cues: Sequence[Float[np.ndarray, " 6"]],
    present: Bool[np.ndarray, "p t"],
) -> UInt8[np.ndarray, "t 240 320"]:
    """Frames with persons side by side.

    Args:
      rng: of movements, intensity and noise.
      persons: who, at most two.
      cues: of each (`demo_truth.FACE_CUES`).
      present: who is seen in which frame.
    """
    frames = present.shape[1]
    # A soft shade from left to right: the cascade finds faces in plain grounds and not in noise.
    pictures = np.tile(np.linspace(0.35, 0.6, _COLUMNS, dtype=np.float32), (frames, _ROWS, 1))
    for number, (look, own, seen) in enumerate(zip(persons, cues, present, strict=True)):
        place = np.array([_COLUMNS * (number + 1) / (len(persons) + 1), 100.0])
        moved = place + np.cumsum(rng.normal(0, 0.3, (frames, 2)), axis=0)
        strength = demo.intensity(rng, frames / 10, 10)
        pictures[seen] = drawing.draw_faces(pictures[seen], look, strength[seen, None] * own, moved[seen], _HALF)
    return demo.to_grey(rng, pictures)


def write_video(
    path: str | os.PathLike,
    frames: UInt8[np.ndarray, "t h w"],
    per_second: int,
    samples: Float32[np.ndarray, " n"] | None,
    sample_rate: int,
) -> None:
    """Encodes frames as MPEG-4 and sound, where there is any, without loss (mkv) or as AAC (mp4).

    Args:
      path: `.mkv` or `.mp4`.
      frames: grey.
      per_second: frames.
      samples: mono, between -1 and 1.
      sample_rate: in Hz.
    """
    import av

    with av.open(os.fspath(path), "w") as container:
        video = container.add_stream("mpeg4", rate=per_second)
        video.height, video.width, video.pix_fmt, video.bit_rate = *frames.shape[1:], "yuv420p", 4_000_000
        if samples is not None:
            codec = "flac" if os.fspath(path).endswith(".mkv") else "aac"
            audio = container.add_stream(codec, rate=sample_rate, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(video.encode(None))
        if samples is not None:
            whole = np.rint(32767 * np.clip(samples, -1, 1)).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
            sound.sample_rate, sound.pts = sample_rate, 0
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))

"""SYNTHETIC clips for tests: one or two drawn persons and a synthetic voice in real video files."""

import numpy as np

from data_builders.affect_video import demo, demo_truth, drawing, voice
from tests import draw_video

RATE = 16_000


def looks(seed=1):
    """Two persons."""
    rng = np.random.default_rng(seed)
    return drawing.draw_look(rng), drawing.draw_look(rng)


def scene(present, seed=1):
    """Frames of the two persons; `present` says who is seen when, [2, frames]."""
    rng = np.random.default_rng(seed)
    cues = demo_truth.draw(rng, 2, 0.0).face
    return draw_video.draw_scene(rng, looks(seed), list(cues), np.asarray(present, bool))


def speech(seconds, seed=1):
    """Samples at 16 kHz."""
    rng = np.random.default_rng(seed)
    cues = demo_truth.draw(rng, 1, 0.0).voice[0]
    return voice.speak(rng, voice.draw_voice(rng), cues, demo.intensity(rng, seconds, RATE), RATE)


def write(path, present, with_sound=True, seed=1):
    """A video at 10 frames per second."""
    frames = scene(present, seed)
    draw_video.write_video(path, frames, 10, speech(len(frames) / 10, seed) if with_sound else None, RATE)

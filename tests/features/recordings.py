"""SYNTHETIC recordings of every kind, written by FFmpeg and libsndfile."""

from fractions import Fraction

import av
import numpy as np
import soundfile

RATE = 16_000
# How FFmpeg calls codec and container, and the rate of codecs that have one only.
CODECS = {
    "mp3": ("libmp3lame", "mp3", RATE),
    "m4a": ("aac", "ipod", RATE),
    "mp4": ("aac", "mp4", RATE),
    "aac": ("aac", "adts", RATE),
    "webm": ("libopus", "webm", 48_000),
    "wma": ("wmav2", "asf", RATE),
    "amr": ("libopencore_amrnb", "amr", 8_000),
    "mka": ("flac", "matroska", RATE),
    "mkv": ("pcm_s16le", "matroska", RATE),
}


def tone(seconds=5.0, hz=220.0):
    """Samples at 16 kHz."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write(path, samples, hole=None):
    """Encodes samples by the suffix of the path; `hole` is what is left out of them, (start, end) in seconds."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in CODECS:
        more = {"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}
        more = {"format": kind.upper()} if kind in ("caf", "w64", "au") else more
        soundfile.write(path, samples, RATE, **more)
        return path
    codec, container, rate = CODECS[kind]
    with av.open(str(path), "w", format=container) as made:
        stream = made.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 12_200 if kind == "amr" else 64_000
        whole = np.rint(32767 * samples).astype(np.int16)
        form = av.AudioResampler(stream.format.name if stream.format else "s16", "mono", rate, stream.frame_size or 0)
        start, end = (round(second * RATE) for second in hole or (0, 0))
        frames = []
        for first, part in ((0, whole[:start]), (end, whole[end:])):
            if len(part):
                frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
                frames += form.resample(frame)
        for frame in [*frames, *form.resample(None)]:
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return path

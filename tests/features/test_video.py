"""Frames and sound of video files, against what was encoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import soxr

from mmpsy_jax.features import video
from mmpsy_jax.io import InputError
from tests.draw_video import write_video


def flat(greys):
    """A frame of one grey value for each."""
    return np.repeat(np.asarray(greys, np.uint8), 48 * 64).reshape(-1, 48, 64)


@pytest.fixture
def samples():
    time = np.arange(24000) / 16000
    return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize(("rate", "count"), [(10, 15), (25, 30), (5, 8)])
def test_the_frame_shown_at_each_tenth_of_a_second_is_given(tmp_path, ending, rate, count):
    greys = 20 + 7 * np.arange(count)
    write_video(tmp_path / f"a.{ending}", flat(greys), rate, None, 16000)
    got = np.array(list(video.frames(tmp_path / f"a.{ending}", 10)))
    wanted = greys[[tenth * rate // 10 for tenth in range(count * 10 // rate)]]
    assert got.shape == (len(wanted), 48, 64) and got.dtype == np.uint8
    assert np.abs(got.mean(axis=(1, 2)) - wanted).max() < 3


def test_large_frames_are_shrunk(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((2, 1080, 1920), 90, np.uint8), 10, None, 16000)
    assert next(iter(video.frames(tmp_path / "a.mp4", 10))).shape == (720, 1280)


def test_a_telephone_held_upright_is_turned(tmp_path):
    frame = np.zeros((48, 64), np.uint8)
    frame[:24, :32] = 200  # bright at the upper left
    path = tmp_path / "a.mp4"
    write_video(path, frame[None], 10, None, 16000)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the matrix of the track: here a quarter turn clockwise
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30]
    content[at : at + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in matrix)
    path.write_bytes(content)
    (turned,) = video.frames(path, 10)
    assert turned.shape == (64, 48)
    assert turned[:28, 28:].min() > 150 and turned[36:].max() < 50 and turned[:, :20].max() < 50


def test_sound_without_loss_is_what_was_encoded(tmp_path, samples):
    write_video(tmp_path / "a.mkv", flat([50] * 15), 10, samples, 16000)
    np.testing.assert_allclose(video.sound(tmp_path / "a.mkv", 16000), samples, atol=4e-5)


def test_sound_is_resampled_as_recordings_are(tmp_path, samples):
    write_video(tmp_path / "a.mkv", flat([50] * 15), 10, samples, 32000)
    soundfile.write(tmp_path / "a.wav", samples, 32000, subtype="FLOAT")
    wanted = soxr.resample(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], 32000, 16000)
    np.testing.assert_allclose(video.sound(tmp_path / "a.mkv", 16000), wanted, atol=1e-4)


def test_no_sound_is_an_empty_array(tmp_path):
    write_video(tmp_path / "a.mkv", flat([50]), 10, None, 16000)
    assert video.sound(tmp_path / "a.mkv", 16000).shape == (0,)


def test_files_that_are_no_videos_are_refused(tmp_path, samples):
    (tmp_path / "a.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    soundfile.write(tmp_path / "b.wav", samples, 16000)
    write_video(tmp_path / "c.mp4", flat([50] * 15), 10, samples, 16000)
    (tmp_path / "c.mp4").write_bytes((tmp_path / "c.mp4").read_bytes()[:800])
    for name, message in (("a.mp4", "cannot be read"), ("b.wav", "no pictures"), ("c.mp4", "c.mp4"), ("d", "d: ")):
        with pytest.raises(InputError, match=message):
            list(video.frames(tmp_path / name, 10))
    with pytest.raises(InputError, match="cannot be read"):
        video.sound(tmp_path / "a.mp4", 16000)


def test_sound_that_starts_late_stays_late(tmp_path, samples):
    write_video(tmp_path / "a.mkv", flat([50] * 15), 10, samples, 16000)
    with av.open(tmp_path / "a.mkv") as given, av.open(tmp_path / "late.mkv", "w") as made:
        copied = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                packet.pts, packet.dts = packet.pts + 500, packet.dts + 500  # in milliseconds
            packet.stream = copied[packet.stream.index]
            made.mux(packet)
    late = video.sound(tmp_path / "late.mkv", 16000)
    assert not late[:8000].any()
    np.testing.assert_allclose(late[8000:], samples, atol=4e-5)


def write_h264(path, greys, aspect=None):
    """H.264 with three pictures that refer to later ones between any two that do not."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": "b-adapt=0:bframes=3:weightp=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = 3
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(flat(greys)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv", "ts", "h264"])
def test_pictures_come_in_the_order_in_which_they_are_shown(tmp_path, ending):
    greys = 20 + 8 * np.arange(25)
    got = np.array(list(video.frames(write_h264(tmp_path / f"a.{ending}", greys), 10))).mean(axis=(1, 2))
    assert len(got) == 25
    np.testing.assert_allclose(got, greys, atol=6)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(64, 45), 91), (Fraction(1, 2), 32), (Fraction(1000, 1), 64)])
def test_pixels_are_made_square(tmp_path, ending, aspect, width):
    path = write_h264(tmp_path / f"a.{ending}", [50] * 4, aspect)
    assert {frame.shape for frame in video.frames(path, 10)} == {(48, width)}

"""Recordings to windows: the numbers of a direct computation with librosa, in flat memory, and clear reasons."""

import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile

from mmpsy_jax.features import mel, recording
from mmpsy_jax.io import InputError


def speech_like(seconds, rate, seed=0):
    """Noise in bursts over a tone; of no person."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    return (0.3 * rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 0.7 * t) > 0) + 0.1 * np.sin(880 * t)) * 0.3


def extract(*paths, settings=mel.RELEASE, dtype=np.float32):
    return mel.LogMel(settings).extract(paths, np.dtype(dtype))


def direct(y):
    """The definition, on the whole recording at once; windows as the release's script cuts them."""
    power = librosa.feature.melspectrogram(y=y * 32768.0, sr=16000, n_fft=2048, hop_length=533, n_mels=80)
    db = librosa.power_to_db(power)
    db = (db - db.mean()) / db.std()
    windows, start = [], 0
    while True:
        part = db[:, start : start + 1800]
        windows.append((np.pad(part, [(0, 0), (0, 1800 - part.shape[1])]), part.shape[1]))
        if start + 1800 >= db.shape[1]:
            return np.stack([w for w, _ in windows]), [n for _, n in windows]
        start += 1500


@pytest.mark.parametrize("seconds", [0.2, 20, 59.96, 150])
def test_windows_are_those_of_the_definition(tmp_path, seconds):
    y = speech_like(seconds, 16000)
    soundfile.write(tmp_path / "a.wav", y, 16000, subtype="FLOAT")
    made = extract(tmp_path / "a.wav")
    windows, lengths = direct(y.astype(np.float32).astype(np.float64))
    assert made.lengths.tolist() == lengths and len(made.values) == len(windows)
    np.testing.assert_allclose(made.values, windows, atol=2e-5)
    np.testing.assert_allclose(made.start_s, 50.0 * np.arange(len(windows)))
    assert made.duration_s == pytest.approx(seconds, rel=1e-3, abs=0.04) and made.notes == ("",)
    assert made.parts_s == (pytest.approx(seconds),)
    half = extract(tmp_path / "a.wav", dtype=np.float16)
    np.testing.assert_allclose(half.values, made.values, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(("name", "rate", "channels"), [("a.flac", 44100, 2), ("a.mp3", 48000, 1), ("a.wav", 8000, 3)])
def test_any_rate_and_channels(tmp_path, name, rate, channels):
    y = np.stack([speech_like(70, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(tmp_path / name, y, rate)
    made = extract(tmp_path / name)
    loaded, _ = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
    loaded = librosa.resample(loaded.mean(axis=1), orig_sr=rate, target_sr=16000)
    windows, lengths = direct(loaded.astype(np.float64))
    # Where the source has no sound (above half its rate), dB values are those of rounding noise.
    near = np.abs(made.values - windows) < 1e-2
    assert made.lengths.tolist() == lengths and near.mean() > 0.99


def test_recordings_are_joined_in_the_order_given(tmp_path):
    parts = [speech_like(40, 16000, seed).astype(np.float32) for seed in range(2)]
    for i, part in enumerate(parts):
        soundfile.write(tmp_path / f"{i}.wav", part, 16000, subtype="FLOAT")
    made = extract(tmp_path / "1.wav", tmp_path / "0.wav")
    windows, _ = direct(np.concatenate(parts[::-1]).astype(np.float64))
    np.testing.assert_allclose(made.values, windows, atol=2e-5)


def test_any_settings(tmp_path):
    y = speech_like(5, 22050).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", y, 22050, subtype="FLOAT")
    settings = mel.MelSettings(22050, 1024, 256, 40, 50.0, 8000.0, 60.0, window_seconds=2, overlap_seconds=0.5)
    assert (settings.window_frames, settings.step_frames) == (172, 129)
    made = extract(tmp_path / "a.wav", settings=settings)
    power = librosa.feature.melspectrogram(
        y=y.astype(np.float64) * 32768, sr=22050, n_fft=1024, hop_length=256, n_mels=40, fmin=50, fmax=8000
    )
    db = librosa.power_to_db(power, top_db=60)
    db = (db - db.mean()) / db.std()
    for k, window in enumerate(made.values):
        part = db[:, k * 129 : k * 129 + 172]
        np.testing.assert_allclose(window[:, : part.shape[1]], part, atol=2e-5)
        assert made.lengths[k] == part.shape[1] and not window[:, part.shape[1] :].any()
    assert len(made.values) == -(-(db.shape[1] - 172) // 129) + 1
    np.testing.assert_allclose(made.start_s, np.arange(len(made.values)) * 129 / (22050 / 256), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hop": 0}, "hop is 0, must be a whole number, at least 1"),
        ({"bands": 80.0}, "bands is 80.0, must be a whole number"),
        ({"fmin": "low"}, "fmin is 'low', must be a finite number"),
        ({"fmax": 9000}, "bands from 0 to 9000 Hz"),
        ({"fmin": 500, "fmax": 400}, "bands from 500 to 400 Hz"),
        ({"hop": 4096}, "hop at most n_fft"),
        ({"overlap_seconds": 60.0}, "the overlap must be at least 0 and shorter than the window"),
    ],
)
def test_settings_that_cannot_be(settings, reason):
    with pytest.raises(InputError, match=reason):
        mel.MelSettings(**settings)


def test_clipped_and_silent_recordings(tmp_path):
    y = speech_like(2, 16000)
    for name, signal in (("fine", y), ("some", y * 5), ("most", y * 200), ("silent", np.zeros(16000))):
        soundfile.write(tmp_path / f"{name}.wav", np.clip(signal, -1, 1), 16000)
    shares = [np.mean(np.abs(y) * gain >= 1) for gain in (5, 200)]
    assert recording.CLIPPED_NOTE < shares[0] < recording.CLIPPED_ERROR < shares[1]
    made = extract(tmp_path / "fine.wav", tmp_path / "some.wav", tmp_path / "silent.wav")
    assert made.notes[0] == "" and made.notes[1].startswith(f"clipped: {shares[0]:.1%} of the samples")
    assert made.notes[2] == "silent: every sample has the same value"
    with pytest.raises(InputError, match=r"most\.wav: clipped: .* at most 20% may be"):
        extract(tmp_path / "most.wav")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("zero.wav", np.zeros((0, 1)), "has zero length"),
        ("silent.wav", np.zeros(16000), "is silent throughout"),
        ("nan.wav", np.full(16000, np.nan), "not finite"),
        ("noise.wav", b"\x8f\x01\x77\x02\xfe\xfa\x10\x99", "cannot be read as a recording"),
        ("noise.mp3", b"\x8f\x01\x77\x02\xfe\xfa\x10\x99", "cannot be read as a recording"),
        ("absent.wav", None, "cannot be read .No such file"),
    ],
)
def test_what_is_no_recording_gets_a_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        soundfile.write(path, content, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=reason) as raised:
        extract(path)
    assert str(path) in str(raised.value)


def test_damaged_recordings_give_windows_or_a_reason(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = []
    for kind in ("wav", "flac", "mp3", "ogg"):
        whole = tmp_path / f"whole.{kind}"
        soundfile.write(whole, speech_like(0.5, 16000), 16000)
        for number in range(10):
            content = bytearray(whole.read_bytes())
            for place in rng.integers(0, 80 if number % 2 else len(content), 6):
                content[place] = rng.integers(256)
            path = tmp_path / f"{number}.{kind}"
            path.write_bytes(content[: rng.integers(1, len(content))] if number % 3 == 0 else content)
            try:
                outcomes.append(np.isfinite(extract(path).values).all())
            except InputError as error:
                assert str(path) in str(error)
                outcomes.append(None)
    assert all(outcome in (True, None) for outcome in outcomes) and {True, None} == set(outcomes)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    code = (
        "import sys, resource; from pathlib import Path; from mmpsy_jax.features import mel, recording\n"
        "for path in sys.argv[1:]:\n"
        "    n = sum(len(block) for block in mel.decibels(mel.padded([recording.samples(Path(path))])))\n"
        "    print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    paths = [tmp_path / f"{minutes}.wav" for minutes in (1, 30)]
    for path, minutes in zip(paths, (1, 30), strict=True):
        soundfile.write(path, np.tile(speech_like(60, 8000), minutes), 8000)
    shown = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    (short, before), (long, after) = (map(float, line.split()) for line in shown.stdout.splitlines())
    assert short == pytest.approx(60 * 16000 / 533, abs=2) and long == pytest.approx(1800 * 16000 / 533, abs=2)
    assert after < before + 40  # MB; 30 minutes in float64 are 230

"""Recordings as windows of samples."""

import numpy as np
import pytest
import soundfile

from mmpsy_jax.features import interview
from mmpsy_jax.features.waveform import Waveform, WaveformSettings
from mmpsy_jax.io import InputError


def test_samples_come_back_in_windows_of_the_record_contract(tmp_path):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(-20000, 20000, n).astype(np.int16) for n in (700, 500))
    for name, values in (("a.wav", first), ("b.wav", second)):
        soundfile.write(tmp_path / name, values, 16000)
    extractor = Waveform(WaveformSettings(window_seconds=0.05))
    made = extractor.extract([tmp_path / "a.wav", tmp_path / "b.wav"], np.dtype(np.int16))
    assert made.values.shape == (2, *extractor.shape) == (2, 800, 1) and made.values.dtype == np.int16
    np.testing.assert_array_equal(made.values.ravel()[:1200], np.concatenate([first, second]))
    assert not made.values.ravel()[1200:].any() and made.lengths.tolist() == [800, 400]
    np.testing.assert_allclose(made.start_s, [0, 0.05])
    assert made.duration_s == pytest.approx(1200 / 16000) and made.parts_s == (700 / 16000, 500 / 16000)


def test_other_rates_and_channels_are_resampled_and_averaged(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "a.flac", np.stack([tone, np.zeros(8000)], axis=1), 8000)
    made = Waveform(WaveformSettings(window_seconds=1.0)).extract([tmp_path / "a.flac"], np.dtype(np.int16))
    wanted = 32768 * 0.25 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    assert made.values.shape == (1, 16000, 1)
    np.testing.assert_allclose(made.values[0, 1000:-1000, 0], wanted[1000:-1000], atol=60)


def test_bad_recordings_are_named_and_odd_ones_noted(tmp_path):
    paths = {name: tmp_path / f"{name}.wav" for name in ("empty", "clipped", "silent")}
    soundfile.write(paths["empty"], np.zeros(0), 16000)
    soundfile.write(paths["clipped"], np.sign(np.sin(np.arange(4000) / 10)), 16000)
    soundfile.write(paths["silent"], np.zeros(4000), 16000)
    for name, message in (("empty", "zero length"), ("clipped", "at full scale")):
        with pytest.raises(InputError, match=rf"{name}\.wav.*{message}"):
            Waveform().extract([paths[name]], np.dtype(np.int16))
    assert "silent" in Waveform().extract([paths["silent"]], np.dtype(np.int16)).notes[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_seconds": 31.0}, "Whisper"),
        ({"window_seconds": 0}, "above 0"),
        ({"sample_rate": 16e3}, "whole number"),
        ({"bands": 3}, "sample_rate, window_seconds"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        interview.make_extractor("audio", {"name": "waveform", **settings})


def test_the_card_makes_the_same_extractor():
    made = interview.make_extractor("audio", {"name": "waveform", "window_seconds": 2.5})
    again = interview.extractor_of("audio", made.card())
    assert isinstance(again, Waveform) and again.settings == made.settings
    assert interview.dtype_of(made.card(), np.float16) == np.int16

"""Functionals of recordings against sounds whose pitch, level and pauses are known, and against direct formulas."""

import numpy as np
import pytest

from mmpsy_jax.features import functionals

RATE = 16000
T = np.arange(4 * RATE) / RATE


def voice(hertz, t=T):
    """A sound of eleven harmonics."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, t.shape)) / RATE
    return 0.1 * sum(np.sin(k * phase + k) / k for k in range(1, 12))


@pytest.mark.parametrize("hertz", [70, 120, 200, 320, 450])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_pitch_of_steady_sounds(hertz, rate):
    sound = voice(hertz)[:: RATE // rate] if rate == RATE else np.sin(2 * np.pi * hertz * np.arange(4 * rate) / rate)
    found = functionals.pitch(sound, rate)
    assert np.isfinite(found).all() and len(found) == (4 * rate - 0.04 * rate) // (0.01 * rate) + 1
    np.testing.assert_allclose(found, hertz, rtol=0.005)


def test_pitch_follows_a_voice_and_leaves_out_silence_and_noise():
    hertz = 150 * 2 ** (T / 4)  # an octave in four seconds
    found = functionals.pitch(voice(hertz), RATE)
    middle = hertz[(np.arange(len(found)) * 0.01 * RATE + 0.02 * RATE).astype(int)]
    np.testing.assert_allclose(found, middle, rtol=0.01)
    noise = 0.1 * np.random.default_rng(0).normal(size=4 * RATE)
    assert not np.isfinite(functionals.pitch(noise, RATE)).any()
    assert not np.isfinite(functionals.pitch(0 * noise, RATE)).any()
    assert not np.isfinite(functionals.pitch(voice(150)[:100], RATE)).any(), "shorter than a window"
    half = np.isfinite(functionals.pitch(np.where(T < 2, voice(150), 0.001 * noise), RATE))
    assert half.mean() == pytest.approx(0.5, abs=0.02)


def test_functionals_of_a_track_by_hand():
    track = np.array([1.0, 2.0, np.nan, 5.0, 4.0, 3.0])
    made = functionals.describe("x", track, 10.0)
    known = [1.0, 2.0, 5.0, 4.0, 3.0]
    expected = {"mean": 3.0, "sd": np.std(known), "rise": 10.0, "fall": -10.0}
    expected |= {f"p{p}": np.percentile(known, p) for p in (20, 50, 80)}
    assert made == pytest.approx({f"x_{name}": value for name, value in expected.items()})
    assert all(np.isnan(value) for value in functionals.describe("x", track[2:3], 10.0).values())
    assert functionals.describe("x", np.ones(3), 10.0)["x_rise"] == 0


def test_semitones_pauses_and_independence_of_gain():
    sound = np.where(T % 1 < 0.5, voice(110), 0.0)  # four calls of half a second, 24 semitones above 27.5 Hz
    made, louder = (functionals.of_samples(gain * sound, RATE) for gain in (1.0, 3.0))
    assert made["pitch_p50"] == pytest.approx(24, abs=0.1) and made["voiced_share"] == pytest.approx(0.5, abs=0.05)
    assert made["quiet_share"] == pytest.approx(0.5, abs=0.1) and made["quiet_per_second"] == pytest.approx(
        1.0, abs=0.1
    )
    assert made["quiet_seconds"] == pytest.approx(0.5, abs=0.1)
    assert louder["level_p80"] - made["level_p80"] == pytest.approx(20 * np.log10(3), abs=0.01)
    assert louder["pitch_mean"] == pytest.approx(made["pitch_mean"]) and louder["cepstrum_1_mean"] == pytest.approx(
        made["cepstrum_1_mean"], rel=1e-4
    )


def test_of_mel_is_part_of_of_samples_and_finite_for_few_frames():
    names = list(functionals.of_mel(np.zeros((80, 5)), 30.0))
    assert names == list(functionals.of_samples(voice(110), RATE))[8:] and len(names) == 6 * 7 + 3
    with np.errstate(all="raise"):
        for n in (1, 2):
            made = functionals.of_mel(np.random.default_rng(0).normal(size=(16, n)), 30.0)
            assert sum(np.isnan(value) for value in made.values()) == (7 if n == 1 else 0), "one frame has no change"


@pytest.mark.skipif(not functionals.has_opensmile(), reason="the optional package opensmile is not installed")
def test_egemaps_of_a_steady_voice():
    made = functionals.egemaps(voice(110), RATE)
    assert made.shape == (88,) and np.isfinite(made).all()
    assert made[0] == pytest.approx(24, abs=0.2), "mean pitch in semitones above 27.5 Hz"
    assert np.isnan(functionals.egemaps(voice(110)[:800], RATE)).all()

"""The jitted log-mel against librosa's, and against the streamed reference from files."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import soundfile

from benchmarks import jitted_mel as mel
from mmpsy_jax.features import mel as reference
from tests.features.test_mel import speech_like

OTHER = reference.MelSettings(8000, 512, 128, 24, 60.0, 3000.0, 60.0, window_seconds=2.0, overlap_seconds=0.5)


def by_librosa(y, settings):
    power = librosa.feature.melspectrogram(
        y=y.astype(np.float64) * 32768,
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        n_mels=settings.bands,
        fmin=settings.fmin,
        fmax=settings.highest_hz,
    )
    return librosa.power_to_db(power, top_db=settings.top_db).T


@pytest.mark.parametrize("settings", [reference.RELEASE, OTHER], ids=["release", "other"])
@pytest.mark.parametrize("fourier", ["rfft", "matmul"])
def test_a_batch_of_recordings_agrees_with_librosa(settings, fourier):
    lengths = np.array([40000, 31000])
    samples = np.zeros((2, 40000), np.float32)
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = speech_like(length / settings.sample_rate, settings.sample_rate, seed=length)[:length]
    run = jax.jit(mel.log_mel, static_argnames=("settings", "fourier"))
    values, frames = run(jnp.asarray(samples), jnp.asarray(lengths), settings=settings, fourier=fourier)
    for row, length, made, count in zip(samples, lengths, values, frames, strict=True):
        db = by_librosa(row[:length], settings)
        assert count == len(db)
        np.testing.assert_allclose(made[:count], (db - db.mean()) / db.std(), atol=1e-4)
        assert not np.asarray(made[count:]).any()


def test_in_float64_decibels_agree_as_well():
    samples = speech_like(2.0, 16000, seed=3).astype(np.float32)
    half = reference.RELEASE.n_fft // 2
    with jax.enable_x64(True):
        made = np.asarray(jax.jit(mel.mel_decibels)(jnp.asarray(np.pad(samples, half), jnp.float64)[None])[0])
    wanted = by_librosa(samples, reference.RELEASE)
    assert made.dtype == np.float64
    np.testing.assert_allclose(np.maximum(made, made.max() - 80), wanted, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.5, 7.3])
def test_streamed_from_a_file_it_gives_the_windows_of_the_reference(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(mel, "BLOCK_FRAMES", 60)
    monkeypatch.setattr(mel, "BLOCKS", 4)
    soundfile.write(tmp_path / "a.wav", speech_like(seconds, 8000), 8000)
    jitted = reference.LogMel(OTHER, transform=mel.decibels).extract([tmp_path / "a.wav"], np.dtype(np.float32))
    plain = reference.LogMel(OTHER).extract([tmp_path / "a.wav"], np.dtype(np.float32))
    assert jitted.lengths.tolist() == plain.lengths.tolist()
    np.testing.assert_allclose(jitted.values, plain.values, atol=1e-4)


def test_few_programs_are_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(mel, "BLOCK_FRAMES", 8)
    monkeypatch.setattr(mel, "BLOCKS", 4)
    mel._decibels.clear_cache()
    for samples in range(600, 9000, 700):
        frames = sum(map(len, mel.decibels([np.ones(samples, np.float32)], OTHER)))
        assert frames == (samples - OTHER.n_fft) // OTHER.hop + 1
    assert mel._decibels._cache_size() <= 3  # 1, 2 and 4 blocks

"""Measures of a record against what tones, pauses and texts are known to have. SYNTHETIC."""

import numpy as np
import pytest
import soundfile

from mmpsy_jax.exploration import measures

RATE = measures.RATE


def spoken(path, loud=0.1, quiet=0.001, hz=220.0):
    """Four seconds, every other one of which is a tone; noise all the time."""
    time = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, quiet, len(time))
    tone = loud * np.sqrt(2) * np.sin(2 * np.pi * hz * time) * (time.astype(int) % 2 == 0)
    soundfile.write(path, tone + noise, RATE, subtype="FLOAT")
    return path


def test_levels_and_pitch_of_a_recording(tmp_path):
    numbers = measures.of_recordings([spoken(tmp_path / "a.wav")])
    assert numbers["level_db"] == pytest.approx(-20, abs=0.1)
    assert numbers["noise_db"] == pytest.approx(-60, abs=0.5)
    assert numbers["snr_db"] == pytest.approx(40, abs=0.6)
    assert numbers["pitch_p50"] == pytest.approx(36, abs=0.1)  # three octaves above 27.5 Hz
    assert numbers["voiced_share"] == pytest.approx(0.5, abs=0.03) and numbers["clipped_percent"] == 0
    louder = measures.of_recordings([spoken(tmp_path / "b.wav", loud=0.2)])
    assert louder["level_db"] - numbers["level_db"] == pytest.approx(20 * np.log10(2), abs=0.05)


def test_silence_has_no_levels(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    numbers = measures.of_recordings([tmp_path / "a.wav"])
    assert "snr_db" not in numbers and np.isnan(numbers["pitch_p50"])


def test_words_of_scripts_with_and_without_spaces():
    assert measures.words("I can't, 我很好 OK") == ["i", "can't", "我", "很", "好", "ok"]
    record = {"n_answers": 2, "n_characters": 30, "duration_s": 60.0, "n_turns": 3}
    numbers = measures.of_words(record, "one two three\nfour")
    assert numbers["words_per_answer"] == 2 and numbers["characters_per_minute"] == 30 and numbers["n_turns"] == 3
    assert measures.of_words({**record, "n_characters": 0}, "") == {}
    assert "n_words" not in measures.of_words(record, "")


def test_type_token_ratio_is_that_of_running_windows():
    tokens = [str(i % 40) for i in range(60)] + ["x"] * 60
    shares = [len(set(tokens[i : i + 50])) / 50 for i in range(len(tokens) - 49)]
    assert measures._type_token_ratio(tokens) == pytest.approx(np.mean(shares))
    assert np.isnan(measures._type_token_ratio(tokens[:49]))


def test_a_record_of_embeddings_and_mel():
    rng = np.random.default_rng(1)
    mel = rng.normal(size=(2, 8, 50)).astype(np.float16)
    entries = {
        "audio": {"kind": "frames", "shape": [8, 50], "time_axis": 1},
        "text": {"kind": "features", "shape": [5, 3], "time_axis": 0},
        "ids": {"kind": "ids", "shape": [5, 4], "time_axis": 0},
        "interviewer_text": {"kind": "features", "shape": [5, 3], "time_axis": 0, "role": "interviewer"},
    }
    tokens = rng.normal(size=(2, 5, 3))
    record = {
        "n_answers": 1,
        "n_characters": 0,
        "duration_s": 9.0,
        "has_audio": True,
        "audio": mel,
        "audio_length": np.array([50, 30]),
        "has_text": True,
        "text": tokens,
        "text_length": np.array([5, 2]),
        "has_ids": False,
    }
    one = measures.describe(record, entries, 5.0)
    assert one.has == {"audio": True, "text": True, "ids": False} and one.text == ""
    np.testing.assert_allclose(one.means["text"], np.concatenate([tokens[0], tokens[1, :2]]).mean(axis=0), rtol=1e-6)
    frames = np.concatenate([mel[0], mel[1, :, :30]], axis=1).astype(np.float64)
    assert one.numbers["level_sd"] == pytest.approx(frames.mean(axis=0).std(), rel=1e-3)
    assert one.numbers["speaking_s"] == pytest.approx(9 * (1 - one.numbers["quiet_share"]))
    assert len(one.prints) == 2

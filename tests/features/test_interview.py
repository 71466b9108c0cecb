"""Text beside sound: every character in the window in which it is spoken, nothing lost; what records say of it."""

import numpy as np
import pytest
import soundfile

from mmpsy_jax.features import interview, text
from mmpsy_jax.features.mel import LogMel, MelSettings
from mmpsy_jax.features.text import NGrams, TextSettings
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError
from tests.features.test_mel import speech_like

SMALL = MelSettings(8000, 256, 80, 8, window_seconds=1.0, overlap_seconds=0.25)
DTYPES = {"audio": np.dtype(np.float16), "text": np.dtype(np.int32)}


def sound_of(windows, seconds, overlap=10.0, length=60.0):
    starts = np.arange(windows, dtype=np.float32) * np.float32(length - overlap)
    return Windows(np.zeros((windows, 2, 3)), np.full(windows, 3, np.int32), starts, seconds)


@pytest.mark.parametrize(("characters", "windows"), [(100, 1), (100, 4), (175, 2), (400, 1), (400, 3), (2000, 4)])
def test_placement_of_the_corpus(characters, windows):
    words = Transcript(("字" * characters,), (1,))
    made, window = NGrams(TextSettings(placement="corpus")).extract_beside(words, sound_of(windows, 60.0), 60.0)
    ids = text.encode(words.answers, words.questions)[:512]
    hop = max(0, (len(ids) - 175) // (windows - 1)) if windows > 1 else 0
    for k in range(windows):
        part = ids[k * hop : k * hop + 175]
        np.testing.assert_array_equal(made.values[k][: len(part)], part)
        assert made.lengths[k] == len(part) and not made.values[k][len(part) :].any()
    assert window.tolist() == list(range(windows))


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize(("characters", "windows"), [(1, 1), (90, 1), (150, 3), (1000, 2)])
def test_words_lie_in_the_windows_in_which_they_are_spoken(timed, characters, windows):
    rng = np.random.default_rng(characters)
    seconds = 50.0 * windows + 5
    letters = "".join(map(chr, rng.integers(0x4E00, 0x9000, characters)))
    times = tuple(np.sort(rng.uniform(0, seconds, characters)).tolist()) if timed else None
    sound = sound_of(windows, seconds)
    made, window = NGrams(TextSettings(positions=20)).extract_beside(Transcript((letters,), (1,), times), sound, 60.0)
    ids = text.encode([letters], [1])
    at = np.array(times) if timed else (np.arange(characters) + 0.5) * seconds / characters
    expected = {
        k: ids[(at >= 50 * k) & ((at < 50 * k + 60) if k < windows - 1 else np.ones_like(at, bool))]
        for k in range(windows)
    }
    assert window[window >= 0].tolist() == list(range(windows)) and (np.diff(made.start_s) >= 0).all()
    parts = [values[:length] for values, length in zip(made.values, made.lengths, strict=True)]
    for k in range(windows):
        place = int(np.flatnonzero(window == k)[0])
        assert made.start_s[place] == 50 * k
        np.testing.assert_array_equal(parts[place], expected[k][:20])
    said = {row.tobytes() for part in parts for row in part}
    assert said == {row.tobytes() for row in ids}
    assert made.lengths.sum() == sum(map(len, expected.values()))
    for start, place in zip(made.start_s, window, strict=True):
        assert place >= 0 or start in at.astype(np.float32)  # further windows begin at their first character


def test_words_after_the_end_belong_to_another_recording():
    words = Transcript(("ab",), (1,), (3.0, 70.0))
    with pytest.raises(InputError, match=r"words at 70\.0 s, but the recording ends at 60\.0 s"):
        NGrams().extract_beside(words, sound_of(1, 60.0), 60.0)


def test_a_record_of_both_of_one_and_of_the_other(tmp_path):
    paths = [tmp_path / "1.wav", tmp_path / "2.wav"]
    for path, seconds in zip(paths, (1.0, 1.5), strict=True):
        soundfile.write(path, speech_like(seconds, 8000), 8000)
    both = {"audio": LogMel(SMALL), "text": NGrams(TextSettings(positions=5))}
    words = Transcript(("abc", "defghijklmnop"), (1, 2))
    record, notes = interview.record(paths, words, both, DTYPES)
    sound = both["audio"].extract(paths, np.dtype(np.float16))
    assert notes == [] and record["duration_s"] == pytest.approx(2.5, abs=0.02)
    count = record["n_windows"]
    assert count == len(record["audio"]) == len(record["text"]) == len(record["window_start_s"]) > len(sound.values)
    heard = record["audio_length"] > 0
    assert record["audio"][heard].tobytes() == sound.values.tobytes() and not record["audio"][~heard].any()
    # Each answer is spoken in its own recording: the first window, of 1 s, ends before the newline after the first.
    first = text.encode(words.answers, words.questions)[: record["text_length"][0]]
    assert record["text_length"][0] == 3 and record["text"][0, :3].tobytes() == first.tobytes()

    mute, _ = interview.record([], words, both, DTYPES)
    alone, _ = interview.record([], words, {"text": both["text"]}, DTYPES)
    assert not mute["has_audio"] and not mute["audio"].any() and mute["audio"].dtype == np.float16
    assert mute["text"].tobytes() == alone["text"].tobytes() and mute["duration_s"] == 0
    silent, _ = interview.record(paths, Transcript(), both, DTYPES)
    assert not silent["has_text"] and silent["audio"].tobytes() == sound.values.tobytes()
    assert silent["text"].shape == (len(sound.values), 5, 4)


def test_what_does_not_fit_together(tmp_path):
    both = {"audio": LogMel(SMALL), "text": NGrams()}
    with pytest.raises(InputError, match="3 recordings, but 2 answers"):
        interview.record([tmp_path / "x.wav"] * 3, Transcript(("a", "b"), (1, 2)), both, DTYPES)
    with pytest.raises(InputError, match=r"holds nothing of what is read \(audio, text\)"):
        interview.record([], Transcript((" ",), (1,)), both, DTYPES)


def test_extractors_by_settings_and_by_card():
    made = interview.make_extractor("audio", {"bands": 16, "hop": 160})
    again = interview.extractor_of("audio", made.card())
    assert again.settings == made.settings and again.shape == (16, 6000) and made.card()["shape"] == [16, 6000]
    assert interview.extractor_of("text", text.NGrams().card()).settings == TextSettings()
    assert interview.extractor_of("text", {"kind": "features", "shape": [175, 768], "time_axis": 0}) is None
    assert interview.extractor_of("audio", {"kind": "features", "shape": [80, 60], "time_axis": 1}) is None
    assert interview.extractor_of("video", {}) is None
    for modality, settings, reason in (
        ("video", {}, "unknown modality 'video'"),
        ("audio", {"name": "mfcc"}, "unknown extractor of audio 'mfcc'.*log_mel"),
        ("audio", {"band": 3}, "unknown setting of audio 'band'.*bands"),
        ("text", {"placement": "x"}, "placement.*choose one of: corpus, spoken"),
        ("text", {"positions": 0}, "positions is 0"),
    ):
        with pytest.raises(InputError, match=reason):
            interview.make_extractor(modality, settings)

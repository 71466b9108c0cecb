"""The demo corpus: its layout, its determinism, its planted signal, and the claim that its optimum is one."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, roc_auc_score

from data_builders.common import splits
from data_builders.mmpsy import demo, demo_truth
from mmpsy_jax.io import InputError

SMALL = {"mel_shape": (16, 120), "text_shape": (24, 32)}
REAL_TABLE = Path(__file__).parents[3] / "shared/data/mmpsy/wav_select.json"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo.write_corpus(folder, participants=120, workers=0, **SMALL)
    return folder


@pytest.fixture(scope="module")
def table(corpus):
    return json.loads((corpus / "data/wav_select.json").read_text())


def digest(folder):
    """Every file's relative path and content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def windows(corpus, participant, kind):
    folder = corpus / "data/np_data" / participant / kind
    names = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    assert [path.name for path in names] == [f"{number}.npy" for number in range(len(names))]
    return [np.load(path, allow_pickle=False) for path in names]


# ----------------------------------------------------------------------------------------------------------- layout


def test_table_has_the_released_form(table):
    assert [row["user_id"] for row in table] == [f"user_{number}" for number in range(1, 121)]
    for row in table:
        assert list(row) == ["user_id", "phq-label", "gad-label", "audios"]
        assert 4 <= len(row["audios"]) <= 10
        assert list(row["audios"]) == [f"wav_{number}.wav" for number in range(1, len(row["audios"]) + 1)]
        assert all(answer.endswith("。") for answer in row["audios"].values())
        for label in ("phq-label", "gad-label"):
            assert isinstance(row[label]["score"], int) and isinstance(row[label]["level"], str)


@pytest.mark.parametrize(
    ("scale", "score", "level"),
    [
        ("phq9", 4, "Normal"),
        ("phq9", 9, "Mild"),
        ("phq9", 19, "Moderate"),
        ("phq9", 20, "Severe"),
        ("gad7", 0, "Normal"),
        ("gad7", 18, "Moderate"),
        ("gad7", 19, "Severe"),
    ],
)
def test_levels_follow_the_released_file_not_its_readme(scale, score, level):
    assert demo._level(scale, score) == level


@pytest.mark.skipif(not REAL_TABLE.exists(), reason=f"the real table is not at {REAL_TABLE}")
def test_constants_are_those_of_the_released_table():
    """Histograms and level strings; only aggregates are compared, nothing of a participant can reach a message."""
    rows = json.loads(REAL_TABLE.read_text(encoding="utf-8"))
    for scale, label in (("phq9", "phq-label"), ("gad7", "gad-label")):
        counts = np.bincount([row[label]["score"] for row in rows], minlength=len(demo_truth.HISTOGRAM[scale]))
        assert counts.tolist() == list(demo_truth.HISTOGRAM[scale])
        wrong = sum(row[label]["level"] != demo._level(scale, row[label]["score"]) for row in rows)
        assert wrong == 0


def test_windows_have_the_released_shapes_and_float_types(corpus, table):
    several = 0
    for row in table:
        mel = windows(corpus, row["user_id"], "mel-spectrogram")
        text = windows(corpus, row["user_id"], "sentence_embeddings")
        assert len(mel) == len(text) >= 1
        several += len(mel) > 1
        for window in mel:
            assert window.shape == SMALL["mel_shape"]
            padded = not window[:, -1].any()
            assert window.dtype == (np.float64 if padded else np.float32)
        for window in text:
            assert window.shape == SMALL["text_shape"]
            assert window.dtype == (np.float64 if not window[-1].any() else np.float32)
        assert all(window.dtype == np.float32 for window in mel[:-1])  # only the last window can be padded
    assert 0.2 < several / len(table) < 0.7


def test_default_shapes_are_the_released_ones(tmp_path):
    demo.write_corpus(tmp_path, participants=1)
    assert windows(tmp_path, "user_1", "mel-spectrogram")[0].shape == (80, 1800)
    assert windows(tmp_path, "user_1", "sentence_embeddings")[0].shape == (175, 768)


def test_recordings_are_normalised_as_a_whole_and_fit_float16(corpus, table):
    single = [row["user_id"] for row in table if len(windows(corpus, row["user_id"], "mel-spectrogram")) == 1]
    for participant in single[:20]:
        (mel,) = windows(corpus, participant, "mel-spectrogram")
        valid = mel[:, mel.any(axis=0)]
        assert abs(valid.mean()) < 1e-4 and abs(valid.std() - 1) < 1e-4
        assert np.isfinite(mel.astype(np.float16)).all()


def test_mel_windows_overlap_and_cover_the_recording():
    recording = np.arange(1, 261, dtype=np.float32)[None].repeat(8, axis=0)
    made = demo.mel_windows(recording, (8, 120))  # hop 100, overlap 20
    assert [window[0, 0] for window in made] == [1, 101, 201]
    assert made[-1][0].tolist() == [*range(201, 261), *[0] * 60]
    assert len(demo.mel_windows(recording[:, :120], (8, 120))) == 1
    assert len(demo.mel_windows(recording[:, :121], (8, 120))) == 2


def test_token_windows_are_spread_over_the_text():
    tokens = np.arange(1, 51, dtype=np.float32)[:, None].repeat(8, axis=1)
    assert [window[0, 0] for window in demo.token_windows(tokens, 3, (24, 8))] == [1, 14, 27]
    assert [window[0, 0] for window in demo.token_windows(tokens, 1, (24, 8))] == [1]
    short = demo.token_windows(tokens[:5], 2, (24, 8))
    assert [int((window[:, 0] != 0).sum()) for window in short] == [5, 5]


# ------------------------------------------------------------------------------------------------------ determinism


def test_same_bytes_whatever_the_number_of_workers(tmp_path):
    demo.write_corpus(tmp_path / "one", participants=50, workers=0, **SMALL)
    demo.write_corpus(tmp_path / "two", participants=50, workers=2, **SMALL)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_smaller_corpus_is_a_prefix_and_seed_changes_people(tmp_path, corpus, table):
    demo.write_corpus(tmp_path / "few", participants=6, workers=0, **SMALL)
    few, many = digest(tmp_path / "few/data/np_data"), digest(corpus / "data/np_data")
    assert few and few.items() <= many.items()
    assert json.loads((tmp_path / "few/data/wav_select.json").read_text()) == table[:6]
    demo.write_corpus(tmp_path / "other", participants=6, workers=0, seed=1, **SMALL)
    other = digest(tmp_path / "other/data/np_data")
    assert not set(few.values()) & set(other.values())


# ----------------------------------------------------------------------------------------------------------- signal


def test_scores_have_the_released_margins_and_correlation():
    made = demo_truth.people(range(4000), seed=3)
    for scale in demo_truth.SCALES:
        wanted = np.array(demo_truth.HISTOGRAM[scale]) / sum(demo_truth.HISTOGRAM[scale])
        seen = np.bincount(made.scores[scale], minlength=len(wanted)) / 4000
        assert np.abs(seen - wanted).max() < 0.02
        assert not seen[wanted == 0].any()
    assert np.corrcoef(made.scores["phq9"], made.scores["gad7"])[0, 1] == pytest.approx(0.80, abs=0.02)


def test_means_over_the_windows_recover_the_cues(tmp_path):
    """With the released frame rate; text of fewer dimensions, which only makes the estimate harder."""
    count, train = 90, 60
    demo.write_corpus(tmp_path, participants=count, workers=0, mel_shape=(16, 1800), text_shape=(175, 32))
    who = demo_truth.people(range(count), seed=0)
    for modality, kind, axis in (("audio", "mel-spectrogram", 1), ("text", "sentence_embeddings", 0)):
        means = []
        for index in range(count):
            parts = np.concatenate(windows(tmp_path, demo_truth.participant_id(index), kind), axis=axis)
            means.append(parts.compress(parts.any(axis=1 - axis), axis=axis).mean(axis=axis))
        cues, means = who.cues(modality), np.array(means)
        guess = Ridge(1e-2).fit(means[:train], cues[:train]).predict(means[train:])
        explained = 1 - ((guess - cues[train:]) ** 2).mean(axis=0) / cues[train:].var(axis=0)
        assert explained.min() > 0.97, modality


def test_text_length_and_number_of_answers_carry_nothing(corpus, table):
    """So that the length-only baseline is a real floor on this corpus."""
    scores = [row["phq-label"]["score"] for row in table]
    lengths = [sum(map(len, row["audios"].values())) for row in table]
    answers = [len(row["audios"]) for row in table]
    assert abs(np.corrcoef(scores, lengths)[0, 1]) < 0.3  # 3.3 standard errors at n = 120
    assert abs(np.corrcoef(scores, answers)[0, 1]) < 0.3


# ---------------------------------------------------------------------------------------------------------- optimum


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_optimum_agrees_with_a_regression_on_many_people(modality):
    """An estimate that knows nothing of the construction: least squares on the cues of 60,000 people, tested on 60,000.

    The mean of z given the cues is linear in them, so its ranking, hence its AUROC, is the optimal one.
    """
    who = demo_truth._with_scores(np.random.default_rng(5).standard_normal((120_000, 2, 4)))
    cues, half = who.cues(modality), 60_000
    for scale in demo_truth.SCALES:
        score = who.scores[scale]
        guess = Ridge().fit(cues[:half], score[:half]).predict(cues[half:])
        best = demo_truth.population_optimum()[scale][modality]
        assert roc_auc_score(score[half:] >= 10, guess) == pytest.approx(best["auroc"], abs=0.006)
        assert mean_absolute_error(score[half:], guess) > best["mae"]
        assert np.corrcoef(score[half:], guess)[0, 1] <= best["ccc"] + 0.005


def test_both_modalities_beat_either_by_a_margin_that_a_test_can_see():
    best = demo_truth.population_optimum()
    for scale in demo_truth.SCALES:
        single = max(best[scale]["audio"]["auroc"], best[scale]["text"]["auroc"])
        assert best[scale]["both"]["auroc"] - 0.05 > single
        assert best[scale]["both"]["mae"] < min(best[scale]["audio"]["mae"], best[scale]["text"]["mae"])


def test_default_test_split_gives_a_narrow_interval():
    """The 95 % bootstrap interval of the optimal AUROC for PHQ-9 >= 10 is at most 0.06 either way."""
    assigned = splits.assign([f"user_{number}" for number in range(1, 801)], fractions=(0.45, 0.15, 0.40))
    test = [number for number, split in enumerate(assigned.values()) if split == "test"]
    who, rng, values = demo_truth.people(test, seed=0), np.random.default_rng(0), []
    mean, _ = demo_truth._posterior(who, "phq9", "both")
    positive = who.scores["phq9"] >= 10
    for _ in range(500):
        drawn = rng.integers(0, len(test), len(test))
        values.append(roc_auc_score(positive[drawn], mean[drawn]))
    assert np.subtract(*np.quantile(values, [0.975, 0.025])) / 2 <= 0.06


def test_optimum_is_saved_and_extended_by_the_test_split(corpus):
    made = json.loads((corpus / "optimum.json").read_text())
    assert made["corpus"] == demo_truth.optimum([f"user_{number}" for number in range(1, 121)], seed=0)
    test = [f"user_{number}" for number in range(40, 100)]
    extended = demo_truth.with_test(made, test)
    assert extended["test"] == {"participants": 60, **demo_truth.optimum(test, seed=0)}
    assert "test" not in made
    for values in (extended["population"], extended["test"]):
        for scale in ("phq9", "gad7"):
            for modality in ("audio", "text", "both"):
                assert 0.5 < values[scale][modality]["auroc"] < 1


def test_optimum_of_a_corpus_without_positives_says_so(tmp_path):
    made = demo.write_corpus(tmp_path, participants=1, **SMALL)
    assert "corpus" not in made and "cut-off" in made["corpus_note"]
    assert "make the demo corpus larger" in demo_truth.with_test(made, ["user_1"])["test_note"]


@pytest.mark.parametrize("participant", ["somebody", "user_0", "user_x", "4f5a"])
def test_optimum_refuses_foreign_ids(participant):
    with pytest.raises(InputError, match="not of the demo corpus"):
        demo_truth.optimum([participant], seed=0)


# --------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"participants": 0}, "participants=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"workers": -1}, "workers=-1 must not be negative"),
        ({"mel_shape": (4, 120)}, r"mel_shape=\(4, 120\)"),
        ({"text_shape": (24,)}, r"text_shape=\(24,\)"),
    ],
)
def test_arguments_are_checked(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        demo.write_corpus(tmp_path, **{"participants": 2, **SMALL, **arguments})
    assert not any(tmp_path.iterdir())


def test_a_finished_corpus_is_not_overwritten(corpus):
    before = digest(corpus)
    with pytest.raises(InputError, match="already holds a corpus"):
        demo.write_corpus(corpus, participants=2, **SMALL)
    assert digest(corpus) == before


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    written, save = [], np.save

    def fill_up(path, *args, **kwargs):
        if len(written) == 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        save(path, *args, **kwargs)

    monkeypatch.setattr(np, "save", fill_up)
    with pytest.raises(InputError, match="no space left"):
        demo.write_corpus(tmp_path, participants=20, workers=0, **SMALL)
    assert len(written) == 7
    assert not any(tmp_path.iterdir())


def test_killed_run_is_unfinished_and_started_afresh(tmp_path):
    code = f"from data_builders.mmpsy import demo; demo.write_corpus({str(tmp_path)!r}, participants=40, workers=0)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 30
        while len(list(tmp_path.rglob("*.npy"))) < 8:
            assert child.poll() is None and time.monotonic() < deadline, "it ended or stalled before it could be killed"
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert not (tmp_path / "data/wav_select.json").exists()
    demo.write_corpus(tmp_path, participants=2, workers=0, **SMALL)
    assert sorted(path.name for path in (tmp_path / "data/np_data").iterdir()) == ["user_1", "user_2"]

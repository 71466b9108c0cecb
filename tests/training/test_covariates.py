"""What baselines and the search for leaks are given: against a direct reading of the records. SYNTHETIC data."""

import dataclasses
import importlib

import numpy as np
import pytest

from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation import near_duplicates
from mmpsy_jax.features import functionals
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import covariates, results, run
from mmpsy_jax.training.loop import TrainJob
from tests.runs import small


@pytest.fixture(scope="module")
def corpus(dataset):
    """The opened demo corpus."""
    return open_corpus(dataset)


@pytest.fixture(scope="module")
def heard(corpus):
    """Of the recordings."""
    return covariates.sound(corpus)


def test_statistics_are_those_of_the_valid_frames(corpus, heard):
    assert heard.statistics.shape == (len(corpus), 32)
    for i in range(0, len(corpus), 7):
        record = corpus.read(i)
        frames = [w[:, :n].astype(float) for w, n in zip(record["audio"], record["audio_length"], strict=True)]
        frames = np.concatenate(frames, axis=1)
        np.testing.assert_allclose(heard.statistics[i, :16], frames.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(heard.statistics[i, 16:], frames.std(axis=1), atol=1e-5)
        own = near_duplicates.fingerprints(record["audio"], record["audio_length"])
        np.testing.assert_array_equal(heard.prints[heard.owner == i], own)
        assert len(own) == (record["audio_length"] >= 17).sum() > 0


def test_who_has_no_audio_has_no_statistics(corpus):
    has = {**corpus.has, "audio": np.arange(len(corpus)) % 2 == 0}
    heard = covariates.sound(dataclasses.replace(corpus, has=has))
    assert np.array_equal(np.isnan(heard.statistics).all(axis=1), ~has["audio"])
    assert not np.isnan(heard.statistics[::2]).any() and not (heard.owner % 2).any()
    text = {name: modality for name, modality in corpus.modalities.items() if name == "text"}
    assert covariates.sound(dataclasses.replace(corpus, modalities=text)) is None


def test_a_corpus_without_text_has_no_transcripts(dataset, corpus):
    audio = {name: modality for name, modality in corpus.modalities.items() if name == "audio"}
    assert covariates.transcripts(small(dataset), dataclasses.replace(corpus, modalities=audio)) is None


def test_subgroups_of_the_corpus_are_read_unless_others_are_named(dataset, corpus, tmp_path):
    config = small(dataset)
    assert covariates.subgroups(config, corpus) is None
    (tmp_path / "subgroups.csv").write_text(f"participant_id,sex\n{corpus.participants[1]},f\n")
    built = dataclasses.replace(corpus, path=tmp_path)
    assert covariates.subgroups(config, built).columns["sex"].tolist()[:3] == ["", "f", ""]
    (tmp_path / "other.csv").write_text("participant_id,site\nx,a\n")
    config.evaluation.subgroups = str(tmp_path / "other.csv")
    assert list(covariates.subgroups(config, built).columns) == ["site"]
    config.evaluation.subgroups = "none"
    assert covariates.subgroups(config, built) is None
    (tmp_path / "subgroups.csv").write_text("participant_id,age\n" + "".join(f"p{i},{i}\n" for i in range(30)))
    with pytest.raises(InputError, match="'age' has 30 different values"):
        run.check(small(dataset), from_config(config.tasks), built)


def test_leaks_are_counted_per_tested_participant(dataset, corpus, heard):
    config = small(dataset)
    texts = covariates.transcripts(config, corpus)
    split = np.array(corpus.split)
    assert covariates.leaks(corpus, [split], texts, heard) == [], "the demo corpus has no duplicates"
    trained, tested = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    copied = dict(texts)
    for one, other in zip(tested[:3].tolist(), trained[:3].tolist(), strict=True):
        copied[corpus.participants[one]] = texts[corpus.participants[other]].replace("。", "，")
    (flag,) = covariates.leaks(corpus, [split], copied, heard)
    assert flag["level"] == "red" and flag["code"] == "near_duplicate_texts" and flag["message"].startswith("3 part")
    prints = heard.prints.copy()
    prints[heard.owner == tested[0]] = prints[heard.owner == trained[0]][0]
    planted = dataclasses.replace(heard, prints=prints)
    (flag,) = covariates.leaks(corpus, [split], texts, planted)
    assert flag["code"] == "near_duplicate_windows" and flag["message"].startswith("1 part")
    # The same two people on the same side of every fold are no leak.
    together = np.where(np.isin(np.arange(len(split)), [tested[0], trained[0]]), "train", split)
    assert covariates.leaks(corpus, [together], None, planted) == []
    assert len(covariates.leaks(corpus, [together, split], None, planted)) == 1


def test_the_column_of_splits(dataset, corpus, tmp_path):
    one = TrainJob(small(dataset), corpus, {"train": np.array([2, 0]), "test": np.array([1])}, tmp_path)
    assert covariates.split_column(one, 4).tolist() == ["train", "test", "train", ""]


def test_functionals_of_mel_are_those_of_the_valid_frames(corpus, heard):
    (name,) = heard.functionals
    assert name == functionals.OWN and heard.functionals[name].shape == (len(corpus), 45)
    for i in range(0, len(corpus), 11):
        record = corpus.read(i)
        frames = [w[:, :n] for w, n in zip(record["audio"], record["audio_length"], strict=True)]
        per_second = corpus.modalities["audio"].shape[1] / corpus.card["window_seconds"]
        direct = functionals.of_mel(np.concatenate(frames, axis=1).astype(np.float32), per_second)
        np.testing.assert_allclose(heard.functionals[name][i], list(direct.values()), rtol=1e-12)
    assert covariates.sound(corpus, with_functionals=False).functionals == {}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Records with samples and without transcripts: a small demo of hotline."""
    options = {"participants": 10, "seconds": (0.3, 0.5), "window_seconds": 0.5}
    return open_corpus(cli.build("hotline/demo", tmp_path_factory.mktemp("hotline"), **options))


def hotline_config(calls):
    config = importlib.import_module("configs.hotline_emotions").get_config("hubert")
    config.data.folder = str(calls.path)
    config.tasks = config.tasks[:1]
    return config


@pytest.mark.parametrize("installed", [False, True])
def test_samples_give_functionals_and_no_baseline_of_what_nobody_has(calls, installed, monkeypatch, tmp_path):
    """Neither characters nor answers are counted there, hence no length; of eGeMAPS only the way into a baseline."""
    monkeypatch.setattr(functionals, "has_opensmile", lambda: installed)
    monkeypatch.setattr(functionals, "egemaps", lambda samples, rate: np.arange(88) * np.std(samples))
    members = {name: np.flatnonzero(np.array(calls.split) == name) for name in ("train", "validation", "test")}
    config = hotline_config(calls)
    known = results.fit_references(
        config, from_config(config.tasks), calls, [TrainJob(config, calls, members, tmp_path)]
    )
    name = functionals.EGEMAPS if installed else functionals.OWN
    assert set(known.baselines) == {"prior", name}
    assert known.heard.prints is None and known.heard.statistics is None
    record = calls.read(3)
    samples = record["audio"][0, : record["audio_length"][0], 0] / 32768
    expected = np.arange(88) * np.std(samples) if installed else list(functionals.of_samples(samples, 16000).values())
    np.testing.assert_allclose(known.heard.functionals[name][3], expected, rtol=1e-4)
    predicted = known.baselines[name].y_prob
    assert np.isfinite(predicted).all() and len(np.unique(predicted)) > 10
    checks = covariates.leak_checks(known.texts, known.heard)
    assert checks == {
        "near_duplicate_texts": "no transcripts are at hand",
        "near_duplicate_windows": "the records hold no mel windows",
    }
    assert covariates.leaks(calls, known.folds, known.texts, known.heard) == []


def test_leak_checks_of_a_corpus_with_both(heard):
    assert set(covariates.leak_checks({"a": "b"}, heard).values()) == {None}


def test_numbers_that_do_not_vary():
    for counts in ([0, 0, 0], [1, 1, 1], [5, 5, 5], [0, 1, 0], []):  # the fourth: who spoke that day, of daily moods
        assert covariates.varied(np.array(counts)) is None
    np.testing.assert_array_equal(covariates.varied(np.array([1, 2])), [1, 2])

"""The linear path against scikit-learn and refits, in a network and as a model by itself. All data is SYNTHETIC."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression, Ridge

from data_builders.common import cli
from mmpsy_jax import models
from mmpsy_jax.data import statistics
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.modality import LAST_KEY, ngram_keys
from mmpsy_jax.models.base import Head
from mmpsy_jax.models.linear_path import NAME, SLOPES, columns_of
from mmpsy_jax.tasks import Task, from_config, questionnaire, to_config
from mmpsy_jax.training import batches, finished_run, mesh, programs, ridge, run, train_statistics
from mmpsy_jax.training.config import choose_model
from tests.data_builders.small_source import entry, write_table
from tests.runs import small
from tests.sharing import shared

TASKS = questionnaire("phq9", "phq") + questionnaire("gad7", "gad", kinds=("binary", "regression"))


@pytest.fixture(scope="session")
def transcripts(tmp_path_factory):
    """Records of 30 transcripts."""

    def make(folder):
        table = write_table(folder, [entry(number, answers=2 + number % 4) for number in range(1, 31)])
        return cli.build("mmpsy/transcripts", folder / "data_dir", source=str(table), workers=0)

    return Path(shared(tmp_path_factory, "thirty_transcripts", make))


def linear(built, tasks=TASKS, **fields):
    config = small(built)
    choose_model(config, "linear")
    config.tasks = to_config(tasks)
    config.selection.metric, config.cv.folds, config.cv.validation_fraction = "step", 3, 0.0
    config.evaluation.baselines = config.evaluation.near_duplicates = False
    config.update_from_flattened_dict(fields)
    return config


def drawn(n=60, features=40, labels=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) + 1
    return x, x[:, :labels] @ rng.normal(size=(labels, labels)) * 2 + rng.normal(size=(n, labels)) + [5, -3]


def test_the_dual_solution_is_ridge_regression_and_what_is_left_out_is_that_of_refits():
    x, y = drawn()
    solution, centred, mean = ridge.solve(x @ x.T, y), x - x.mean(axis=0), y.mean(axis=0)
    for label, penalty in enumerate(solution.penalty):
        model = Ridge(alpha=penalty).fit(x, y[:, label])
        np.testing.assert_allclose(solution.fit[:, label], model.predict(x), atol=2e-4)
        np.testing.assert_allclose(x.T @ solution.dual[:, label], model.coef_, atol=2e-4)
        about, refits = y[:, label] - mean[label], []  # the mean is not left out
        for i in range(len(x)):
            others = Ridge(alpha=penalty, fit_intercept=False).fit(np.delete(centred, i, 0), np.delete(about, i))
            refits.append(mean[label] + others.predict(centred[i : i + 1])[0])
        np.testing.assert_allclose(solution.left_out[:, label], refits, atol=1e-3)


@pytest.mark.parametrize("standard_errors", [0.0, 1.0])
def test_the_penalty_is_the_largest_one_of_about_the_least_generalised_error(monkeypatch, standard_errors):
    monkeypatch.setattr(ridge, "STANDARD_ERRORS", standard_errors)
    x, y = drawn(seed=1)
    centred, n = x - x.mean(axis=0), len(x)
    scale = np.mean((centred**2).sum(axis=1))
    for label, chosen in enumerate(ridge.solve(x @ x.T, y).penalty):
        errors, spreads = [], []
        about = y[:, label] - y[:, label].mean()
        for penalty in ridge.PENALTIES * scale:
            hat = centred @ np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T)
            residual = about - hat @ about
            errors.append(n * np.sum(residual**2) / (n - 1 - np.trace(hat)) ** 2)
            spreads.append(np.std((residual / (1 - np.diag(hat))) ** 2) / np.sqrt(n))
        limit = min(errors) + standard_errors * spreads[np.argmin(errors)]
        within = (np.array(errors) <= limit * (1 + 1e-6)) & (ridge.PENALTIES <= ridge.LARGEST)
        expected = np.flatnonzero(within)[-1]
        assert chosen == pytest.approx(ridge.PENALTIES[expected] * scale, rel=1e-5)


def test_a_label_that_does_not_vary_and_noise_are_predicted_by_their_mean():
    x, _ = drawn()
    y = np.stack([np.full(60, 3.0), np.random.default_rng(5).normal(size=60)], axis=1)
    solution = ridge.solve(x @ x.T, y)
    np.testing.assert_allclose(solution.fit[:, 0], 3.0, atol=1e-6)
    assert solution.fit[:, 1].std() < 0.5 * y[:, 1].std(), "noise must not be learned"


def test_vectors_of_ngrams_are_those_of_scikit_learn(transcripts):
    corpus = open_corpus(transcripts)
    counts = statistics.id_counts(corpus, "text", None)
    members = np.arange(20)
    idf = statistics.inverse_document_frequency(counts[members])
    kept = counts[:, idf > 0]
    theirs = TfidfTransformer(sublinear_tf=True).fit(kept[members]).transform(kept.astype(np.float64))
    ours = statistics.tf_idf(counts, idf)[:, idf > 0]
    assert scipy.sparse.issparse(ours)
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-6)


def without(corpus, name, members):
    """The corpus in which some lack a modality."""
    has = {**corpus.has, name: corpus.has[name] & ~np.isin(np.arange(len(corpus)), members)}
    lengths = {**corpus.window_lengths, name: corpus.window_lengths[name].copy()}
    ends = np.cumsum(corpus.n_windows)
    for i in members:
        lengths[name][ends[i] - corpus.n_windows[i] : ends[i]] = 0
    return dataclasses.replace(corpus, has=has, window_lengths=lengths)


def said_by_the_network(config, corpus, members, weights):
    """The linear path of each member, by the network."""
    job_like = finished_run.FinishedTraining(config, weights, 0, 0, None)
    shape = job_like.batching(corpus)
    run_of = finished_run.FinishedRun({}, corpus.modalities, (job_like,))
    del run_of
    network = job_like.network(shape)
    parts = [
        finished_run._predict(network, job_like.variables, one) for one in job_like.batches(corpus, members, shape)
    ]
    outputs, index = batches.real_rows(parts)
    return outputs["embedding"][np.argsort(index)]


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("kind", ["numbers", "ngrams"])
def test_the_network_says_what_was_fitted(dataset, transcripts, kind, absent):
    built = dataset if kind == "numbers" else transcripts
    corpus = open_corpus(built)
    if absent:
        name = "audio" if kind == "numbers" else "text"
        corpus = without(corpus, name, np.arange(0, len(corpus), 2))
    labels = {name: column.copy() for name, column in corpus.labels.items()}
    labels["gad7"][3:9] = np.nan
    corpus = dataclasses.replace(corpus, labels=labels)
    config = linear(built)
    tasks = from_config(config.tasks)
    members = np.arange(len(corpus) - 6)
    shape = batches.of(config, corpus, mesh.one_device())
    path = ridge.fit(config, tasks, shape.modalities, corpus, members)
    fitted = train_statistics.fit(config, tasks, shape.modalities, corpus, members)
    network = {name: fitted[name] for name in ("network", "class_weights")}
    weights = {"params": {"network": fitted["bias"], "objective": {}}, "fitted": network}
    said = said_by_the_network(config, corpus, np.arange(len(corpus)), weights)
    # Who lacks the label was not fitted on, so that both are the same; of the others the fit knows more.
    np.testing.assert_allclose(said[3:9, 1], path.left_out[3:9, 1], atol=2e-3)
    known = corpus.labels["phq9"][members]
    assert np.corrcoef(said[members, 0], known)[0, 1] > np.corrcoef(path.left_out[members, 0], known)[0, 1]
    assert not path.left_out[len(members) :].any()
    if absent and kind == "ngrams":
        np.testing.assert_allclose(np.ptp(said[::2], axis=0), 0, atol=1e-5)


def test_keys_are_the_same_in_a_program_and_tell_ngrams_apart():
    ids = np.random.default_rng(0).integers(1, 65536, (500, 4)).astype(np.int32)
    ids[::7, 2] = 0
    keys = ngram_keys(ids)
    np.testing.assert_array_equal(keys, jax.jit(lambda x: ngram_keys(x, jnp))(ids))
    assert not keys[::7, 2].any() and keys[1, :3].all() and keys.min() >= 0 and keys.max() < LAST_KEY
    assert len(np.unique(keys[:, 1])) == 500
    other = ids.copy()
    other[:, 0] = np.roll(ids[:, 0], 1)
    assert not (ngram_keys(other)[:, 1] == keys[:, 1]).any(), "a bigram that begins otherwise is another"


def test_columns_of_heads_are_labels_and_classes():
    heads = [Head("a", "binary", 2, "phq9"), Head("b", "regression", 0, "phq9"), Head("c", "nominal", 3, "mood")]
    assert columns_of(heads) == [("phq9", 0), ("c", 0), ("c", 1), ("c", 2)]


def test_outputs_are_fitted_on_what_is_left_out(dataset):
    corpus = open_corpus(dataset)
    config, members = linear(dataset), np.arange(60)
    tasks = from_config(config.tasks)
    start = train_statistics.of_scores(tasks, {k: v[members] for k, v in corpus.labels.items()}, "none")
    heads = tuple(map(train_statistics.head, tasks))
    rng = np.random.default_rng(0)
    left_out = np.zeros((len(corpus), 2), np.float32)
    left_out[members] = (corpus.labels["phq9"][members, None] - 9) / 6 + rng.normal(0, 1, (60, 2))
    params = ridge.read_out(config, tasks, heads, corpus, members, left_out, start)
    target = corpus.labels["phq9"][members] >= 10
    theirs = LogisticRegression(C=1e3).fit(left_out[members, :1], target)
    ours = params[SLOPES][:, 1] - params[SLOPES][:, 0]
    np.testing.assert_allclose(ours, [theirs.coef_[0, 0], 0], rtol=0.15)


def test_one_class_in_the_training_part_stays_finite(dataset):
    corpus = open_corpus(dataset)
    members = np.flatnonzero(corpus.labels["phq9"] < 10)[:30]
    config = linear(dataset)
    tasks = from_config(config.tasks)
    shape = batches.of(config, corpus, mesh.one_device())
    fitted = train_statistics.fit(config, tasks, shape.modalities, corpus, members)
    assert all(np.isfinite(x).all() for x in [*fitted["bias"].values(), *fitted["network"][NAME].values()])


def test_a_run_in_closed_form_predicts_by_itself(transcripts, tmp_path):
    config = linear(transcripts, seeds=2)
    content = run.run(config, transcripts, tmp_path / "run")
    assert content["tasks"]["phq_score"]["splits"]["test"]["n_participants"] == 30
    table = read_csv(tmp_path / "run" / "predictions.csv")
    same = [table.select(seed=seed, task="phq_score").y_pred for seed in (0, 1)]
    np.testing.assert_array_equal(*same)
    again = run.run(config, transcripts, tmp_path / "run")
    assert again["tasks"] == content["tasks"]
    loaded, corpus = finished_run.load(tmp_path / "run"), open_corpus(transcripts)
    values, distances = loaded.predict(loaded.select_modalities(corpus), np.arange(30))
    assert values["phq_score"].shape == (6, 30) and np.isfinite(distances).all()
    first = table.select(fold=0, seed=0, task="phq_score")
    where = [corpus.participants.index(name) for name in first.participant_id.tolist()]
    np.testing.assert_allclose(values["phq_score"][0, where], first.y_pred, atol=1e-4)


def test_a_sweep_chooses_among_objectives_on_nested_folds(dataset, tmp_path):
    spec = {"metric": "phq_score/mae", "fields": {"objective.ccc": [0.0, 1.0]}}
    config = linear(dataset, questionnaire("phq9", "phq", kinds=("regression",)), sweep=json.dumps(spec))
    config.cv.inner = 2
    run.run(config, dataset, tmp_path / "run")
    table = json.loads((tmp_path / "run" / "sweep" / "sweep.json").read_text())
    scores = np.array(table["scores"])
    assert scores.shape == (3, 2) and (scores[:, 0] != scores[:, 1]).all() and len(table["chosen"]) == 3


def test_too_many_people_and_samples_alone_are_refused(dataset, monkeypatch):
    monkeypatch.setattr(ridge, "MOST_PEOPLE", 10)
    corpus, config = open_corpus(dataset), linear(dataset)
    shape = batches.of(config, corpus, mesh.one_device())
    tasks = from_config(config.tasks)
    with pytest.raises(InputError, match="more than the 10 that are possible: take another model"):
        ridge.fit(config, tasks, shape.modalities, corpus, np.arange(12))
    samples = tuple(m._replace(name="audio", kind="features", dtype=np.dtype(np.int16)) for m in shape.modalities[:1])
    with pytest.raises(InputError, match="there are samples alone"):
        ridge.fit(config, tasks, samples, corpus, np.arange(5))


def test_a_nominal_task_has_a_column_per_class(dataset):
    corpus = open_corpus(dataset)
    corpus = dataclasses.replace(corpus, labels={**corpus.labels, "mood": (corpus.labels["phq9"] // 10).clip(0, 2)})
    tasks = (Task("mood", "mood", "nominal", classes=("low", "mid", "high")),)
    targets = ridge.targets_of(tasks, corpus)
    np.testing.assert_array_equal(targets.sum(axis=1), 1)
    config = linear(dataset, tasks)
    shape = batches.of(config, corpus, mesh.one_device())
    fitted = train_statistics.fit(config, tasks, shape.modalities, corpus, np.arange(60))
    assert fitted["bias"][SLOPES].shape == (3, 3)
    assert models.is_closed_form("linear") and not models.is_closed_form("lf_dnn")
    assert programs.network(config, tasks, **shape.inputs).heads[0].label == "mood"

"""The closed form of random slopes and intercepts against the dense normal distribution, and on planted layers."""

import importlib

import numpy as np
import pytest

from data_builders.common import cli
from mmpsy_jax.data import statistics
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.models.linear_path import SLOPES
from mmpsy_jax.projects.daily_mood import fit_mixed, mixed
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import finished_run, plan_runs
from tests.inference.conftest import leave_untrained

PEOPLE, DAYS, NUMBERS, MOODS = 12, 8, 3, 2


def draw(seed=0, people=PEOPLE, days=DAYS):
    """SYNTHETIC days: numbers, ratings and person, and the slopes and levels that were planted."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), days)
    x, common = rng.normal(size=(len(person), NUMBERS)), rng.normal(size=(NUMBERS, MOODS))
    slopes, levels = 0.5 * rng.normal(size=(people, NUMBERS, MOODS)), rng.normal(size=(people, MOODS))
    y = 3 + x @ common + np.einsum("nk,nkq->nq", x, slopes[person]) + levels[person]
    return x, y + 0.3 * rng.normal(size=y.shape), person, common, slopes, levels


@pytest.mark.parametrize("missing", [False, True])
def test_fit_and_what_is_left_out_are_those_of_the_dense_distribution(missing):
    x, y, person, *_ = draw()
    if missing:
        y[::5, 0] = np.nan
    model = mixed.fit(x, y, person, PEOPLE)
    common, slope, level, error = (model.variances[name] for name in mixed.VARIANCES)
    same, products = person[:, None] == person, x @ x.T
    for mood in range(MOODS):
        rows = np.flatnonzero(~np.isnan(y[:, mood]))
        at = np.ix_(rows, rows)
        prior = (common * products + slope * products * same + level * same)[at]
        residual = y[rows, mood] - model.mean[mood]
        everything = prior + error * np.eye(len(rows))
        np.testing.assert_allclose(
            model.fit[rows, mood] - model.mean[mood], prior @ np.linalg.solve(everything, residual), atol=1e-8
        )
        for i in (0, 17):
            others = np.arange(len(rows)) != i
            left = prior[i, others] @ np.linalg.solve(everything[np.ix_(others, others)], residual[others])
            np.testing.assert_allclose(model.without_day[rows[i], mood] - model.mean[mood], left, atol=1e-8)
            others = person[rows] != person[rows[i]]
            shared = common * products[at][i, others]
            left = shared @ np.linalg.solve(everything[np.ix_(others, others)], residual[others])
            np.testing.assert_allclose(model.without_person[rows[i], mood] - model.mean[mood], left, atol=1e-8)
    assert np.isnan(model.without_day[np.isnan(y)]).all()


def test_planted_variances_and_layers_are_found():
    x, y, person, common, slopes, levels = draw(1, people=60, days=40)
    model = mixed.fit(x, y, person, 60)
    assert model.variances["slope"] == pytest.approx(0.25, rel=0.25)
    assert model.variances["error"] == pytest.approx(0.09, rel=0.15)
    np.testing.assert_allclose(model.common, common + slopes.mean(axis=0), atol=0.15)
    assert np.corrcoef((model.common + model.slopes).ravel(), (common + slopes).ravel())[0, 1] > 0.98
    assert np.corrcoef(model.levels.ravel(), levels.ravel())[0, 1] > 0.98


def test_a_number_beyond_the_layers_has_none():
    x, y, person, *_ = draw()
    model = mixed.fit(x, y, person, PEOPLE - 2)
    assert model.levels.shape == (PEOPLE - 2, MOODS)
    np.testing.assert_array_equal(model.fit[person >= PEOPLE - 2], model.shared[person >= PEOPLE - 2])
    whole = mixed.fit(x, y, person, PEOPLE)
    np.testing.assert_allclose(model.levels, whole.levels[: PEOPLE - 2], atol=1e-10)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return cli.build("daily_mood/demo_by_time", tmp_path_factory.mktemp("mixed") / "data", participants=8, days=10)


def config_of(built, **fields):
    config = importlib.import_module("configs.daily_mood").get_config("by_time")
    config.tasks, config.data.folder, config.compile_cache = config.tasks[:2], str(built), ""
    config.update_from_flattened_dict(fields)
    return config


@pytest.mark.parametrize("micro", [True, False])
def test_the_network_says_of_every_day_what_the_closed_form_says(built, tmp_path, micro):
    corpus, config = open_corpus(built), config_of(built, **{"model.linear": True, "model.micro": micro})
    leave_untrained(config, corpus, tmp_path / "run")
    run = finished_run.load(tmp_path / "run")
    corpus = run.select_modalities(corpus)
    members = np.flatnonzero(np.array(corpus.split) == "train")
    path = fit_mixed.fit(config, run.tasks, tuple(corpus.modalities.values()), corpus, members)
    network = run.trainings[0].inference_params["params"]["network"]
    number, people = fit_mixed.numbers(corpus, np.arange(len(corpus)), None)
    x = []
    for name in ("zcm", "pim", "speech"):
        means = statistics.time_means(corpus, name, None)
        x.append(np.nan_to_num((means - path.variables[f"{name}_mean"]) / path.variables[f"{name}_deviation"]))
    x = np.concatenate(x, axis=1)
    said = x @ path.variables["common"]
    if micro:
        said += np.einsum("nk,nkq->nq", x, path.variables["slopes"][number]) + path.variables["levels"][number]
    assert people == 9 and set(number) == set(range(1, 9))
    values, _ = run.predict(corpus, np.arange(len(corpus)))
    for q, task in enumerate(run.tasks):
        output = said @ network[SLOPES][:, q] + network[f"{task.name}_bias"]
        np.testing.assert_allclose(values[task.name][0], np.clip(output * task.maximum, 0, task.maximum), atol=1e-3)
    # What a training day is told in training is the day left out, not the fit.
    left_out = path.left_out[members]
    assert np.abs(left_out - said[members]).max() > 0.1 and not path.left_out[np.array(corpus.split) != "train"].any()
    np.testing.assert_allclose(left_out.std(axis=0), 1, atol=1e-6)


def test_the_validation_days_train_where_they_are_asked_to(built):
    corpus, tasks = open_corpus(built), from_config(config_of(built).tasks)
    apart = plan_runs.folds(config_of(built), tasks, corpus)[0]
    fields = {"data.train_on_validation": True, "selection.metric": "step"}
    together = plan_runs.folds(config_of(built, **fields), tasks, corpus)[0]
    assert set(together["train"]) == {*apart["train"], *apart["validation"]} and not len(together["validation"])
    np.testing.assert_array_equal(together["test"], apart["test"])
    with pytest.raises(InputError, match=r"selection\.metric=step"):
        plan_runs.folds(
            config_of(built, **{"data.train_on_validation": True, "selection.metric": "loss"}), tasks, corpus
        )
    with pytest.raises(InputError, match=r"validation_fraction=0"):
        plan_runs.folds(config_of(built, **fields, **{"cv.folds": 3}), tasks, corpus)

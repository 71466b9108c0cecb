"""Layers of new people from a few rated days: against other implementations, on a small network. SYNTHETIC."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import Ridge

import launch
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.projects.daily_mood import adapt
from mmpsy_jax.projects.daily_mood.adapt import Days
from mmpsy_jax.training import finished_run
from tests.inference.conftest import leave_untrained

TRUE = {"slope": 0.01, "level": 0.04, "error": 0.02}


def made_up(people=40, days=6, moods=3, width=5, seed=0):
    """Days with residuals drawn by `TRUE`; a fifth of them is unknown."""
    rng = np.random.default_rng(seed)
    person, n = np.repeat(np.arange(people), days), people * days
    features = rng.normal(size=(n, moods, width))
    slope = np.sqrt(TRUE["slope"] / width) * rng.normal(size=(people, moods, width))
    level = np.sqrt(TRUE["level"]) * rng.normal(size=(people, moods))
    residual = np.einsum("nqd,nqd->nq", features, slope[person]) + level[person]
    residual += np.sqrt(TRUE["error"]) * rng.normal(size=residual.shape)
    residual[rng.random(residual.shape) < 0.2] = np.nan
    has = ~np.isnan(residual).all(axis=1)
    rated = np.concatenate([np.cumsum(has[person == p]) for p in range(people)]) * has
    return Days(np.arange(n), person, rated, rng.normal(size=(n, moods)), features, residual)


def log_likelihood(days, used, variances):
    total = 0.0
    for person in np.unique(days.person):
        for q in range(days.residual.shape[1]):
            own = used & (days.person == person) & ~np.isnan(days.residual[:, q])
            if not own.any():
                continue
            h = days.features[own, q]
            covariance = variances["slope"] * h @ h.T / h.shape[1] + variances["level"]
            covariance += variances["error"] * np.eye(len(h))
            total += scipy.stats.multivariate_normal(cov=covariance).logpdf(days.residual[own, q])
    return total


def test_the_variances_are_the_most_probable_ones():
    days = made_up()
    used = days.rated > 0
    found = adapt.fit_variances(days, used)
    for name, value in found.items():
        assert value == pytest.approx(TRUE[name], rel=0.4)
    best = log_likelihood(days, used, found)
    for name in adapt.VARIANCES:
        for factor in (0.9, 1.1):
            assert log_likelihood(days, used, {**found, name: found[name] * factor}) < best


def test_layers_are_those_of_ridge_regression():
    days = made_up()
    own = (days.person == 3) & (days.rated > 0)
    slope, level = adapt.layers(days, own, TRUE)
    width = slope.shape[1]
    for q in range(3):
        known = own & ~np.isnan(days.residual[:, q])
        # With columns scaled by the deviations of their weights, the penalty is the variance of the errors.
        scale = np.sqrt([*[TRUE["slope"] / width] * width, TRUE["level"]])
        x = np.concatenate([days.features[known, q], np.ones((known.sum(), 1))], axis=1) * scale
        ridge = Ridge(alpha=TRUE["error"], fit_intercept=False).fit(x, days.residual[known, q])
        np.testing.assert_allclose([*slope[q] / width, level[q]], ridge.coef_ * scale, rtol=1e-6)


def test_layers_come_from_the_first_rated_days_alone():
    days = made_up()
    later = dataclasses.replace(days, residual=np.where(days.rated[:, None] > 2, 9.0, days.residual))
    (found, said), (again, same) = adapt.predict(days, 2), adapt.predict(later, 2)
    np.testing.assert_array_equal(said, same)
    assert found == again and adapt.predict(later, 3)[0] != adapt.predict(days, 3)[0]
    variances, shared = adapt.predict(days, 0)
    assert variances is None and np.array_equal(shared, days.shared)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    built = cli.build("daily_mood/demo_by_person", folder / "data", participants=30, days=12)
    config = importlib.import_module("configs.daily_mood").get_config("by_person")
    leave_untrained(config, open_corpus(built), folder / "run")
    return built, folder / "run"


def test_new_people_are_told_better_the_more_days_are_known(finished, tmp_path, capsys):
    built, workdir = finished
    arguments = [f"--workdir={workdir}", f"--input={built}", f"--output={tmp_path}", "--days=2,5"]
    assert launch.main(["adapt", *arguments]) == 0
    shown, told = capsys.readouterr()
    made = json.loads((tmp_path / adapt.FILE).read_text())
    assert "SYNTHETIC" in shown and made["synthetic"] and list(made["days"]) == ["0", "2", "5"]
    values = [entry["overall"]["ccc"]["value"] for entry in made["days"].values()]
    assert values == sorted(values) and values[2] > values[0] + 0.1 and f"CCC {values[2]:.3f}" in shown
    tables = [read_csv(tmp_path / f"predictions_{number}_days.csv") for number in (0, 2, 5)]
    # Nobody of the test people has layers of their own: without days, the network says the same of them.
    zero, run = tables[0], finished_run.load(workdir)
    corpus = run.select_modalities(open_corpus(built))
    # Nobody is named on the terminal, and no place of this machine in a file.
    assert not any(name in shown + told for name in {*corpus.participants, *corpus.cluster})
    assert not any(str(built.parent).encode() in path.read_bytes() for path in tmp_path.iterdir())
    people = {corpus.cluster[i] for i in np.flatnonzero(np.array(corpus.split) == "test")}
    assert set(zero.cluster) == people and len(zero) == len(people) * (12 - 5) * 9
    place = {name: i for i, name in enumerate(corpus.participants)}
    said, _ = run.predict(corpus, np.arange(len(corpus)))
    ours = [said[task][0, place[name]] for name, task in zip(zero.participant_id, zero.task, strict=True)]
    np.testing.assert_allclose(zero.y_pred, ours, atol=1e-3)
    assert all(np.array_equal(one.participant_id, zero.participant_id) for one in tables)
    assert {int(name.split("/")[1]) for name in zero.participant_id.tolist()} == set(range(6, 13))


def test_people_of_another_corpus_are_new_whatever_their_numbers(finished, tmp_path):
    _, workdir = finished
    other = cli.build("daily_mood/demo_by_person", tmp_path / "data", participants=10, days=8, seed=5)
    made = adapt.adapt(workdir, other, tmp_path / "out", days=[3], split="all", n_bootstrap=20)
    assert made["days"]["3"]["n_clusters"] == 10 and made["days"]["3"]["n_participants"] == 50
    assert made["days"]["3"]["overall"]["ccc"]["value"] > made["days"]["0"]["overall"]["ccc"]["value"]


def test_what_cannot_be_adapted_is_refused(finished, tmp_path):
    built, workdir = finished
    for changes, message in (
        ({"days": [-1]}, "numbers of 2 or more"),
        ({"days": [1, 3]}, "numbers of 2 or more"),
        ({"days": [0]}, "numbers of 2 or more"),
        ({"days": [12]}, "nobody has a day"),
        ({"split": "validate"}, "all, test, train, validation"),
        ({"workdir": tmp_path}, "no finished run"),
    ):
        options = {"workdir": workdir, "source": built, "output": tmp_path / "out", "days": [2], **changes}
        with pytest.raises(InputError, match=message):
            adapt.adapt(**options)
    assert launch.main(["adapt", f"--workdir={workdir}", f"--input={built}", "--output=x", "--days=a"]) == 2
    assert not (tmp_path / "out").exists() and not Path("x").exists()

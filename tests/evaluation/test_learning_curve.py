"""Learning curves over participants: the law that is fitted, its intervals, and what is shown of it. SYNTHETIC."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmpsy_jax.evaluation import learning_curve, tables
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task

SIZES = np.array([100.0, 170.0, 290.0, 480.0, 816.0])
SCREEN, SCORE = Task("screen", "phq9", "binary", (10,)), Task("score", "phq9", "regression", maximum=27)


@pytest.mark.parametrize(("a", "b", "better"), [(0.9, -3.0, 1), (2.0, 9.0, -1)])
def test_a_power_law_is_found_and_carried_on(a, b, better):
    at = np.array([50.0, 1000.0, 5000.0])
    curves = np.stack([a + b * SIZES**-0.7, np.full(5, 0.8), np.where(SIZES < 200, np.nan, 0.8)])
    law = learning_curve.power_law(SIZES, curves, at, better)
    np.testing.assert_allclose(law[0], a + b * at**-0.7, atol=0.02)
    np.testing.assert_allclose(law[1], 0.8)
    assert np.isnan(law[2]).all(), "a curve with an undefined value"


@pytest.mark.parametrize("better", [1, -1])
def test_more_participants_are_never_expected_to_harm(better):
    curves = 0.8 - better * 0.02 * np.arange(5)[None]  # worse with every size
    law = learning_curve.power_law(SIZES, curves, np.array([100.0, 2000.0]), better)
    np.testing.assert_allclose(law, curves.mean())


def test_a_limit_is_a_value_that_the_metric_can_have():
    steep = np.array([[0.6, 0.75, 0.85, 0.93, 0.99]])
    assert learning_curve.power_law(SIZES, steep, np.array([1e9]), 1)[0, 0] <= 1
    falling = np.array([[4.0, 2.5, 1.5, 0.7, 0.1]])
    assert learning_curve.power_law(SIZES, falling, np.array([1e9]), -1)[0, 0] >= 0


def predicted(task, n_train, noise, people=200, folds=4):
    rng = np.random.default_rng(0)
    score = rng.integers(0, 28, people).astype(float)
    guess = score + noise * rng.standard_normal(people) * (1 + 300 / n_train)
    ids = [f"p{i}" for i in range(people)]
    value = {"y_prob": 1 / (1 + np.exp(9.5 - guess))} if task.event else {"y_pred": guess}
    return Predictions.build(ids, task.name, task.targets(score), fold=np.arange(people) % folds, **value)


def test_all_sizes_share_the_resamples_of_people_and_have_their_metrics():
    parts = [{"model": predicted(SCREEN, n, 3.0), "length": predicted(SCREEN, n, 9.0)} for n in SIZES]
    entry = learning_curve.measure(SCREEN, parts, SIZES, 100, resamples=100)
    model = entry["metrics"]["auroc"]["predictors"]["model"]
    for cell, part in zip(model["sizes"], parts, strict=True):
        rows = part["model"]
        assert cell["value"] == pytest.approx(roc_auc_score(rows.y_true, rows.y_prob))
        assert cell["low"] < cell["value"] < cell["high"]
    law = model["law"]
    assert law["at"][0] == SIZES[0] and law["at"][-1] == pytest.approx(SIZES[-1] + 100)
    assert model["gain"]["value"] > 0 and model["gain"]["high"] - model["gain"]["low"] < 0.05, "paired, hence narrow"
    assert len(model["folds_sd"]) == 5 and all(x > 0 for x in model["folds_sd"])
    assert entry["metrics"]["auroc"]["ceiling"] is None


def test_a_reliability_bounds_correlations_alone():
    parts = [{"model": predicted(SCORE, n, 2.0)} for n in SIZES[:3]]
    entry = learning_curve.measure(SCORE, parts, SIZES[:3], 100, reliability=0.81, resamples=20)
    ceilings = {name: one["ceiling"] for name, one in entry["metrics"].items()}
    assert ceilings == {"mae": None, "ccc": pytest.approx(0.9), "pearson": pytest.approx(0.9)}
    model = entry["metrics"]["mae"]["predictors"]["model"]
    assert model["law"] is None and model["gain"] is None, "three sizes hold no law of three numbers"
    content = {"sizes": [100, 170, 290], "more": 100, "tasks": {"score": entry}}
    text = "\n".join(map(tables.to_text, learning_curve.sections(content)))
    assert "can be above 0.900" in text and "100 more people (extrapolation)" in text
    svg = learning_curve.pictures(content)["score: CCC"]
    assert svg.startswith("<svg")

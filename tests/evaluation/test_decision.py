"""Net benefit against its definition, written out."""

import numpy as np
import pytest

from mmpsy_jax.evaluation import decision
from mmpsy_jax.evaluation.bootstrap import bootstrap


def sample(n=120):
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.3).astype(float)
    return y, np.round(np.clip(0.3 * y + rng.random(n) * 0.6, 0, 1), 2)


def by_definition(y, prob, threshold):
    called = prob >= threshold
    true, false = np.sum(called & (y == 1)), np.sum(called & (y == 0))
    return true / len(y) - false / len(y) * threshold / (1 - threshold)


def test_net_benefit_of_the_model_and_of_treating_everybody():
    y, prob = sample()
    made = bootstrap(np.arange(len(y)), decision.weighted_net_benefit(y, prob), resamples=300)
    entry = decision.entry(y, prob, made, {"half": (y[::2], prob[::2])})
    np.testing.assert_allclose(entry["thresholds"], np.arange(1, 51) / 100)
    np.testing.assert_allclose(entry["model"], [by_definition(y, prob, t) for t in np.arange(1, 51) / 100])
    np.testing.assert_allclose(
        entry["baselines"]["half"], [by_definition(y[::2], prob[::2], t) for t in np.arange(1, 51) / 100]
    )
    prevalence, odds = y.mean(), entry["thresholds"] / (1 - entry["thresholds"])
    np.testing.assert_allclose(entry["treat_all"], prevalence - (1 - prevalence) * odds)
    assert (entry["low"] < entry["model"]).all() and (entry["model"] < entry["high"]).all()


def test_resamples_are_those_of_the_repeated_rows():
    y, prob = sample()
    weights = np.random.default_rng(1).integers(0, 4, (5, len(y)))
    for row, made in zip(weights, decision.weighted_net_benefit(y, prob)(weights.astype(float)), strict=True):
        np.testing.assert_allclose(made, decision.net_benefit(np.repeat(y, row), np.repeat(prob, row)), atol=1e-12)


def test_useless_and_perfect_predictions():
    y, _ = sample()
    assert decision.net_benefit(y, y) == pytest.approx(np.full(50, y.mean()))
    assert decision.net_benefit(y, np.zeros_like(y)) == pytest.approx(np.zeros(50))

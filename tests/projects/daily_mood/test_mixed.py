"""The closed form of random slopes and intercepts against the dense normal distribution, and on planted layers."""

import numpy as np
import pytest

from mmpsy_jax.projects.daily_mood import mixed

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

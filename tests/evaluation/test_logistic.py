"""Slope and intercept of calibration against scikit-learn and scipy, on easy samples and on hard ones."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from mmpsy_jax.evaluation import logistic, metrics
from mmpsy_jax.evaluation.rows import BinaryRows


def point(*columns):
    return metrics.point(BinaryRows(*columns))


def sample(n=300, seed=0, slope=0.7, intercept=-0.4):
    """Outcomes of known slope and intercept, and the probabilities that are predicted."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1.5, n)
    return (rng.random(n) < expit(intercept + slope * log_odds)).astype(float), expit(log_odds)


def regression(y, x, weights=None):
    """Intercept and slope by scikit-learn."""
    made = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=500)
    made.fit(x[:, None], y, sample_weight=weights)
    return made.intercept_[0], made.coef_[0, 0]


def in_the_large(y, x, weights=1.0):
    """Intercept with x as offset: the root of the score equation."""
    return scipy.optimize.brentq(lambda a: np.sum(weights * (y - expit(a + x))), -40, 40, xtol=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_the_table_itself(seed):
    y, prob = sample(seed=seed)
    x = logistic.logit(prob)
    values = point(y, prob, prob >= 0.5).values
    assert values["calibration_slope"] == pytest.approx(regression(y, x)[1], abs=1e-7)
    assert values["calibration_intercept"] == pytest.approx(in_the_large(y, x), abs=1e-9)


def test_known_slope_and_intercept_are_found():
    y, prob = sample(200_000, slope=0.7, intercept=0.0)
    assert point(y, prob, prob >= 0.5).values["calibration_slope"] == pytest.approx(0.7, abs=0.02)
    y, prob = sample(200_000, slope=1.0, intercept=-0.4)
    values = point(y, prob, prob >= 0.5).values
    assert values["calibration_slope"] == pytest.approx(1, abs=0.02)
    assert values["calibration_intercept"] == pytest.approx(-0.4, abs=0.02)


@pytest.mark.parametrize("n", [25, 400])
def test_many_samples_at_once(n):
    """Resamples of few rows lie far from the table that they start from; some have no solution."""
    y, prob = sample(n, seed=1)
    x = logistic.logit(prob)
    weights = np.random.default_rng(2).multinomial(n, np.full(n, 1 / n), 60).astype(float)
    exists = np.array([not logistic.separated(y[w > 0], x[w > 0]) for w in weights])
    slopes = logistic.Regression(y, x, slope=True).fit(weights, exists)
    shifts = logistic.Regression(y, x, slope=False).fit(weights, exists)
    for w, there, line, shift in zip(weights, exists, slopes, shifts, strict=True):
        if there:
            np.testing.assert_allclose(line, regression(y, x, w), atol=1e-5, rtol=1e-5)
            assert shift[0] == pytest.approx(in_the_large(y, x, w), abs=1e-9) and shift[1] == 1
        else:
            assert np.isnan(line).all()


def test_certain_and_wrong_predictions_converge():
    """Log odds of 16 on the wrong side, where a full Newton step from the start would diverge."""
    y = np.array([1.0, 0, 1, 0, 1, 0, 0, 1])
    prob = np.array([0.0, 1.0, 1.0, 0.0, 0.4, 0.6, 0.2, 0.9])
    x = logistic.logit(prob)
    np.testing.assert_allclose(logistic.Regression(y, x, slope=True).estimate, regression(y, x), atol=1e-6)
    assert point(y, prob, prob >= 0.5).values["calibration_intercept"] == pytest.approx(in_the_large(y, x))


def test_predictions_that_hardly_differ():
    """As those of a prior that was fitted in each of several folds."""
    rng = np.random.default_rng(3)
    fold = rng.integers(0, 5, 500)
    y = (rng.random(500) < 0.2 + 0.02 * fold).astype(float)
    x = logistic.logit(0.2 + 1e-9 * fold)
    made = logistic.Regression(y, x, slope=True).estimate[1]
    assert made * np.std(x) == pytest.approx(regression(y, (x - x.mean()) / x.std())[1], abs=1e-6)


@pytest.mark.parametrize(
    ("prob", "reason"),
    [
        ([0.1, 0.2, 0.6, 0.9], metrics.SEPARATED),
        ([0.9, 0.8, 0.3, 0.2], metrics.SEPARATED),
        ([0.1, 0.5, 0.5, 0.9], metrics.SEPARATED),
        ([0.3, 0.3, 0.3, 0.3], metrics.SEPARATED),
    ],
    ids=["separated", "the wrong way", "touching", "constant"],
)
def test_without_a_finite_slope_there_is_a_reason(prob, reason):
    y, prob = np.array([0.0, 0, 1, 1]), np.array(prob)
    scores = point(y, prob, prob >= 0.5)
    assert np.isnan(scores.values["calibration_slope"]) and scores.reasons["calibration_slope"] == reason
    assert np.isfinite(scores.values["calibration_intercept"])


def test_one_class_has_neither():
    scores = point(np.ones(4), np.linspace(0.1, 0.9, 4), np.ones(4, bool))
    for name in ("calibration_slope", "calibration_intercept"):
        assert np.isnan(scores.values[name]) and scores.reasons[name] == metrics.ONE_CLASS

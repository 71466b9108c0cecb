"""Intervals against scipy's bootstrap, and their behaviour at the edges."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from mmpsy_jax.evaluation import metrics
from mmpsy_jax.evaluation.bootstrap import bootstrap, with_intervals
from mmpsy_jax.evaluation.metrics import Scores
from mmpsy_jax.evaluation.rows import BinaryRows, ClassRows, ScoreRows
from mmpsy_jax.io import InputError


def screening(n, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(float)
    return y, 1 / (1 + np.exp(-(y + rng.normal(size=n))))


def auroc(y, prob):
    made = metrics.statistic(BinaryRows(y, prob, prob >= 0.5))
    return lambda weights: made(weights)[:, :1]


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_auroc_interval_agrees_with_scipy(method):
    y, prob = screening(60)

    def by_ranks(a, b, axis):
        positive, ranks = a.sum(axis), scipy.stats.rankdata(b, axis=axis)
        return ((ranks * a).sum(axis) - positive * (positive + 1) / 2) / (positive * (a.shape[axis] - positive))

    assert by_ranks(y, prob, 0) == pytest.approx(roc_auc_score(y, prob))
    with np.errstate(invalid="ignore"):
        theirs = scipy.stats.bootstrap(
            (y, prob), by_ranks, paired=True, n_resamples=1500, method=method.replace("bca", "BCa"), rng=1
        ).confidence_interval
    ours = bootstrap(np.arange(60), auroc(y, prob), resamples=1500, method=method, seed=2)
    assert ours.method == (method,)
    # Two independent sets of 1,500 resamples: their quantiles differ by Monte Carlo error only.
    np.testing.assert_allclose([ours.low[0], ours.high[0]], theirs, atol=0.015)


def test_mean_interval_agrees_with_scipy_for_skewed_data():
    x = np.random.default_rng(3).lognormal(size=80)

    def statistic(weights):
        return (weights @ x / weights.sum(1))[:, None]

    theirs = scipy.stats.bootstrap((x,), np.mean, n_resamples=4000, method="BCa", rng=4).confidence_interval
    ours = bootstrap(np.arange(80), statistic, resamples=4000, seed=5)
    np.testing.assert_allclose([ours.low[0], ours.high[0]], theirs, rtol=0.03)


def test_grouped_jackknife_agrees_with_the_full_one(monkeypatch):
    x = np.random.default_rng(6).lognormal(size=1200)

    def statistic(weights):
        return (weights @ x / weights.sum(1))[:, None]

    grouped = bootstrap(np.arange(1200), statistic)
    monkeypatch.setattr("mmpsy_jax.evaluation.bootstrap._JACKKNIFE_GROUPS", 5000)
    full = bootstrap(np.arange(1200), statistic)
    np.testing.assert_allclose([grouped.low, grouped.high], [full.low, full.high], rtol=5e-3)


def test_resamples_are_of_participants_not_rows():
    rng = np.random.default_rng(7)
    x = rng.normal(size=50)
    once = bootstrap(np.arange(50), lambda w: (w @ x / w.sum(1))[:, None])
    four = np.repeat(x, 4)
    repeated = bootstrap(np.repeat(np.arange(50), 4), lambda w: (w @ four / w.sum(1))[:, None])
    np.testing.assert_allclose([once.low, once.high], [repeated.low, repeated.high])
    as_rows = bootstrap(np.arange(200), lambda w: (w @ four / w.sum(1))[:, None])
    assert np.all(as_rows.high - as_rows.low < 0.7 * (once.high - once.low))


def test_seeded_and_independent_of_row_order():
    y, prob = screening(100)
    ids = np.array([f"p{i:03d}" for i in range(100)])
    order = np.random.default_rng(8).permutation(100)
    first = bootstrap(ids, auroc(y, prob), seed=1, resamples=200)
    again = bootstrap(ids[order], auroc(y[order], prob[order]), seed=1, resamples=200)
    other = bootstrap(ids, auroc(y, prob), seed=2, resamples=200)
    np.testing.assert_allclose([first.low, first.high], [again.low, again.high], rtol=1e-12)
    assert first.low != other.low


def test_threads_do_not_change_the_result():
    y, prob = screening(3000)  # several chunks
    made = [
        bootstrap(np.arange(3000), metrics.statistic(BinaryRows(y, prob, prob > 0.5)), resamples=700, threads=n)
        for n in (1, 3)
    ]
    for name in ("low", "high", "p", "undefined"):
        np.testing.assert_array_equal(getattr(made[0], name), getattr(made[1], name))


def test_differences_are_paired():
    y, prob = screening(200)
    worse = prob + np.random.default_rng(9).normal(0, 0.02, 200)
    a, b = auroc(y, prob), auroc(y, worse)

    def statistic(weights):
        left, right = a(weights), b(weights)
        return np.concatenate([left, right, left - right], axis=1)

    made = bootstrap(np.arange(200), statistic)
    width = made.high - made.low
    assert width[2] < 0.4 * width[:2].min()


def test_undefined_columns():
    y, prob = np.ones(20), np.linspace(0, 1, 20)
    made = bootstrap(np.arange(20), metrics.statistic(BinaryRows(y, prob, prob > 0.5)), resamples=50)
    assert np.isnan(made.value[0]) and np.isnan(made.low[0]) and made.method[0] == "undefined"
    assert made.undefined[0] == 1
    assert np.isfinite(made.low[2])
    # One event of 20: about a third of the resamples miss it, and are left out.
    y = (np.arange(20) == 10).astype(float)
    made = bootstrap(np.arange(20), auroc(y, prob), resamples=400)
    assert 0.2 < made.undefined[0] < 0.5 and np.isfinite(made.low[0])
    alone = bootstrap(np.array(["a"]), auroc(np.ones(1), np.ones(1)), resamples=10)
    assert np.isnan(alone.low[0])


def test_a_constant_statistic_falls_back_to_percentiles():
    made = bootstrap(np.arange(30), lambda w: np.zeros((len(w), 1)), resamples=50)
    assert made.method == ("percentile",) and made.low[0] == made.high[0] == 0 and made.reasons == ("",)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_would_exclude_its_estimate_is_widened_and_says_why(method, sign):
    """Resamples of the ECE of a calibrated model lie above it: BCa gave [0.027, 0.031] for 0.039."""
    rng = np.random.default_rng(6)
    prob = rng.random(300)
    y = (rng.random(300) < prob).astype(float)
    ece = metrics.statistic(BinaryRows(y, prob), ("ece",))
    made = bootstrap(np.arange(300), lambda w: sign * ece(w), method=method, resamples=300)
    assert made.method == ("widened",) and made.low[0] <= made.value[0] <= made.high[0]
    assert made.value[0] in (made.low[0], made.high[0]) and made.high[0] - made.low[0] > 0.01
    assert made.reasons[0].endswith(f"nearly all resamples lie {'above' if sign == 1 else 'below'} it")
    cell = with_intervals(Scores({"ece": made.value[0]}, {}), made)["ece"]
    assert cell["interval"] == "widened" and "widened to the estimate" in cell["reason"]


def test_a_zero_that_only_the_widened_part_holds_is_no_finding():
    """The estimate is below 0, all resamples above: p agrees with the interval, which holds 0."""
    made = bootstrap(np.arange(40), lambda w: np.where((w == 1).all(1), -0.1, 0.2 + w[:, 0] / 100)[:, None])
    assert made.method == ("widened",) and made.low[0] == -0.1 and made.high[0] > 0.2 and made.p[0] == 1


def test_every_interval_holds_its_estimate():
    rng = np.random.default_rng(4)
    for n in (5, 12, 40):
        y, prob = screening(n, n)
        parts = [
            metrics.statistic(BinaryRows(y, prob, prob > 0.5)),
            metrics.statistic(ClassRows((n_classes := rng.integers(0, 4, n)), rng.integers(0, 4, n), 4)),
            metrics.statistic(ScoreRows(n_classes.astype(float), rng.normal(size=n))),
        ]
        for part in parts:
            made = bootstrap(np.arange(n), part, resamples=200)
            known = np.isfinite(made.low)
            assert known.any() and np.all((made.low <= made.value) & (made.value <= made.high) | ~known)
            moved = np.array([name == "widened" for name in made.method])
            assert all(reason for reason, one in zip(made.reasons, moved, strict=True) if one)


def test_percentiles_that_take_over_say_so():
    """Nobody who is left out changes the statistic, resamples do."""
    made = bootstrap(np.arange(30), lambda w: ((w > 0).sum(1, keepdims=True) < 20) * 1.0, resamples=200)
    assert (made.value[0], made.low[0], made.high[0], made.method) == (0, 0, 1, ("percentile",))
    assert made.reasons == ("percentile interval: the correction of BCa is undefined here",)
    same = bootstrap(np.arange(30), lambda w: (w.sum(1) / 30 + 1e-16 * w[:, 0])[:, None], resamples=200)
    assert same.low[0] <= same.value[0] <= same.high[0] and same.high[0] - same.low[0] < 1e-9


def test_a_statistic_is_asked_for_many_resamples_at_once():
    y, prob = screening(400)
    asked, statistic = [], auroc(y, prob)
    bootstrap(np.arange(400), lambda w: asked.append(len(w)) or statistic(w), resamples=2000)
    assert sum(asked) >= 2000 + 400 and len(asked) < 40  # each call costs the Python around it


@pytest.mark.parametrize(
    ("options", "says"),
    [({"method": "bayes"}, "bca"), ({"resamples": 1}, "two resamples"), ({"level": 1.0}, "between 0 and 1")],
)
def test_bad_options(options, says):
    with pytest.raises(InputError, match=says):
        bootstrap(np.arange(3), lambda w: np.zeros((len(w), 1)), **options)


def test_coverage_is_near_the_nominal_level():
    """The share of 95 % intervals of a mean that hold the true one, over 200 samples of 50."""
    rng = np.random.default_rng(10)
    inside = 0
    for seed in range(200):
        x = rng.normal(size=50)
        made = bootstrap(np.arange(50), lambda w, x=x: (w @ x / w.sum(1))[:, None], resamples=400, seed=seed)
        inside += made.low[0] <= 0 <= made.high[0]
    assert 0.89 <= inside / 200 <= 0.99

"""DeLong against its definition over all pairs and against the bootstrap; Holm against its definition."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from mmpsy_jax.evaluation import comparison, metrics
from mmpsy_jax.evaluation.bootstrap import bootstrap
from mmpsy_jax.evaluation.rows import BinaryRows


def sample(n=200, seed=0, decimals=8):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(float)
    shared = rng.normal(size=n)
    first = y + shared + rng.normal(0, 0.5, n)
    second = 0.6 * y + shared + rng.normal(0, 0.5, n)
    return y, np.round(first, decimals), np.round(second, decimals)


def over_all_pairs(y, first, second):
    """Difference and variance as DeLong, DeLong and Clarke-Pearson (1988) write them."""
    v10, v01 = [], []
    for prediction in (first, second):
        a, b = prediction[y == 1][:, None], prediction[y == 0][None, :]
        kernel = (a > b) + 0.5 * (a == b)
        v10.append(kernel.mean(1))
        v01.append(kernel.mean(0))
    s = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1, -1])
    return contrast @ np.mean(v10, axis=1), contrast @ s @ contrast


@pytest.mark.parametrize("decimals", [1, 8])
def test_delong_equals_its_definition(decimals):
    y, first, second = sample(decimals=decimals)
    difference, variance = over_all_pairs(y, first, second)
    made = comparison.delong(y, first, second)
    assert made.difference == pytest.approx(difference)
    assert made.difference == pytest.approx(roc_auc_score(y, first) - roc_auc_score(y, second))
    assert made.p == pytest.approx(2 * scipy.stats.norm.sf(abs(difference) / np.sqrt(variance)))
    assert [made.low, made.high] == pytest.approx(difference + np.array([-1.959964, 1.959964]) * np.sqrt(variance))


def test_delong_and_the_paired_bootstrap_agree():
    y, first, second = sample(400, seed=1)
    a, b = (metrics.statistic(BinaryRows(y, scipy.special.expit(x), first > 0)) for x in (first, second))
    made = bootstrap(np.arange(400), lambda w: a(w)[:, :1] - b(w)[:, :1])
    delong = comparison.delong(y, first, second)
    assert [made.low[0], made.high[0]] == pytest.approx([delong.low, delong.high], abs=0.01)
    assert made.p[0] == pytest.approx(delong.p, abs=0.02)


def test_delong_holds_its_level():
    """Of 400 pairs of equally good predictions about 5 % differ at the level of 5 %."""
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(400):
        y = (rng.random(80) < 0.4).astype(float)
        first, second = y + rng.normal(size=(2, 80))
        found += comparison.delong(y, first, second).p < 0.05
    assert 0.02 <= found / 400 <= 0.09


def test_delong_without_variance():
    y = np.array([0.0, 0, 1, 1])
    assert comparison.delong(y, y, y).p == 1
    assert np.isnan(comparison.delong(y, y, np.zeros(4)).p)
    assert comparison.delong(y[1:3], y[1:3], y[1:3]).difference == 0, "one participant of each class"


def test_bootstrap_p_values_agree_with_the_paired_t_test_and_with_the_interval():
    for seed in range(8):
        x = np.random.default_rng(seed).normal(0.15, 1, 150)
        made = bootstrap(np.arange(150), lambda w, x=x: (w @ x / w.sum(1))[:, None], resamples=4000)
        assert made.p[0] == pytest.approx(scipy.stats.ttest_1samp(x, 0).pvalue, abs=0.05)
        assert (made.p[0] < 0.05) == (made.low[0] > 0 or made.high[0] < 0)
    far = bootstrap(np.arange(150), lambda w: (w @ (x + 9) / w.sum(1))[:, None], resamples=500)
    assert far.p[0] == 2 / 500
    same = bootstrap(np.arange(150), lambda w: np.zeros((len(w), 1)), resamples=500)
    assert same.p[0] == 1


def test_holm_equals_its_definition():
    p = np.random.default_rng(3).random(9) ** 3
    adjusted = comparison.holm(p)
    for i, value in enumerate(adjusted):
        # The largest of (number of p-values not smaller) * p over all that are no larger.
        assert value == pytest.approx(min(1, max(np.sum(p >= q) * q for q in p if q <= p[i])))
    assert comparison.holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert comparison.holm([]) == []


def test_adjusted_p_values_are_added_to_a_family():
    entries = [{"p": 0.01}, {"p": 0.03}]
    comparison.adjust(entries)
    assert entries == [{"p": 0.01, "p_holm": 0.02}, {"p": 0.03, "p_holm": 0.03}]

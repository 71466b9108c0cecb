"""DeLong's test and net benefit against MLstatkit and dcurves, as `make_golden.py` has written what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmpsy_jax.evaluation import comparison, decision

GOLDEN = json.loads((Path(__file__).parent / "golden" / "peers.json").read_text())


@pytest.fixture(params=GOLDEN["cases"], ids=lambda case: f"seed{case['seed']}")
def case(request):
    columns = ("y_true", "first", "second")
    return {**request.param, **{name: np.asarray(request.param[name]) for name in columns}}


def test_delong_is_that_of_mlstatkit(case):
    made = comparison.delong(case["y_true"], case["first"], case["second"])
    assert made.p == pytest.approx(case["p"], rel=1e-6)
    areas = [roc_auc_score(case["y_true"], case[name]) for name in ("first", "second")]
    assert made.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    half = (made.high - made.low) / 2
    assert abs(made.difference) / half * 1.959964 == pytest.approx(abs(case["z"]), rel=1e-6)


def test_net_benefit_is_that_of_dcurves(case):
    at = np.searchsorted(decision.THRESHOLDS, case["thresholds"])
    np.testing.assert_array_equal(decision.THRESHOLDS[at], case["thresholds"])
    for name in ("first", "second"):
        ours = decision.net_benefit(case["y_true"], case[name])[at]
        np.testing.assert_allclose(ours, case["net_benefit"][name], atol=1e-12)
    everybody = decision.net_benefit(case["y_true"], np.ones_like(case["first"]))[at]
    np.testing.assert_allclose(everybody, case["net_benefit"]["all"], atol=1e-12)

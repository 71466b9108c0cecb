"""Metrics against hand-computed values, and against scikit-learn and scipy on weighted samples."""

import numpy as np
import pytest
from reference_metrics import reference
from sklearn import metrics as sk

from mmpsy_jax.evaluation import breakdown, metrics, multilabel, operating_points
from mmpsy_jax.evaluation.calibration import calibration_bins
from mmpsy_jax.evaluation.rows import BinaryRows, ClassRows, ScoreRows
from mmpsy_jax.io import InputError

AT_THRESHOLD = [one.name for one in metrics.METRICS["binary"].values() if one.at_threshold]


def sample(kind, n=150, seed=0, decimals=2):
    """Random truths and predictions with ties, and decisions for the binary kind."""
    rng = np.random.default_rng(seed)
    if kind == "binary":
        y = (rng.random(n) < 0.25).astype(float)
        prob = np.round(1 / (1 + np.exp(-(1.5 * y - 1 + rng.normal(size=n)))), decimals)
        return y, prob, prob >= 0.4
    top = 28 if kind == "regression" else 5
    y = rng.integers(0, top, n).astype(float)
    if kind == "count":
        return y, np.exp(np.round(0.2 * y + 0.3 * rng.normal(size=n), decimals))
    if kind == "nominal":  # class 4 is never predicted
        return y, np.where(rng.random(n) < 0.6, np.minimum(y, 3), rng.integers(0, 4, n))
    return y, np.round(0.6 * y + rng.normal(size=n) * top / 6, decimals)


def rows(kind, columns, classes=5):
    if kind == "binary":
        return BinaryRows(*columns)
    return (
        ScoreRows(*columns, kind) if kind in ("regression", "count", "ranking") else ClassRows(*columns, classes, kind)
    )


def point(kind, *columns, classes=5):
    return metrics.point(rows(kind, columns, classes))


def decide(y, positive):
    return metrics.point(BinaryRows(y, y, positive), AT_THRESHOLD)


def weighted(kind, *columns):
    return metrics.statistic(rows(kind, columns))(np.ones((1, len(columns[0]))))[0]


@pytest.mark.parametrize("kind", metrics.METRICS)
@pytest.mark.parametrize("decimals", [1, 8])
def test_metrics_of_weighted_samples_are_those_of_outside_tools_on_the_repeated_rows(kind, decimals):
    columns = sample(kind, decimals=decimals)
    rng = np.random.default_rng(1)
    weights = np.concatenate([np.ones((1, 150)), rng.integers(0, 4, (5, 150))])
    many = metrics.statistic(rows(kind, columns))(weights)
    for row, counts in zip(many, weights.astype(int), strict=True):
        repeated = [np.repeat(column, counts) for column in columns]
        expected = reference(kind, repeated)
        made = point(kind, *repeated).values
        assert list(made) == list(metrics.METRICS[kind]) and made.keys() == expected.keys()
        for name, value in zip(made, row, strict=True):
            near = {"rel": 1e-6, "abs": 1e-6} if name.startswith("calibration") else {"rel": 1e-9, "abs": 1e-12}
            assert value == pytest.approx(expected[name], **near), name
            assert made[name] == pytest.approx(expected[name], **near), name


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_one_class_gives_nan_with_a_reason(truth):
    y, prob = np.full(5, truth), np.linspace(0.1, 0.9, 5)
    scores = point("binary", y, prob, prob >= 0.5)
    for name in ("auroc", "auprc", "balanced_accuracy", "brier_skill"):
        assert np.isnan(scores.values[name])
        assert scores.reasons[name] == metrics.ONE_CLASS
    assert np.isfinite(scores.values["brier"])
    many = weighted("binary", y, prob, prob >= 0.5)
    np.testing.assert_allclose(many, list(scores.values.values()))


def test_constant_scores_and_bands_give_nan_with_a_reason():
    same, varied = np.full(6, 3.0), np.arange(6.0)
    scores = point("regression", varied, same)
    assert np.isnan(scores.values["pearson"]) and scores.reasons["spearman"] == metrics.CONSTANT
    assert scores.values["ccc"] == 0
    assert np.isnan(point("regression", same, same).values["ccc"])
    one_band = point("ordinal", same, same)
    assert np.isnan(one_band.values["qwk"]) and one_band.values["accuracy"] == 1
    for made, expected in (
        (weighted("regression", varied, same), reference("regression", (varied, same))),
        (weighted("regression", same, same), reference("regression", (same, same))),
        (weighted("ordinal", same, same), reference("ordinal", (same, same))),
    ):
        np.testing.assert_allclose(made, list(expected.values()), atol=1e-12)


@pytest.mark.parametrize("kind", metrics.METRICS)
def test_no_rows_is_undefined_not_an_error(kind):
    empty = np.zeros(0)
    columns = (empty, empty, empty > 0) if kind == "binary" else (empty, empty)
    scores = point(kind, *columns)
    assert all(np.isnan(v) for v in scores.values.values())
    assert set(scores.reasons.values()) == {metrics.EMPTY}


def test_binary_by_hand():
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0.0])
    prob = np.array([0.9, 0.6, 0.2, 0.7, 0.3, 0.2, 0.1, 0.1])
    values = point("binary", y, prob, prob >= 0.5).values
    # tp 2, fn 1, fp 1, tn 4; pairs won: 5 + 4 + 2.5 of 15.
    assert values["auroc"] == pytest.approx(11.5 / 15)
    assert values["sensitivity"] == pytest.approx(2 / 3)
    assert values["specificity"] == pytest.approx(4 / 5)
    assert values["ppv"] == pytest.approx(2 / 3)
    assert values["npv"] == pytest.approx(4 / 5)
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert values["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    brier = (0.01 + 0.16 + 0.64 + 0.49 + 0.09 + 0.04 + 0.01 + 0.01) / 8
    assert values["brier"] == pytest.approx(brier)
    assert values["brier_skill"] == pytest.approx(1 - brier / (3 / 8 * 5 / 8))


def test_regression_and_ordinal_by_hand():
    y, pred = np.array([0.0, 1, 2, 3]), np.array([1.0, 1, 3, 3])
    values = point("regression", y, pred).values
    assert values["mae"] == 0.5
    assert values["rmse"] == pytest.approx(np.sqrt(0.5))
    # cov 1, var 1.25 and 1, means 1.5 and 2.
    assert values["ccc"] == pytest.approx(2 * 1 / (1.25 + 1 + 0.25))
    bands = point("ordinal", np.array([0.0, 0, 0, 1, 2]), np.array([0.4, 0.5, -3.0, 1.2, 9.0]), classes=3)
    assert bands.values["accuracy"] == 0.8
    assert bands.values["macro_mae"] == pytest.approx((1 / 3 + 0 + 0) / 3)


@pytest.mark.parametrize("seed", range(3))
def test_nominal_equals_scikit_learn(seed):
    y, called = sample("nominal", seed=seed)
    made = point("nominal", y, called, classes=6)  # class 5 does not occur at all
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "f1_macro": sk.f1_score(y, called, average="macro"),
        "f1_weighted": sk.f1_score(y, called, average="weighted"),
        "accuracy": sk.accuracy_score(y, called),
        "kappa": sk.cohen_kappa_score(y, called),
    }
    assert not made.reasons and made.values == pytest.approx(expected)
    each = breakdown.per_class(ClassRows(y, called, 6).confusion())
    columns = sk.precision_recall_fscore_support(y, called, labels=range(5), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "n"), columns, strict=True):
        np.testing.assert_allclose([one[name] for one in each[:5]], column)
    assert each[5]["n"] == 0 and np.isnan(each[5]["f1"])


def test_a_count_of_nobody_or_a_rate_of_zero_has_no_deviance():
    known, rate = np.array([0.0, 2, 3]), np.array([0.0, 2, 3])
    assert point("count", known, rate).reasons == dict.fromkeys(
        ("deviance_explained", "poisson_deviance"), metrics.NO_RATE
    )
    same = point("count", np.full(3, 2.0), np.array([1.0, 2, 3]))
    assert same.reasons["deviance_explained"] == metrics.CONSTANT and same.values["poisson_deviance"] > 0


def test_one_class_everywhere_has_no_kappa():
    scores = point("nominal", np.ones(4), np.ones(4), classes=3)
    assert np.isnan(scores.values["kappa"]) and scores.reasons == {"kappa": metrics.CONSTANT}
    assert [scores.values[name] for name in ("balanced_accuracy", "f1_macro", "accuracy")] == [1, 1, 1]


def test_calibration_error_does_not_depend_on_row_order_and_keeps_ties_together():
    y, prob, _ = sample("binary", decimals=1)
    order = np.random.default_rng(0).permutation(len(y))
    error = lambda y, prob: metrics.point(BinaryRows(y, prob), ["ece"]).values["ece"]  # noqa: E731
    assert error(y, prob) == pytest.approx(error(y[order], prob[order]))
    assert error(y, np.full(len(y), 0.5)) == pytest.approx(abs(y.mean() - 0.5))
    distinct = np.linspace(0.01, 0.99, 100)
    _, _, counts = calibration_bins((distinct > 0.5).astype(float), distinct)
    assert counts.tolist() == [10] * 10


@pytest.mark.parametrize("rule", operating_points.RULES)
def test_thresholds_are_the_best_candidate_by_exhaustive_search(rule):
    y, prob, _ = sample("binary", seed=3, decimals=3)
    candidates = np.unique(prob)[::-1]

    def gain(threshold):
        values = point("binary", y, prob, prob >= threshold).values
        if rule == "youden":
            return values["sensitivity"] + values["specificity"]
        if rule == "f1":
            return values["f1"]
        return float(values["sensitivity"] >= float(rule[-2:]) / 100)

    gains = np.array([gain(c) for c in candidates])
    best = candidates[np.flatnonzero(gains >= gains.max() - 1e-12)[0]]
    assert operating_points.choose_threshold(y, prob, rule) == best


def test_threshold_errors():
    with pytest.raises(InputError, match="one class"):
        operating_points.choose_threshold(np.ones(3), np.ones(3))
    with pytest.raises(InputError, match="sensitivity_80"):
        operating_points.choose_threshold(np.array([0.0, 1]), np.ones(2), "best")


@pytest.mark.parametrize("seed", range(3))
def test_a_decision_equals_scikit_learn(seed):
    y, _, positive = sample("binary", seed=seed)
    values = decide(y, positive).values
    assert list(values) == list(AT_THRESHOLD)
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(y, positive))
    assert values["f1_weighted"] == pytest.approx(sk.f1_score(y, positive, average="weighted"))
    assert values["f1_macro"] == pytest.approx(sk.f1_score(y, positive, average="macro"))
    assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, positive))
    assert values["ppv"] == pytest.approx(sk.precision_score(y, positive))
    assert values["npv"] == pytest.approx(sk.precision_score(y, positive, pos_label=0))


def test_mcc_without_a_decision_names_the_side():
    y = np.array([0.0, 1, 1])
    assert decide(y, np.zeros(3, bool)).reasons["mcc"] == metrics.NONE_POSITIVE
    assert decide(y, np.ones(3, bool)).reasons["mcc"] == metrics.NONE_NEGATIVE
    assert decide(np.ones(3), y == 1).reasons["mcc"] == metrics.ONE_CLASS


def test_several_decisions_at_once_equal_each_alone():
    y, prob, _ = sample("binary")
    called = np.stack([prob >= t for t in (0.2, 0.5, 0.99)], axis=1)
    weights = np.random.default_rng(2).integers(0, 4, (4, 150))
    names = ("sensitivity", "ppv", "mcc")
    for counts, row in zip(weights, metrics.decisions(y, called, names)(weights.astype(float)), strict=True):
        alone = [decide(np.repeat(y, counts), np.repeat(c, counts)).values for c in called.T]
        np.testing.assert_allclose(row, [one[name] for one in alone for name in names], rtol=1e-12)


def test_bands_and_agreement_by_hand():
    counts = ClassRows(np.array([0.0, 0, 1, 3]), np.array([0.0, 2, 1, 1]), 4).confusion()
    first, second, third, fourth = breakdown.bands(counts)
    assert first == {"band": 0, "n": 2, "recall": 0.5, "mae": 1.0}
    assert second == {"band": 1, "n": 1, "recall": 1.0, "mae": 0.0}
    assert third["n"] == 0 and np.isnan(third["recall"]) and np.isnan(third["mae"])
    assert fourth == {"band": 3, "n": 1, "recall": 0.0, "mae": 2.0}
    y, pred = sample("regression")
    made, gaps = breakdown.agreement(y, pred), pred - y
    assert made["bias"] == pytest.approx(gaps.mean())
    assert [made["low"], made["high"]] == pytest.approx(gaps.mean() + np.array([-1.96, 1.96]) * np.std(gaps, ddof=1))
    alone = breakdown.agreement(y[:1], pred[:1])
    assert np.isfinite(alone["bias"]) and np.isnan(alone["low"])


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random((80, 5)) < [0.1, 0.3, 0.5, 0.7, 0.2]).astype(float)
    prob = np.clip(0.3 * y + 0.7 * rng.random(y.shape), 0, 1)
    overall, labels = multilabel.scores(y, prob, prob >= 0.5)
    for average in ("micro", "macro", "weighted"):
        for name, score in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
            assert overall.values[f"{name}_{average}"] == pytest.approx(score(y, prob >= 0.5, average=average))
    assert overall.values["auroc_macro"] == pytest.approx(sk.roc_auc_score(y, prob, average="macro"))
    assert [one.values["f1"] for one in labels] == pytest.approx(sk.f1_score(y, prob >= 0.5, average=None))
    assert [one.values["recall"] for one in labels] == pytest.approx(sk.recall_score(y, prob >= 0.5, average=None))
    assert [one.values["auroc"] for one in labels] == pytest.approx(sk.roc_auc_score(y, prob, average=None))
    assert not overall.reasons


def test_multilabel_leaves_out_labels_without_a_metric():
    y = np.array([[1.0, 0, 1], [0, 0, 1]])
    overall, labels = multilabel.scores(y, np.array([[0.9, 0.1, 0.9], [0.2, 0.1, 0.8]]), y == 1)
    neither = dict.fromkeys(("precision", "recall", "f1"), "the label neither occurs nor is predicted")
    assert labels[1].reasons == neither | {"auroc": metrics.ONE_CLASS}
    assert len(overall.values) == 10 and set(overall.values.values()) == {1}
    nothing, _ = multilabel.scores(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), bool))
    assert all(np.isnan(value) for value in nothing.values.values()) and set(nothing.reasons) == set(nothing.values)

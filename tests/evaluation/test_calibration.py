"""Recalibration against scikit-learn and scipy; conformal coverage on exchangeable data; nothing is fitted on test."""

import math

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from mmpsy_jax.evaluation import bootstrap, calibration, metrics
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import BinaryRows
from mmpsy_jax.tasks import Task


def screening(n, seed, temperature=2.5, split="test", fold=0):
    """Outcomes of probabilities that are then made too extreme."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-0.5, 1, n)
    y = (rng.random(n) < expit(log_odds)).astype(float)
    ids = [f"{split}_{fold}_{i}" for i in range(n)]
    return Predictions.build(ids, "screen", y, y_prob=expit(temperature * log_odds), split=split, fold=fold)


def scores(n, seed, sd=3.0, top=27.0, split="test", fold=0):
    rng = np.random.default_rng(seed)
    y = np.floor(rng.random(n) * (top + 1))
    ids = [f"{split}_{fold}_{i}" for i in range(n)]
    return Predictions.build(ids, "score", y, y_pred=y + rng.normal(0, sd, n), split=split, fold=fold)


def recalibration(validation, rows):
    made, reason = calibration.recalibrated(validation, rows)
    intervals = {
        name: bootstrap.bootstrap(
            rows.participant_id,
            metrics.statistic(BinaryRows(rows.y_true, prob), calibration.RECALIBRATED),
            resamples=100,
        )
        for name, prob in made.items()
    }
    return calibration.recalibration(rows.y_true, made, reason, intervals)


def test_temperature_is_the_one_of_least_log_loss():
    rows = screening(3000, 0)
    made = calibration.fit_temperature(rows.y_true, rows.y_prob)
    assert made == pytest.approx(2.5, rel=0.1)

    def loss(t):
        return log_loss(rows.y_true, expit(logit(rows.y_prob) / t[0]))

    theirs = scipy.optimize.minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    assert made == pytest.approx(theirs.x[0], rel=1e-3)


def test_recalibration_is_fitted_on_validation_of_the_fold_and_measured_on_test():
    validation = Predictions.concatenate(
        [screening(2000, 1, 2.5, "validation", 0), screening(2000, 2, 0.5, "validation", 1)]
    )
    rows = Predictions.concatenate([screening(1500, 3, 2.5, "test", 0), screening(1500, 4, 0.5, "test", 1)])
    entry = recalibration(validation, rows)
    assert entry["fitted_on"] == "validation"
    expected = np.empty(len(rows))
    for fold in (0, 1):
        fit, there = validation.select(fold=fold), rows.fold == fold
        made = IsotonicRegression(out_of_bounds="clip").fit(fit.y_prob, fit.y_true)
        expected[there] = made.predict(rows.y_prob[there])
    assert entry["isotonic"]["brier"]["value"] == pytest.approx(brier_score_loss(rows.y_true, expected))
    assert set(entry["temperature"]) == set(calibration.RECALIBRATED)
    for method in calibration.METHODS:
        for metric in set(calibration.RECALIBRATED) - {"ece"}:  # which is larger in resamples
            cell = entry[method][metric]
            assert cell["low"] < cell["value"] < cell["high"] and cell["interval"] == "bca"
    assert entry["temperature"]["calibration_slope"]["value"] == pytest.approx(1, abs=0.1), "each fold has its own"
    assert entry["temperature"]["log_loss"]["value"] < log_loss(rows.y_true, rows.y_prob) - 0.02
    # Other outcomes of the test rows change what is measured, not what was fitted.
    flipped = Predictions.build(rows.participant_id, "screen", 1 - rows.y_true, y_prob=rows.y_prob, fold=rows.fold)
    brier = recalibration(validation, flipped)["isotonic"]["brier"]["value"]
    assert brier == pytest.approx(brier_score_loss(1 - rows.y_true, expected))


def test_recalibration_needs_validation_rows_of_both_classes_in_every_fold():
    rows = Predictions.concatenate([screening(50, 0, fold=0), screening(50, 1, fold=1)])
    only = recalibration(screening(50, 2, split="validation", fold=0), rows)
    assert only == {"fitted_on": None, "reason": "no validation rows of both classes in fold 1"}


def test_conformal_quantile_by_hand():
    residuals = np.array([-3.0, 1, 2, -4, 5, 6, 7, 8, -9])
    assert calibration.conformal_quantile(residuals, 0.9) == 9  # ceil(10 * 0.9) = 9th of 9
    assert calibration.conformal_quantile(residuals, 0.5) == 5
    assert calibration.conformal_quantile(residuals[:8], 0.9) == np.inf


def test_conformal_coverage_over_many_draws_is_the_level():
    """The guarantee is for the mean over calibration sets: at least the level, and at most 1 / (n + 1) above it."""
    covered = [
        calibration.conformal(scores(49, 2 * seed, split="validation"), scores(100, 2 * seed + 1))["coverage"]
        for seed in range(150)
    ]
    assert 0.9 - 0.01 <= np.mean(covered) <= 0.9 + 1 / 50 + 0.01


def test_conformal_width_and_sets():
    validation, rows = scores(200, 0, split="validation"), scores(300, 1)
    entry = calibration.conformal(validation, rows)
    radius = np.sort(np.abs(validation.y_true - validation.y_pred))[int(np.ceil(201 * 0.9)) - 1]
    assert entry == {
        "level": 0.9,
        "coverage": pytest.approx(np.mean(np.abs(rows.y_true - rows.y_pred) <= radius)),
        "mean_width": pytest.approx(2 * radius),
        "n_calibration": 200,
    }
    validation, rows = scores(200, 2, 0.8, 4.0, split="validation"), scores(300, 3, 0.8, 4.0)
    entry = calibration.conformal(validation, rows, n_classes=5)
    radius = np.sort(np.abs(validation.y_true - validation.y_pred))[int(np.ceil(201 * 0.9)) - 1]
    nearest = [min(max(math.floor(prediction + 0.5), 0), 4) for prediction in rows.y_pred]
    sets = [
        {k for k in range(5) if abs(k - prediction) <= radius or k == near}
        for prediction, near in zip(rows.y_pred, nearest, strict=True)
    ]
    assert entry["mean_size"] == pytest.approx(np.mean([len(s) for s in sets]))
    assert entry["coverage"] == pytest.approx(np.mean([y in s for y, s in zip(rows.y_true, sets, strict=True)]))


def test_each_fold_has_its_own_radius():
    validation = Predictions.concatenate([scores(200, f, 1 + 5 * f, split="validation", fold=f) for f in (0, 1)])
    rows = Predictions.concatenate([scores(400, 9 + f, 1 + 5 * f, fold=f) for f in (0, 1)])
    pooled = calibration.conformal(validation, rows)
    alone = [calibration.conformal(validation.select(fold=f), rows.select(fold=f)) for f in (0, 1)]
    assert alone[1]["mean_width"] > 4 * alone[0]["mean_width"]
    for name in ("coverage", "mean_width"):
        assert pooled[name] == pytest.approx(np.mean([one[name] for one in alone]))


def test_too_few_validation_rows_give_a_reason():
    entry = calibration.conformal(scores(8, 0, split="validation"), scores(30, 1))
    assert np.isnan(entry["coverage"]) and entry["reason"] == "no validation rows enough for level 0.9 in fold 0"
    assert "fold 0" in calibration.conformal(scores(20, 0, split="validation", fold=1), scores(30, 1))["reason"]


def test_a_band_set_is_never_empty():
    made = calibration.band_set(np.array([1.4, 2.5, -0.3, 9.0]), 0.2, 4)
    assert [np.flatnonzero(row).tolist() for row in made] == [[1], [3], [0], [3]]
    made = calibration.band_set(np.array([1.4, 2.5]), np.array([1.0, 0.5]), 4)
    assert [np.flatnonzero(row).tolist() for row in made] == [[1, 2], [2, 3]]


SCREEN, SCORE = Task("screen", "phq9", "binary", (10,), 27.0), Task("score", "phq9", "regression", (), 27.0)


def folds_of(make, sizes, **more):
    parts = [("validation", 10, sizes[0]), ("test", 20, sizes[1])]
    return [make(n, seed + fold, split=split, fold=fold, **more) for split, seed, n in parts for fold in (0, 1)]


def test_what_a_run_keeps_is_fitted_on_validation_alone():
    tables = folds_of(screening, (400, 50)) + folds_of(scores, (60, 80))
    kept = calibration.of_run(Predictions.concatenate(tables), [SCREEN, SCORE])
    assert kept["level"] == 0.9 and set(kept["tasks"]) == {"screen", "score"}
    for fold in (0, 1):
        fitted = calibration.fit_temperature(tables[fold].y_true, tables[fold].y_prob)
        assert kept["tasks"]["screen"]["temperatures"][str(fold)] == pytest.approx(fitted)
    residuals = np.concatenate([tables[4 + fold].y_true - tables[4 + fold].y_pred for fold in (0, 1)])
    entry = kept["tasks"]["score"]
    assert entry["radius"] == np.sort(np.abs(residuals))[math.ceil(121 * 0.9) - 1] and entry["n_calibration"] == 120
    measured = calibration.conformal(Predictions.concatenate(tables[4:6]), Predictions.concatenate(tables[6:]))
    assert entry["coverage"] == measured["coverage"]
    # Other truths of the test rows change the coverage that is measured, and nothing else.
    others = [t if t.split[0] == "validation" else Predictions.build(
        t.participant_id, t.task[0], 1 - t.y_true if t.task[0] == "screen" else t.y_true + 20,
        y_prob=t.y_prob, y_pred=t.y_pred, fold=t.fold) for t in tables]  # fmt: skip
    again = calibration.of_run(Predictions.concatenate(others), [SCREEN, SCORE])
    assert again["tasks"]["screen"] == kept["tasks"]["screen"]
    assert again["tasks"]["score"] == {**entry, "coverage": pytest.approx(0, abs=0.05)}


def test_a_run_without_validation_keeps_reasons():
    tables = [screening(50, 0), scores(50, 1), scores(5, 2, split="validation")]
    kept = calibration.of_run(Predictions.concatenate(tables), [SCREEN, SCORE])["tasks"]
    assert kept["screen"] == {"reason": "no validation rows of both classes in fold 0"}
    assert kept["score"] == {"reason": "5 validation rows are too few for level 0.9"}


def test_an_ensemble_is_averaged_over_seeds_then_scaled_then_averaged_over_folds():
    said = np.random.default_rng(0).random((4, 6))
    made = calibration.calibrated(said, np.array([0, 1, 0, 1]), {"0": 2.0, "1": 0.5})
    expected = (expit(logit(said[[0, 2]].mean(0)) / 2) + expit(logit(said[[1, 3]].mean(0)) / 0.5)) / 2
    np.testing.assert_allclose(made, expected, rtol=1e-12)

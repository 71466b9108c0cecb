"""Calibration by tested rows of other folds: nobody by themselves, and coverage on people drawn anew. SYNTHETIC."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.model_selection import KFold

from mmpsy_jax.evaluation import calibration, operating_points, out_of_fold, scoring
from mmpsy_jax.evaluation.logistic import Regression, logit
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task

SCREEN = Task("screen", "phq9", "binary", (10,))
SCORE = Task("score", "phq9", "regression", maximum=27)
BANDS = Task("bands", "phq9", "ordinal", (5, 10, 15))
FEATURES = 12


def people(n, rng):
    """Features of people, and a score that they tell but for noise."""
    x = rng.normal(size=(n, FEATURES))
    return x, np.clip(np.round(9 + 2.5 * x[:, 0] - 1.5 * x[:, 1] + rng.normal(0, 3, n)), 0, 27)


def weights_of(x, y):
    centred = x - x.mean(axis=0)
    w = np.linalg.solve(centred.T @ centred + np.eye(FEATURES), centred.T @ (y - y.mean()))
    return w, y.mean() - x.mean(axis=0) @ w


def cross_validated(n=150, repeats=1, seed=0):
    """Out-of-fold predictions of a linear model, and its folds."""
    rng = np.random.default_rng(seed)
    x, y = people(n, rng)
    ids, models, parts = np.array([f"p{i}" for i in range(n)]), {}, []
    for repeat in range(repeats):
        for k, (train, test) in enumerate(KFold(5, shuffle=True, random_state=seed + repeat).split(x)):
            fold = 5 * repeat + k
            models[fold] = w, b = weights_of(x[train], y[train])
            said = x[test] @ w + b
            truth = y[test]
            parts.append(Predictions.build(ids[test], "score", truth, y_pred=np.clip(said, 0, 27), fold=fold))
            band, of = np.digitize(truth, BANDS.cutoffs), np.interp(said, [2.5, 7.5, 12.5, 17.5], range(4))
            parts.append(Predictions.build(ids[test], "bands", band, y_pred=of, fold=fold))
            prob = expit(1.8 * (said - 9.5))  # too extreme
            parts.append(Predictions.build(ids[test], "screen", truth >= 10, y_prob=prob, fold=fold))
    return Predictions.concatenate(parts), models, rng


def test_nobody_is_calibrated_by_themselves():
    table, _, _ = cross_validated(repeats=2)
    rows = table.select(task="score")
    parts, source = out_of_fold.calibrating(rows, range(10))
    assert source == "out_of_fold"
    for fold, part in enumerate(parts):
        tested = rows.select(fold=fold).participant_id
        assert len(part) == 2 * (150 - len(tested)) and not np.isin(part.participant_id, tested).any()


def test_clusters_stay_together():
    table = cross_validated()[0].select(task="score")
    of_pairs = [f"c{int(name[1:]) // 2}" for name in table.participant_id.tolist()]
    rows = Predictions.build(
        table.participant_id, "score", table.y_true, y_pred=table.y_pred, fold=table.fold, cluster=of_pairs
    )
    for fold, part in enumerate(out_of_fold.calibrating(rows, range(5))[0]):
        assert not np.isin(part.cluster, rows.select(fold=fold).cluster).any()


def test_what_a_fold_is_calibrated_by_does_not_depend_on_its_own_labels():
    table = cross_validated()[0]
    here = table.fold == 2
    truth = np.where(here & (table.task == "screen"), 1 - table.y_true, table.y_true)
    truth = np.where(here & (table.task == "score"), 27 - truth, truth)
    columns = {"split": table.split, "fold": table.fold, "y_prob": table.y_prob, "y_pred": table.y_pred}
    other = Predictions.build(table.participant_id, table.task, truth, **columns)
    for rule in operating_points.RULES:
        chosen = [operating_points.choose_thresholds(t.select(task="screen"), rule)[2] for t in (table, other)]
        assert chosen[0] == chosen[1] and chosen[0]["source"] == "out_of_fold"
    maps = [calibration.recalibrated(t.select(task="screen"), t.select(task="screen"))[0] for t in (table, other)]
    there = table.select(task="screen").fold == 2
    for name in calibration.METHODS:
        np.testing.assert_array_equal(maps[0][name][there], maps[1][name][there])
        assert not np.array_equal(maps[0][name][~there], maps[1][name][~there])
    radii = [calibration.conformal(t.select(task="score"), t.select(task="score", fold=2)) for t in (table, other)]
    assert radii[0]["mean_width"] == radii[1]["mean_width"] and radii[0]["coverage"] != radii[1]["coverage"]


def test_validation_rows_come_first_and_one_fold_has_nothing():
    rows = cross_validated()[0].select(task="score")
    own = Predictions.build(["v1", "v2"], "score", [1, 2], y_pred=[1, 1], split="validation", fold=[0, 3])
    parts, source = out_of_fold.calibrating(Predictions.concatenate([rows, own]), [0, 1, 3])
    assert source == "validation" and [len(part) for part in parts] == [1, 0, 1]
    assert [len(part) for part in out_of_fold.calibrating(rows.select(fold=0), [0])[0]] == [0]


def test_cv_plus_by_hand():
    means = {"0": np.array([10.0]), "1": np.array([12.0])}
    sizes = {"0": [1.0, 2.0, 3.0], "1": [0.5, 4.0]}
    low, high = out_of_fold.cv_plus(means, sizes, 0.5)  # ranks 3 of [7 8 8 9 11.5] and of [11 12 12.5 13 16]
    assert (low[0], high[0]) == (8.0, 12.5)
    assert not out_of_fold.enough(8, 0.9) and out_of_fold.enough(9, 0.9)


def test_cross_conformal_by_hand():
    means, sizes = {"0": np.array([1.0]), "1": np.array([1.6])}, {"0": [0.1, 0.5, 1.2], "1": [0.2, 0.7]}
    # As far as band 0: 1.0 (one residual is farther) and 1.6 (none); p = 2/6. Band 2: 1.0 (one), 0.4 (one); p = 3/6.
    sets = out_of_fold.cross_conformal(means, sizes, 3, level=0.6)
    np.testing.assert_array_equal(sets, [[False, True, True]])


@pytest.mark.parametrize("repeats", [1, 2])
def test_new_people_are_covered(repeats):
    """Means over draws of everything: intervals, sets, and probabilities that were too extreme."""
    covered, in_set, slopes = [], [], []
    for seed in range(25):
        table, models, rng = cross_validated(repeats=repeats, seed=100 * seed)
        card = calibration.of_run(table, [SCREEN, SCORE, BANDS])
        x, y = people(400, rng)
        said = {str(fold): x @ w + b for fold, (w, b) in models.items()}
        entry = card["tasks"]["score"]
        low, high = out_of_fold.cv_plus({k: v.clip(0, 27) for k, v in said.items()}, entry["residuals"], card["level"])
        covered.append(np.mean((low <= y) & (y <= high)))
        assert entry["fitted_on"] == "out_of_fold" and abs(entry["coverage"] - 0.9) < 0.1
        expected = {k: np.interp(v, [2.5, 7.5, 12.5, 17.5], range(4)) for k, v in said.items()}
        sets = out_of_fold.cross_conformal(expected, card["tasks"]["bands"]["residuals"], 4, card["level"])
        in_set.append(sets[np.arange(400), np.digitize(y, BANDS.cutoffs)].mean())
        values = np.array([expit(1.8 * (v - 9.5)) for v in said.values()])
        calibrated = calibration.calibrated(values, np.array(list(models)), card["tasks"]["screen"]["temperatures"])
        slopes.append(Regression((y >= 10).astype(float), logit(calibrated), slope=True).estimate[1])
    assert 0.88 <= np.mean(covered) <= 0.93
    assert 0.88 <= np.mean(in_set) <= 0.96  # bands are few: a set is a little larger than it need be
    assert 0.9 <= np.mean(slopes) <= 1.1


def test_the_report_tells_coverage_by_band_and_where_thresholds_come_from():
    table = cross_validated(repeats=2)[0]
    report = scoring.evaluate(table, [SCREEN, SCORE, BANDS], n_bootstrap=20)
    scored = {name: entry["splits"]["test"] for name, entry in report["tasks"].items()}
    assert scored["screen"]["recalibration"]["fitted_on"] == "out_of_fold"
    assert 0.8 < scored["screen"]["recalibration"]["temperature"]["calibration_slope"]["value"] < 1.25
    for name, n in (("score", 5), ("bands", 4)):
        entry = scored[name]["conformal"]
        parts = [(part["n"], part["coverage"]) for part in entry["bands"]]
        assert len(parts) <= n and sum(size for size, _ in parts) == 300
        assert entry["coverage"] == pytest.approx(np.dot(*np.array(parts).T) / 300) and 0.85 < entry["coverage"] < 0.97
    sources = {one["source"] for one in report["tasks"]["screen"]["thresholds"]["model"]}
    assert sources == {"out_of_fold"} and not [f for f in report["flags"] if f["code"] == "default_threshold"]


def test_one_class_and_few_people_have_a_reason():
    ids = [f"p{i}" for i in range(8)]
    rows = [Predictions.build(ids, "screen", np.zeros(8), y_prob=np.full(8, 0.1), fold=np.arange(8) % 2)]
    rows.append(Predictions.build(ids, "score", np.arange(8), y_pred=np.ones(8), fold=np.arange(8) % 2))
    card = calibration.of_run(Predictions.concatenate(rows), [SCREEN, SCORE])["tasks"]
    assert "of both classes in fold 0, 1" in card["screen"]["reason"]
    assert "too few for level 0.9" in card["score"]["reason"]

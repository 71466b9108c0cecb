"""The content of `report.json`: folds, seeds, thresholds, baselines, differences and red flags."""

import dataclasses
import json

import numpy as np
import pytest
from evaluation_samples import EMOTION, TASKS, cross_validation, emotions, one_run, people, run
from reference_metrics import decision
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from mmpsy_jax.evaluation import comparison, flags, metrics, operating_points, wording
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.scoring import evaluate
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import questionnaire

FAST = {"n_bootstrap": 200}


def codes(report):
    return {flag["code"] for flag in report["flags"]}


def test_what_is_being_scored_is_told():
    told = []
    evaluate(one_run(), TASKS, n_bootstrap=2, progress=told.append)
    assert len(told) == 2 * len(TASKS) and told[0] == "task 1 of 3, phq_screen: validation split, 2 resamples"


def test_single_split():
    made = one_run()
    report = evaluate(made, TASKS, baselines={"worse": one_run(noise=25.0, rng_seed=1)}, **FAST)
    json.dumps(report, allow_nan=False)
    entry = report["tasks"]["phq_screen"]["splits"]["test"]
    rows = made.select(task="phq_screen", split="test")
    assert entry["n_participants"] == 120
    assert entry["n_events"] == int(rows.y_true.sum())
    assert entry["prevalence"] == pytest.approx(rows.y_true.mean())
    assert entry["model"]["auroc"]["value"] == pytest.approx(roc_auc_score(rows.y_true, rows.y_prob))
    assert entry["folds"] is None and entry["seeds"] is None
    for kind, name in (("binary", "phq_screen"), ("ordinal", "phq_bands"), ("regression", "phq_score")):
        for split in ("validation", "test"):
            scored = report["tasks"][name]["splits"][split]
            for metric in metrics.NAMES[kind]:
                model, worse, gap = (
                    scored["model"][metric],
                    scored["baselines"]["worse"][metric],
                    scored["differences"]["worse"][metric],
                )
                assert model["low"] < model["value"] < model["high"]
                assert gap["value"] == pytest.approx(model["value"] - worse["value"])
                assert gap["low"] <= gap["value"] <= gap["high"]
            first = next(iter(metrics.NAMES[kind]))
            sign = metrics.NAMES[kind][first]
            gap = scored["differences"]["worse"][first]
            assert min(sign * gap["low"], sign * gap["high"]) > 0, "a clearly better model is told apart"


def test_a_nominal_task_is_scored_by_the_votes_of_the_seeds():
    made = emotions(seeds=(0, 1, 2))
    report = evaluate(made, [EMOTION], baselines={"worse": emotions(right=0.1)}, **FAST)
    json.dumps(report, allow_nan=False)
    entry = report["tasks"]["emotion"]
    assert entry["classes"] == list(EMOTION.classes)
    scored = entry["splits"]["test"]
    voted = made.select(split="test").over_seeds("nominal")
    assert scored["model"]["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(voted.y_true, voted.y_pred)
    )
    assert scored["seeds"]["model"]["accuracy"]["mean"] < scored["model"]["accuracy"]["value"]
    for name, cell in scored["model"].items():
        assert cell["low"] < cell["value"] < cell["high"]
        assert scored["differences"]["worse"][name]["low"] > 0
    assert scored["comparisons"]["worse"]["metric"] == "balanced_accuracy"
    assert [one["n"] for one in scored["per_class"]] == np.sum(scored["confusion"], axis=1).tolist()
    assert scored["conformal"]["coverage"] is None and "probabilities" in scored["conformal"]["reason"]
    for column, wrong in (("y_true", 3.0), ("y_pred", 0.5)):
        with pytest.raises(InputError, match="indices of classes, 0 to 2"):
            evaluate(dataclasses.replace(made, **{column: np.full(len(made), wrong)}), [EMOTION], **FAST)


def test_threshold_comes_from_validation_and_is_carried_to_test():
    made = one_run()
    report = evaluate(made, TASKS[:1], **FAST)
    entry = report["tasks"]["phq_screen"]
    validation, test = made.select(task="phq_screen", split="validation"), made.select(task="phq_screen", split="test")
    expected = operating_points.choose_threshold(validation.y_true, validation.y_prob)
    assert entry["thresholds"]["model"] == [{"fold": 0, "value": expected, "source": "validation", "n": 80}]
    called = test.y_prob >= expected
    scored = entry["splits"]["test"]
    assert scored["model"]["sensitivity"]["value"] == pytest.approx(called[test.y_true == 1].mean())
    assert np.sum(scored["confusion"]) == 120 and scored["confusion"][1][1] == called[test.y_true == 1].sum()
    # Other test labels leave the threshold alone.
    flipped = Predictions.concatenate(
        [validation, Predictions.build([f"q{i}" for i in range(9)], "phq_screen", 1, y_prob=0.1)]
    )
    assert evaluate(flipped, TASKS[:1], **FAST)["tasks"]["phq_screen"]["thresholds"]["model"][0]["value"] == expected


def test_operating_points_are_chosen_on_validation_and_carried_to_test():
    made = cross_validation()
    entry = evaluate(made, TASKS[:1], **FAST)["tasks"]["phq_screen"]["splits"]["test"]
    rows = made.select(task="phq_screen").over_seeds("binary")
    assert list(entry["operating_points"]) == ["youden", "f1", "sensitivity_80", "sensitivity_90"]
    for rule, point in entry["operating_points"].items():
        called, truth = [], []
        for fold, threshold in enumerate(point["thresholds"]):
            part = rows.select(split="validation", fold=fold)
            value = operating_points.choose_threshold(part.y_true, part.y_prob, rule)
            assert threshold == {"fold": fold, "value": value, "source": "validation", "n": len(part)}
            test = rows.select(split="test", fold=fold)
            called.append(test.y_prob >= value)
            truth.append(test.y_true)
        expected = decision(np.concatenate(truth), np.concatenate(called))
        for metric in ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc"):
            cell = point["metrics"][metric]
            assert cell["value"] == pytest.approx(expected[metric])
            assert cell["low"] < cell["value"] < cell["high"]
        if rule == "youden":  # the same resamples give the same intervals
            assert point["metrics"]["mcc"] == entry["model"]["mcc"]


def test_what_each_kind_gains():
    made = one_run()
    report = evaluate(made, TASKS, baselines={"worse": one_run(noise=25.0, rng_seed=1)}, **FAST)
    screen, bands, score = (report["tasks"][task.name]["splits"] for task in TASKS)
    curve = screen["test"]["decision_curve"]
    assert all(len(curve[name]) == 50 for name in ("thresholds", "model", "low", "high", "treat_all"))
    assert len(curve["baselines"]["worse"]) == 50 and np.mean(curve["model"]) > np.mean(curve["baselines"]["worse"])
    recalibrated = screen["test"]["recalibration"]
    assert recalibrated["fitted_on"] == "validation"
    for cell in (
        recalibrated[method][metric] for method in ("temperature", "isotonic") for metric in ("brier", "log_loss")
    ):
        assert cell["low"] < cell["value"] < cell["high"]
    assert bands["test"]["conformal"]["coverage"] > 0.75 and bands["test"]["conformal"]["n_calibration"] == 80
    assert [one["n"] for one in bands["test"]["bands"]] == np.sum(bands["test"]["confusion"], axis=1).tolist()
    assert score["test"]["conformal"]["coverage"] > 0.75
    limits = score["test"]["agreement"]
    assert limits["low"] < limits["bias"] < limits["high"]
    for splits in (screen, bands, score):  # nothing is measured on the rows that it was fitted on
        assert not {"recalibration", "conformal"} & set(splits["validation"])


def test_comparisons_and_their_family():
    made = one_run()
    beside = {"worse": one_run(noise=25.0, rng_seed=1), "alike": one_run(rng_seed=2)}
    report = evaluate(made, TASKS, baselines=beside, **FAST)
    family = []
    for task, metric, test in zip(TASKS, ("auroc", "qwk", "mae"), ("delong", "bootstrap", "bootstrap"), strict=True):
        scored = report["tasks"][task.name]["splits"]["test"]
        for name, entry in scored["comparisons"].items():
            assert (entry["metric"], entry["test"]) == (metric, test)
            assert entry["difference"] == pytest.approx(scored["differences"][name][metric]["value"])
            assert (entry["p"] < 0.05) == (entry["low"] > 0 or entry["high"] < 0)
            family.append(entry)
        assert scored["comparisons"]["worse"]["p_holm"] < 0.1 < scored["comparisons"]["alike"]["p_holm"]
    assert len(family) == 6
    assert min(family, key=lambda e: e["p"])["p_holm"] == pytest.approx(min(1, 6 * min(e["p"] for e in family)))
    # Two rows of a participant are not independent.
    twice = Predictions.concatenate([made, _other_fold(made)])
    beside = {"worse": Predictions.concatenate([beside["worse"], _other_fold(beside["worse"])])}
    entry = evaluate(twice, TASKS[:1], baselines=beside, **FAST)["tasks"]["phq_screen"]["splits"]["test"]
    assert entry["comparisons"]["worse"]["test"] == "bootstrap"


def test_a_comparison_without_variance_has_a_reason():
    y = np.arange(20) % 2
    ids = [f"p{i}" for i in range(20)]
    perfect, wrong = (Predictions.build(ids, "phq_screen", y, y_prob=p) for p in (0.1 + 0.8 * y, 0.9 - 0.8 * y))
    report = evaluate(perfect, TASKS[:1], baselines={"wrong": wrong}, **FAST)
    entry = report["tasks"]["phq_screen"]["splits"]["test"]["comparisons"]["wrong"]
    assert entry["difference"] == 1 and entry["p"] is None and entry["p_holm"] is None
    assert entry["reason"] == comparison.NO_VARIANCE


def test_what_says_the_same_of_everybody_is_not_tested_against():
    """A constant has an AUROC, a kappa and a balanced accuracy that are known beforehand; its MAE is worth a test."""
    made = cross_validation()
    constant = {"y_prob": np.where(np.isnan(made.y_prob), np.nan, 0.3 + made.fold / 10), "y_pred": made.y_pred * 0 + 2}
    columns = {name: getattr(made, name) for name in ("participant_id", "split", "fold", "seed", "task", "y_true")}
    other = cross_validation(noise=20.0)
    report = evaluate(made, TASKS, baselines={"length": Predictions(**columns, **constant), "other": other}, **FAST)
    for task in TASKS:
        entry = report["tasks"][task.name]["splits"]["test"]
        assert entry["constant_baselines"] == ["length"] and "length" in entry["differences"]
        assert list(entry["comparisons"]) == (["length", "other"] if task.kind == "regression" else ["other"])
    assert "length_suffices" not in codes(report) and report["checks"]["length_suffices"] is not None
    only = evaluate(made, TASKS[:1], baselines={"other": other}, **FAST)["tasks"]["phq_screen"]["splits"]["test"]
    both = evaluate(made, TASKS[:1], baselines={"length": Predictions(**columns, **constant), "other": other}, **FAST)
    assert both["tasks"]["phq_screen"]["splits"]["test"]["comparisons"] == only["comparisons"], "nor counted by Holm"


def test_checks_that_had_nothing_to_check_are_not_said_to_be_made():
    checks = evaluate(one_run(), TASKS, **FAST)["checks"]
    made = {code for code, reason in checks.items() if reason is None}
    assert made == {"participant_in_two_splits", "threshold_on_test", "decisions_only", "few_events", "auroc_too_good"}
    assert set(checks) == {c for c, one in flags.FLAGS.items() if one["check"] and one["level"] == "red"}
    with_length = evaluate(one_run(), TASKS, baselines={"length": one_run(noise=50.0)}, synthetic=True, **FAST)[
        "checks"
    ]
    assert with_length["length_suffices"] is None and with_length["auroc_too_good"] == "the data are synthetic"

    test = evaluate(one_run().select(split="test"), TASKS, **FAST)["checks"]
    assert test["participant_in_two_splits"] and test["threshold_on_test"]
    apart = evaluate(one_run().select(task="phq_score"), TASKS[2:], **FAST)
    assert {apart["checks"][code] for code in ("decisions_only", "few_events", "auroc_too_good")} == {"no binary task"}
    checked, left_out = wording.checks(apart)
    assert checked == (
        "Checked: participants shared between splits, thresholds chosen on participants that are tested."
    )
    assert left_out.startswith("Not checked: near-duplicate transcripts across splits (only a training looks for them)")
    assert "few events (no binary task)" in left_out and left_out in " ".join(reports.summary(apart).split())


def test_without_validation_nothing_is_fitted():
    report = evaluate(one_run().select(split="test"), TASKS, **FAST)
    screen, bands, score = (report["tasks"][task.name]["splits"]["test"] for task in TASKS)
    assert screen["recalibration"] == {"fitted_on": None, "reason": "no validation rows of both classes in fold 0"}
    assert {t["source"] for point in screen["operating_points"].values() for t in point["thresholds"]} == {"default"}
    for entry in (bands["conformal"], score["conformal"]):
        assert entry["coverage"] is None and "fold 0" in entry["reason"]


def test_without_validation_the_default_threshold_is_named():
    made = one_run().select(split="test")
    report = evaluate(made, TASKS[:1], **FAST)
    assert report["tasks"]["phq_screen"]["thresholds"]["model"][0]["source"] == "default"
    assert "default_threshold" in codes(report)


def test_folds_are_pooled_and_seeds_averaged():
    made = cross_validation()
    report = evaluate(made, TASKS, **FAST)
    assert report["folds"] == [0, 1, 2] and report["seeds"] == [0, 1]
    entry = report["tasks"]["phq_screen"]["splits"]["test"]
    rows = made.select(task="phq_screen", split="test")
    ensemble = rows.over_seeds("binary")
    assert entry["n_participants"] == entry["n_rows"] == 150
    assert entry["model"]["auroc"]["value"] == pytest.approx(roc_auc_score(ensemble.y_true, ensemble.y_prob))
    per_fold = [roc_auc_score(one.y_true, one.y_prob) for one in (ensemble.select(fold=f) for f in range(3))]
    folds = entry["folds"]["model"]["auroc"]
    np.testing.assert_allclose(folds["values"], per_fold)
    assert folds["mean"] == pytest.approx(np.mean(per_fold)) and folds["sd"] == pytest.approx(np.std(per_fold, ddof=1))
    per_seed = [roc_auc_score(one.y_true, one.y_prob) for one in (rows.select(seed=s) for s in range(2))]
    np.testing.assert_allclose(entry["seeds"]["model"]["auroc"]["values"], per_seed)
    assert entry["model"]["auroc"]["value"] > np.mean(per_seed), "averaging independent noise helps"
    thresholds = report["tasks"]["phq_screen"]["thresholds"]["model"]
    assert [t["fold"] for t in thresholds] == [0, 1, 2] and len({t["value"] for t in thresholds}) == 3


def _other_fold(table):
    columns = (getattr(table, c) for c in ("seed", "task", "y_true", "y_prob", "y_pred"))
    return Predictions(table.participant_id, table.split, table.fold + 1, *columns)


def test_a_participant_in_several_test_folds_is_resampled_as_one():
    scores = people(100, 4)
    once = run(scores)
    twice = Predictions.concatenate([once, _other_fold(once)])
    first, second = (evaluate(t, TASKS[2:], **FAST)["tasks"]["phq_score"]["splits"]["test"] for t in (once, twice))
    assert second["n_participants"] == 100 and second["n_rows"] == 200
    for metric in ("mae", "ccc"):
        assert second["model"][metric] == pytest.approx(first["model"][metric])


def test_a_baseline_on_part_of_the_rows_is_compared_there_and_flagged():
    made = one_run()
    part = made.take(np.flatnonzero(np.char.endswith(made.participant_id, ("0"))))
    report = evaluate(made, TASKS, baselines={"part": part}, **FAST)
    scored = report["tasks"]["phq_score"]["splits"]["test"]
    assert scored["baseline_rows"]["part"] == 12 and "baseline_partial" in codes(report)
    assert scored["differences"]["part"]["mae"]["value"] == scored["differences"]["part"]["mae"]["high"] == 0
    nothing = evaluate(made, TASKS, baselines={"other": run(people(5), first=900)}, **FAST)
    assert nothing["tasks"]["phq_score"]["splits"]["test"]["baselines"] == {}
    assert "baseline_partial" in codes(nothing)


def test_red_flags():
    rng = np.random.default_rng(5)
    clean = one_run(noise=9.0)
    assert not [f for f in evaluate(clean, TASKS, **FAST)["flags"] if f["level"] == "red"]

    shared = Predictions.concatenate([clean, run(people(1, 1), split="test", first=0)])
    assert "participant_in_two_splits" in codes(evaluate(shared, TASKS, **FAST))

    leak = one_run(noise=0.1)
    assert "auroc_too_good" in codes(evaluate(leak, TASKS, **FAST))
    assert "auroc_too_good" not in codes(evaluate(leak, TASKS, synthetic=True, **FAST))

    few = Predictions.build([f"p{i}" for i in range(50)], "phq_screen", (np.arange(50) < 5), y_prob=rng.random(50))
    assert "few_events" in codes(evaluate(few, TASKS[:1], **FAST))

    as_good = evaluate(clean, TASKS, baselines={"length": one_run(noise=9.0, rng_seed=2)}, **FAST)
    assert "length_suffices" in codes(as_good)
    useless = evaluate(clean, TASKS, baselines={"length": one_run(noise=500.0, rng_seed=2)}, **FAST)
    assert "length_suffices" not in codes(useless)

    by_answers = evaluate(clean, TASKS, baselines={"answers": one_run(noise=9.0, rng_seed=2)}, **FAST)
    (said,) = {f["message"] for f in by_answers["flags"] if f["code"] == "length_suffices"}
    assert "knows the number of answers alone" in said
    by_both = {"answers": one_run(noise=9.0, rng_seed=2), "length": one_run(noise=9.0, rng_seed=2)}
    said = [f["message"] for f in evaluate(clean, TASKS[:1], baselines=by_both, **FAST)["flags"] if f["level"] == "red"]
    assert len(said) == 2, "one on validation, one on test"
    assert all("the length of the transcript or the number of answers alone" in one for one in said)

    missing = cross_validation()
    assert "missing_folds" in codes(evaluate(missing.take(missing.fold != 1), TASKS, **FAST))
    uneven = missing.take((missing.seed != 1) | (missing.fold != 0))
    assert "uneven_seeds" in codes(evaluate(uneven, TASKS, **FAST))
    report = evaluate(uneven, TASKS, **FAST)
    assert [f["level"] for f in report["flags"]] == sorted((f["level"] for f in report["flags"]), reverse=True)


def test_thresholds_that_may_have_seen_the_test_participants():
    clean = one_run(noise=9.0)
    both = Predictions.concatenate([clean, run(people(1, 1), split="test", first=0)])
    (said,) = (f for f in evaluate(both, TASKS, **FAST)["flags"] if f["code"] == "threshold_on_test")
    assert said["level"] == "red" and said["message"].startswith("1 participants")
    # In train and test is another fault; validation of one fold and test of another is how folds are.
    trained = Predictions.concatenate([clean, run(people(1, 2), split="train", first=80)])
    assert codes(evaluate(trained, TASKS, **FAST)) >= {"participant_in_two_splits"}
    assert "threshold_on_test" not in codes(evaluate(trained, TASKS, **FAST)) | codes(
        evaluate(cross_validation(), TASKS, **FAST)
    )
    rows = clean.select(task="phq_screen")
    decided = Predictions.build(rows.participant_id, "phq_screen", rows.y_true, y_prob=(rows.y_prob > 0.5) * 1.0)
    assert "decisions_only" in codes(evaluate(decided, TASKS[:1], **FAST))
    assert "decisions_only" not in codes(evaluate(clean, TASKS, **FAST))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_weighted_f1_of_calling_nobody_positive(share):
    y = (np.arange(1000) < 1000 * share).astype(int)
    expected = f1_score(y, np.zeros(1000, int), average="weighted", zero_division=0)
    assert flags.all_negative_f1(share) == pytest.approx(expected)
    made = Predictions.build([f"p{i}" for i in range(1000)], "phq_screen", y, y_prob=np.linspace(0, 1, 1000))
    (said,) = (f for f in evaluate(made, TASKS[:1], **FAST)["flags"] if f["code"] == "all_negative")
    assert said["level"] == "note" and f"weighted F1 of {expected:.3f}" in said["message"]


def test_missing_labels_and_one_class():
    made = one_run()
    y = made.y_true.copy()
    unknown = np.isin(made.participant_id, ["p90", "p91"])
    y[unknown] = np.nan
    columns = {c: getattr(made, c) for c in ("participant_id", "split", "fold", "seed", "task", "y_prob", "y_pred")}
    report = evaluate(Predictions(**columns, y_true=y), TASKS, **FAST)
    assert report["tasks"]["phq_screen"]["splits"]["test"]["n_participants"] == 118
    assert "missing_labels" in codes(report)

    one_class = Predictions.build([f"p{i}" for i in range(20)], "phq_screen", 0, y_prob=np.linspace(0, 1, 20))
    report = evaluate(one_class, TASKS[:1], **FAST)
    cell = report["tasks"]["phq_screen"]["splits"]["test"]["model"]["auroc"]
    assert cell["value"] is None and cell["low"] is None and cell["reason"] == metrics.ONE_CLASS
    json.dumps(report, allow_nan=False)

    none_known = Predictions.build(["a", "b"], "phq_screen", np.nan, y_prob=0.5)
    report = evaluate(none_known, TASKS[:1], **FAST)
    assert report["tasks"]["phq_screen"]["splits"]["test"]["model"]["auroc"]["reason"] == metrics.EMPTY


def test_same_seed_same_report():
    made = one_run()
    assert evaluate(made, TASKS, **FAST) == evaluate(made, TASKS, **FAST)
    assert evaluate(made, TASKS, **FAST) != evaluate(made, TASKS, seed=1, **FAST)


def test_errors():
    made = one_run()
    with pytest.raises(InputError, match="no predictions"):
        evaluate(made.select(split="train"), TASKS)
    with pytest.raises(InputError, match="phq_bands, phq_score, phq_screen"):
        evaluate(made, questionnaire("gad7", "gad"), **FAST)
    scores_as_bands = Predictions.build(["a", "b"], "phq_bands", [3, 17], y_pred=1.0)
    with pytest.raises(InputError, match="band from 0 to 4"):
        evaluate(scores_as_bands, TASKS[1:2], **FAST)
    with pytest.raises(InputError, match="probability of class 1 in y_prob instead, or score the decisions"):
        evaluate(Predictions.build(["a"], "phq_screen", 1, y_pred=1.0), TASKS[:1], **FAST)
    with pytest.raises(InputError, match="is binary, but the predictions fill y_pred"):
        evaluate(Predictions.build(["a"], "phq_screen", 12, y_pred=11.0), TASKS[:1], **FAST)
    other = run(people(120, 99), first=80)
    with pytest.raises(InputError, match="disagree on y_true"):
        evaluate(made, TASKS, baselines={"other": other}, **FAST)
    with pytest.raises(InputError, match="youden"):
        evaluate(made, TASKS, threshold_rule="best", **FAST)

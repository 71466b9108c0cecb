"""Made-up predictions with known noise, and learning curves; shared by the tests of this room."""

import copy

import numpy as np

from mmpsy_jax.evaluation.audit_page import QUANTILES
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task, questionnaire

TASKS = questionnaire("phq9", "phq")


def people(n, seed=0):
    return np.random.default_rng(seed).integers(0, 28, n).astype(float)


def run(scores, noise=5.0, *, split="test", fold=0, seed=0, first=0, rng_seed=0):
    """Predictions of all three kinds for participants `first`... with these scores."""
    rng = np.random.default_rng([rng_seed, seed, fold])
    guess = scores + rng.normal(0, noise, len(scores))
    ids = [f"p{first + i}" for i in range(len(scores))]
    place = {"split": split, "fold": fold, "seed": seed}
    return Predictions.concatenate(
        [
            Predictions.build(
                ids, "phq_screen", TASKS[0].targets(scores), y_prob=1 / (1 + np.exp(-(guess - 12) / 3)), **place
            ),
            Predictions.build(ids, "phq_bands", TASKS[1].targets(scores), y_pred=np.clip(guess / 5, 0, 4), **place),
            Predictions.build(ids, "phq_score", scores, y_pred=guess, **place),
        ]
    )


def one_run(noise=5.0, rng_seed=0, seed=0):
    """Validation (80 participants) and test (120) of a single split."""
    return Predictions.concatenate(
        [
            run(people(80, 1), noise, split="validation", rng_seed=rng_seed, seed=seed),
            run(people(120, 2), noise, split="test", first=80, rng_seed=rng_seed, seed=seed),
        ]
    )


def cross_validation(folds=3, seeds=2, noise=5.0):
    scores = people(150, 3)
    parts = []
    for fold in range(folds):
        for seed in range(seeds):
            test = slice(fold * 50, fold * 50 + 50)
            other = slice((fold + 1) % folds * 50, (fold + 1) % folds * 50 + 50)
            parts.append(run(scores[test], noise, fold=fold, seed=seed, first=test.start))
            parts.append(run(scores[other], noise, split="validation", fold=fold, seed=seed, first=other.start))
    return Predictions.concatenate(parts)


EMOTION = Task("emotion", "emotion", "nominal", classes=("joy", "<fear>", "anger"))


def emotions(right=0.7, seeds=(0,)):
    """Predictions of a nominal task for 60 participants on validation and 90 on test."""
    parts = []
    for seed in seeds:
        rng = np.random.default_rng([seed, int(100 * right)])
        truth = np.random.default_rng(0).integers(0, 3, 150).astype(float)
        called = np.where(rng.random(150) < right, truth, rng.integers(0, 3, 150))
        split = np.where(np.arange(150) < 60, "validation", "test")
        ids = [f"p{i}" for i in range(150)]
        parts.append(Predictions.build(ids, "emotion", truth, y_pred=called, split=split, seed=seed))
    return Predictions.concatenate(parts)


CURVES = {
    f"fold {fold}": [
        {"step": 1, "train/loss": 0.7, "train/learning_rate": 0.1},
        {"step": 2, "train/loss": 0.6, "validation/loss": 0.8, "validation/screen/auroc": None},
        {"step": 4, "train/loss": 0.5, "validation/loss": 0.7, "validation/screen/auroc": 0.8},
    ]
    for fold in range(2)
}


def estimate(value, width=0.1, **more):
    return {"value": value, "low": value - width, "high": value + width, "interval": "bca", **more}


def with_later_keys(report):
    """A report with made values under every optional key of `report.json`."""
    report = copy.deepcopy(report)
    for entry in report["tasks"].values():
        for scored in entry["splits"].values():
            first = next(iter(scored["model"]))
            test = "delong" if entry["kind"] == "binary" else "bootstrap"
            scored["comparisons"] = {
                name: {"metric": first, "difference": 0.123, "low": 0.05, "high": 0.2, "p": 0.0004, "p_holm": 0.0312}
                | {"test": test}
                for name in scored["baselines"]
            }
            if entry["kind"] == "binary":
                scored |= _later_keys_of_screening(scored)
            elif entry["kind"] == "ordinal":
                scored["bands"] = [{"band": k, "n": 10 + k, "recall": 0.5, "mae": 0.75} for k in range(5)]
                scored["conformal"] = {"level": 0.9, "coverage": 0.913, "mean_size": 2.25, "n_calibration": 80}
            else:
                scored["agreement"] = {"bias": -0.42, "low": -6.25, "high": 5.41}
                scored["conformal"] = {"level": 0.9, "coverage": 0.887, "mean_width": 9.5, "n_calibration": 80}
    group = {"subgroup": "<younger>", "n": 60, "n_events": 12, "metrics": {"auroc": estimate(0.8125)}}
    small = {"subgroup": "older", "suppressed": True}
    report["subgroups"] = {"columns": {"age": {"phq_screen": {"test": [group, small]}}}}
    return report


def _later_keys_of_screening(scored):
    names = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc")
    thresholds = [{"fold": 0, "value": 0.4321, "source": "validation", "n": 80}]
    grid = [i / 100 for i in range(1, 51)]
    calibration = ("brier", "log_loss", "ece", "calibration_slope", "calibration_intercept")
    curve = {
        "thresholds": grid,
        "model": [0.3 - t / 3 for t in grid],
        "low": [0.2 - t / 3 for t in grid],
        "high": [0.4 - t / 3 for t in grid[:-1]] + [None],
        "treat_all": [0.3 - t for t in grid],
        "baselines": {name: [0.2 - t / 3 for t in grid] for name in scored["baselines"]},
    }
    return {
        "operating_points": {
            rule: {"thresholds": thresholds, "metrics": {name: estimate(0.7654) for name in names}}
            for rule in ("youden", "f1", "sensitivity_80", "sensitivity_90")
        },
        "decision_curve": curve,
        "recalibration": {
            "temperature": {name: estimate(0.1357) for name in calibration},
            "isotonic": {name: {"value": 0.2468} for name in calibration},
            "fitted_on": "validation",
        },
    }


AUDIT = {
    "left_out": {"no window can be read": 3, "has shape (80, 7): give (80, 1800)": 1},
    "splits": {
        name: {
            "participants": n,
            "labels": {"phq9": {"known": n - 2, "missing": 2, "scores": dict(zip(QUANTILES, range(5), strict=True))}},
            "events": {"phq_screen": {"known": n - 2, "missing": 2, "events": n // 4}},
            "without": {"audio": 1, "text": 0},
            "sizes": {
                "duration_s": dict(zip(QUANTILES, (60.0, 120.0, 240.0, 300.0, 600.0), strict=True)),
                "n_windows": None,
            },
        }
        for name, n in {"train": 200, "validation": 82, "test": 122}.items()
    },
}

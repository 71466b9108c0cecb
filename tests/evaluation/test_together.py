"""Means over the scores of one set, and splits that divide the rows of a cluster. All rows are random."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.stats

from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation import together
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.tasks import Task

TASKS = [Task(name, name, "regression", maximum=100.0) for name in ("happy", "worried", "anxious")]
PEOPLE, DAYS = 12, 8


def table(seed=0, split=("test",) * DAYS):
    """Days of people whose levels differ; some ratings are missing."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PEOPLE), DAYS)
    ids = [f"p{p}/{d}" for p in range(PEOPLE) for d in range(DAYS)]
    parts = []
    for k, task in enumerate(TASKS):
        truth = 50 + 15 * rng.normal(size=PEOPLE)[person] + 5 * rng.normal(size=len(ids))
        said = truth + (5 + 5 * k) * rng.normal(size=len(ids))
        truth[rng.random(len(ids)) < 0.1] = np.nan
        more = {"split": list(split) * PEOPLE, "cluster": [f"p{p}" for p in person]}
        parts.append(Predictions.build(ids, task.name, truth, y_pred=said, **more))
    return Predictions.concatenate(parts)


def ccc(x, y):
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_means_are_those_of_the_tasks_and_persons_are_resampled():
    made = table()
    scored = reports.evaluate(made, TASKS, n_bootstrap=300)
    entry = json.loads(json.dumps(scored["together"]["test"], allow_nan=False))
    assert (entry["n_tasks"], entry["n_participants"], entry["n_clusters"]) == (3, 96, 12)
    known = [made.select(task=task.name).known() for task in TASKS]
    cells = entry["overall"]
    assert cells["ccc"]["value"] == pytest.approx(np.mean([ccc(part.y_true, part.y_pred) for part in known]))
    assert cells["mae"]["value"] == pytest.approx(np.mean([np.abs(p.y_true - p.y_pred).mean() for p in known]))
    expected = np.mean([scipy.stats.spearmanr(part.y_true, part.y_pred).statistic for part in known])
    assert cells["spearman"]["value"] == pytest.approx(expected)
    alone = Predictions(**{**vars(made), "cluster": made.participant_id})
    own = reports.evaluate(alone, TASKS, n_bootstrap=300)["together"]["test"]["overall"]["ccc"]
    width = lambda cell: cell["high"] - cell["low"]  # noqa: E731
    assert cells["ccc"]["low"] < cells["ccc"]["value"] < cells["ccc"]["high"] and width(cells["ccc"]) > 1.2 * width(own)
    assert "mean over 3 tasks: CCC" in reports.summary(scored)


def test_a_sample_of_weights_is_the_mean_over_repeated_rows():
    made = table()
    rows = {task.name: made.select(task=task.name) for task in TASKS}
    weights = np.random.default_rng(1).integers(0, 3, (4, PEOPLE * DAYS))
    many = together.statistic(rows)(np.concatenate([weights, np.zeros((1, PEOPLE * DAYS), int)]).astype(float))
    for row, counts in zip(many, weights, strict=False):
        repeated = [part.take(np.repeat(np.arange(len(part)), counts)).known() for part in rows.values()]
        assert row[together.NAMES.index("ccc")] == pytest.approx(np.mean([ccc(p.y_true, p.y_pred) for p in repeated]))
    assert np.isnan(many[-1]).all()


def test_only_scores_on_one_scale_have_a_mean():
    assert together.of_one_set(TASKS)
    assert not together.of_one_set(TASKS[:1])
    assert not together.of_one_set([*TASKS, Task("score", "phq9", "regression", maximum=27.0)])
    assert not together.of_one_set([*TASKS, Task("screen", "happy", "binary", (10.0,), 100.0)])
    rows = {task.name: table().select(task=task.name) for task in TASKS}
    assert together.aligned(rows) and not together.aligned({**rows, "happy": rows["happy"].take(np.arange(5))})
    some = Predictions.concatenate([rows["happy"].take(np.arange(5)), rows["worried"], rows["anxious"]])
    assert reports.evaluate(some, TASKS, n_bootstrap=20)["together"] == {}


def test_splits_within_a_cluster_are_no_leak_where_they_are_meant(tmp_path):
    divided = table(split=("validation", "test") * (DAYS // 2))
    codes = lambda report: {flag["code"] for flag in report["flags"]}  # noqa: E731
    leaks = {"participant_in_two_splits", "threshold_on_test"}
    assert codes(reports.evaluate(divided, TASKS, n_bootstrap=20)) >= leaks
    meant = reports.evaluate(divided, TASKS, n_bootstrap=20, within_clusters=True)
    assert not codes(meant) & leaks
    same_day = dataclasses.replace(divided, split=np.where(divided.task == "happy", "train", divided.split))
    assert "participant_in_two_splits" in codes(reports.evaluate(same_day, TASKS, n_bootstrap=20, within_clusters=True))
    write_csv(tmp_path / "predictions.csv", divided)
    reports.write_report(tmp_path, meant, divided, TASKS)
    page = (tmp_path / "report.html").read_text()
    assert "Tasks together" in page and "<td>12</td>" in page
    assert not codes(reports.evaluate_file(tmp_path / "predictions.csv", n_bootstrap=20)) & leaks

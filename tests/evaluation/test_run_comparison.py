"""Runs beside each other: paired on what they share, refused or said plainly where they do not belong together."""

import json
import re

import numpy as np
import pytest
from evaluation_samples import CURVES, TASKS, one_run
from sklearn.metrics import mean_absolute_error

import launch
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.evaluation.report import write_page
from mmpsy_jax.evaluation.run_comparison import compare_runs
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.tasks import questionnaire


def leave(workdir, made, *, tasks=TASKS, synthetic=False, rate=0.1, curves="metrics.jsonl"):
    """A workdir as a run leaves it."""
    write_csv(workdir / "predictions.csv", made)
    context = {
        "config": {"name": workdir.name, "optimizer": {"learning_rate": rate, "clip": 1.0}},
        "corpus": {"dataset": "mmpsy", "config": "demo", "source_sha256": "0123456789abcdef"},
        "environment": {"revision": f"of {workdir.name}"},
    }
    report = reports.evaluate(made, tasks, n_bootstrap=10, synthetic=synthetic)
    write_json(workdir / "report.json", {**report, "context": context})
    file = workdir / curves
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in CURVES["fold 0"]))
    return workdir


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    noisy = one_run(noise=9.0, rng_seed=5)
    return [
        leave(folder / "first", one_run()),
        leave(folder / "second", noisy, rate=0.2, curves="fold_0/seed_0/metrics.jsonl"),
        leave(folder / "third", noisy.take(np.arange(len(noisy)) % 40 > 0)),
    ]


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    output = tmp_path_factory.mktemp("comparison")
    return compare_runs(runs, output, n_bootstrap=50), output


def test_differences_are_paired_and_to_the_first_run(compared):
    content, output = compared
    assert json.loads((output / "report.json").read_text()) == content
    scored = content["tasks"]["phq_score"]["splits"]["test"]
    ours, theirs = (one.select(split="test", task="phq_score") for one in (one_run(), one_run(noise=9.0, rng_seed=5)))
    expected = mean_absolute_error(ours.y_true, ours.y_pred) - mean_absolute_error(theirs.y_true, theirs.y_pred)
    assert scored["differences"]["second"]["mae"]["value"] == pytest.approx(expected)
    assert scored["baseline_rows"]["second"] == 120 and scored["baseline_rows"]["third"] == 117


def test_what_is_not_shared_is_said(compared):
    notes = [flag for flag in compared[0]["flags"] if flag["code"] == "runs_differ"]
    said = {flag["message"] for flag in notes if flag["task"] == "phq_score" and flag["split"] == "test"}
    assert said == {"first has 120 rows with a label, third 117; compared on the 117 that both have."}
    assert not any(flag["code"] == "baseline_partial" for flag in compared[0]["flags"])


def test_page_names_runs_their_settings_and_their_curves(compared):
    content, output = compared
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "<h1>3 runs compared</h1>" in html and "third: loss" in html and "second: loss" in html
    assert "AUROC: first - run" in html and "optimizer.learning_rate" in html and "optimizer.clip" not in html
    assert "of second" in html and ">model<" not in html and "TRIPOD" not in html
    assert [run["differs"]["optimizer.learning_rate"] for run in content["runs"]] == [0.1, 0.2, 0.1]
    assert (output / "tables" / "headline.csv").exists()
    assert re.search(r"\nfirst +120, 85 events +0\.", reports.summary(content))


def test_the_page_is_a_function_of_report_json(compared, tmp_path):
    page = write_page(compared[1] / "report.json", tmp_path)
    assert page.read_bytes() == (compared[1] / "report.html").read_bytes()


def test_curves_of_a_quantity_stand_beside_each_other(compared):
    html = (compared[1] / "report.html").read_text(encoding="utf-8")
    places = [html.index(f"<figcaption>{run}: {name}") for name in ("loss", "screen") for run in ("first", "second")]
    assert places == sorted(places)


def test_ablations_beside_the_first_run_are_shown(runs, compared, tmp_path):
    assert "ablations" not in compared[0]
    cell = {"value": 0.5, "low": 0.4, "high": 0.6, "interval": "bca"}
    table = [{"name": "both", "workdir": "x", "tasks": {"phq_score": {"mae": cell}}}]
    other = leave(tmp_path / "score_only", one_run(), tasks=TASKS[2:])
    path = runs[0].parent / "ablations.json"
    try:
        path.write_text(json.dumps(table))
        assert compare_runs([runs[0], other], tmp_path / "out", n_bootstrap=10)["ablations"] == table
        assert "<h2>Ablations</h2>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        path.write_text("{")
        with pytest.raises(InputError, match="not JSON"):
            compare_runs([runs[0], other], tmp_path / "out", n_bootstrap=10)
    finally:
        path.unlink()


def changed(made, **columns):
    return Predictions(**{name: columns.get(name, getattr(made, name)) for name in Predictions.__dataclass_fields__})


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    made = one_run()

    def refused(match, other, output=tmp_path / "out"):
        with pytest.raises(InputError, match=match):
            compare_runs([runs[0], other], output, n_bootstrap=10)
        assert not (tmp_path / "out").exists()

    refused("same workdir is given twice", runs[0])
    refused("is one of the runs", runs[1], runs[1])
    refused("No such file", tmp_path / "nothing")
    refused("synthetic data", leave(tmp_path / "made_up", made, synthetic=True))
    strangers = changed(made, participant_id=np.char.add("x", made.participant_id))
    refused("no participant of the same fold in common in validation", leave(tmp_path / "strangers", strangers))
    refused("no participant of the same fold", leave(tmp_path / "fold", changed(made, fold=made.fold + 1)))
    scores = np.where(made.task == "phq_score", made.y_true + 1, made.y_true)
    refused("disagree on y_true of task 'phq_score'", leave(tmp_path / "relabelled", changed(made, y_true=scores)))
    other = questionnaire("phq9", "phq", cutoff=12)
    refused("same label, kind and cut-offs", leave(tmp_path / "cutoff", made, tasks=other))
    renamed = changed(made, task=np.char.add(made.task, "_2"))
    tasks = [type(task)(**{**vars(task), "name": f"{task.name}_2"}) for task in TASKS]
    refused("no task in common", leave(tmp_path / "renamed", renamed, tasks=tasks))
    write_csv(tmp_path / "bare" / "predictions.csv", made)
    refused(r"no report\.json of ours", tmp_path / "bare")
    with pytest.raises(InputError, match="two or more"):
        compare_runs(runs[:1], tmp_path / "out")


def test_names_are_told_apart_and_never_those_of_a_baseline(runs, tmp_path):
    for name in ("first", "length"):
        other = leave(tmp_path / name, one_run(), tasks=TASKS[2:])
        content = compare_runs([runs[0], other], tmp_path / "out", n_bootstrap=10)
        assert [run["name"] for run in content["runs"]] == [str(runs[0].resolve()), str(other.resolve())]


def test_the_verb_prints_the_headline_and_where_the_page_is(runs, tmp_path, capsys):
    other = leave(tmp_path / "score_only", one_run(), tasks=TASKS[2:])
    arguments = ["report", "--workdirs", str(runs[0]), str(other), "--output", str(tmp_path / "out")]
    assert launch.main(arguments) == 0
    assert f"report: {tmp_path}/out/report.html" in capsys.readouterr().out
    assert launch.main([*arguments[:3], *arguments[4:]]) == 2
    assert capsys.readouterr().err == "error: report: 1 workdir given: give two or more runs to compare\n"


def test_a_task_of_one_run_only_is_said(runs, tmp_path):
    other = leave(tmp_path / "screen_only", one_run(), tasks=TASKS[:1])
    content = compare_runs([runs[0], other], tmp_path / "out", n_bootstrap=10)
    assert list(content["tasks"]) == ["phq_screen"]
    assert {flag["task"] for flag in content["flags"] if "only some of" in flag["message"]} == {
        "phq_bands",
        "phq_score",
    }

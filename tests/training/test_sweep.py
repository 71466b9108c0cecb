"""Settings to try: what a file may say, which share a program, and that the test part has no say in the choice."""

import json

import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import Predictions, read_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import finished_run, plan_runs, run, run_files, sweep
from mmpsy_jax.training.config import default
from tests.runs import lean, small


def test_a_grid_is_the_product_in_the_order_of_the_file():
    spec = {"fields": {"optimizer.learning_rate": [1e-3, 1], "model.latents": [4, 8]}}
    assert sweep.points(spec, default()) == [
        {"optimizer.learning_rate": rate, "model.latents": latents} for rate in (1e-3, 1.0) for latents in (4, 8)
    ]
    assert sweep.points({}, default()) == [{}]


def test_random_points_lie_in_their_bounds_and_follow_the_seed():
    fields = {
        "optimizer.learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "model.dropout": {"uniform": [0, 0.5]},
        "model.latents": {"choice": [4, 8]},
        "objective.weights.phq_screen": {"uniform": [1, 2]},
    }
    spec = {"method": "random", "points": 50, "fields": fields}
    made = sweep.points(spec, default())
    assert made == sweep.points(spec, default()) != sweep.points({**spec, "seed": 1}, default())
    rates = np.array([point["optimizer.learning_rate"] for point in made])
    assert 1e-4 <= rates.min() < 3e-4 and 3e-3 < rates.max() <= 1e-2 and 5e-4 < np.median(rates) < 2e-3
    assert {point["model.latents"] for point in made} == {4, 8}
    assert all(0 <= point["model.dropout"] <= 0.5 for point in made)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"method": "bayes", "fields": {"model.dropout": [0.1]}}, "grid, random"),
        ({"field": {}}, "'field'"),
        ({}, "no sweep"),
        ({"fields": {}}, "at least one field"),
        ({"fields": {"model.droput": [0.1]}}, "model.dropout"),
        ({"fields": {"cv.folds": [2]}}, "field of the sweep"),
        ({"fields": {"data.labelled_fraction": [0.5, 1.0]}}, r"all points share.*--config.data.labelled_fraction="),
        ({"fields": {"data.permute_modality": ["", "audio"]}}, r"all points share.*--config.data.permute_modality="),
        ({"fields": {"model.dropout": 0.1}}, "list of values"),
        ({"fields": {"model.latents": [4.5]}}, "is a int"),
        ({"fields": {"model.dropout": ["much"]}}, "is a float"),
        ({"method": "random", "fields": {"model.dropout": {"normal": [0, 1]}}}, "choice, log_uniform, uniform"),
        ({"method": "random", "fields": {"model.dropout": {"log_uniform": [0, 1]}}}, "positive"),
        ({"method": "random", "points": 0, "fields": {"model.dropout": {"uniform": [0, 1]}}}, "no point"),
    ],
)
def test_what_a_file_may_not_say(spec, message):
    if not spec:
        assert sweep.points(spec, default()) == [{}]
        return
    with pytest.raises(InputError, match=message):
        sweep.points(spec, default())


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "absent.json"):
        with pytest.raises(InputError, match=name):
            sweep.read(tmp_path / name)


def test_a_metric_of_one_task_or_the_mean_over_all_decides():
    rng = np.random.default_rng(0)
    tasks = [Task(name, name, "regression", maximum=10.0) for name in ("a", "b")]
    ids = [f"p{i}" for i in range(30)]
    parts = [
        Predictions.build(ids, task.name, rng.normal(size=30), y_pred=rng.normal(size=30), split="validation")
        for task in tasks
    ]
    each = [np.mean(np.abs(part.y_true - part.y_pred)) for part in parts]
    for named, expected in (("a/mae", -each[0]), ("mean/mae", -np.mean(each))):
        said, deciding, metric = sweep.metric_of({"metric": named}, tasks)
        assert said == named
        assert sweep.score(Predictions.concatenate(parts), deciding, metric) == pytest.approx(expected)
    assert np.isnan(sweep.score(None, tasks, "mae"))
    with pytest.raises(InputError, match="a, b, mean"):
        sweep.metric_of({"metric": "c/mae"}, tasks)


def test_what_changes_a_shape_or_the_program_is_static():
    points = [{"model.latents": 4, "model.dropout": 0.0, "optimizer.clip": 1.0}, {"optimizer.clip": 0.0}]
    static, dynamic = sweep.parts(points[0], points)
    assert static == {"model.latents": 4, "optimizer.clip": 1.0} and dynamic == {"model.dropout": 0.0}


def test_inner_folds_divide_the_training_participants_alone(dataset):
    corpus = open_corpus(dataset)
    outer = splits.folds(corpus, 3, 0, [("phq9", 10)], 0.2)[0]
    members = np.concatenate([outer["train"], outer["validation"]])
    made = splits.inner(corpus, members, 4, 0, [("phq9", 10)])
    assert sorted(np.concatenate([fold["validation"] for fold in made])) == sorted(members)
    for fold in made:
        assert sorted([*fold["train"], *fold["validation"]]) == sorted(members) and not len(fold["test"])
    with pytest.raises(InputError, match="inner folds"):
        splits.inner(corpus, members[:5], 4, 0)


def test_repeats_divide_anew(dataset):
    config, corpus = small(dataset), open_corpus(dataset)
    config.cv.folds, config.cv.repeats = 2, 3
    made = plan_runs.folds(config, from_config(config.tasks), corpus)
    tests = [frozenset(fold["test"].tolist()) for fold in made]
    assert len(set(tests)) == 6
    for first, second in zip(tests[::2], tests[1::2], strict=True):
        assert not first & second and len(first | second) == len(corpus)


@pytest.mark.slow
@pytest.mark.parametrize("inner", [0, 2])
def test_the_best_setting_on_validation_is_trained_anew_and_evaluated(dataset, tmp_path, inner):
    config = lean(dataset)
    config.total, config.cv.folds, config.cv.inner = "2 epochs", 2, inner
    config.data.packs = 8
    config.evaluation.baselines = config.evaluation.near_duplicates = False
    # A rate of zero learns nothing, 1e30 diverges; another width is another program.
    fields = {"optimizer.learning_rate": [0.0, 3e-3], "model.fusion_width": [8]}
    if inner == 0:
        fields = {"optimizer.learning_rate": [0.0, 3e-3, 1e30], "model.fusion_width": [8, 6]}
    config.sweep = json.dumps({"fields": fields, "metric": "phq_score/ccc"})
    report = run.run(config, dataset, tmp_path / "run")
    table = json.loads((tmp_path / "run" / "sweep" / "sweep.json").read_text())
    assert report["context"]["sweep"]["chosen"] == table["chosen"]
    for row, chosen in zip(table["scores"], table["chosen"], strict=True):
        assert row[chosen] == max(v for v in row if v is not None)
        assert [v is None for v in row] == [p["optimizer.learning_rate"] == 1e30 for p in table["points"]]
    for file in (tmp_path / "run" / "sweep").rglob("predictions.csv"):
        assert set(read_csv(file).split) == {"validation"}
    # Models are kept of what is evaluated alone, each with the settings that were chosen for its fold.
    assert not list((tmp_path / "run" / "sweep").rglob(run_files.WEIGHTS))
    kept = finished_run.load(tmp_path / "run").trainings
    points = [table["points"][chosen] for chosen in table["chosen"]]
    assert [one.fold for one in kept] == [0, 1]
    for one, point in zip(kept, points, strict=True):
        width = point["model.fusion_width"]
        assert one.config.model.fusion_width == width
        network = one.inference_params["params"]["network"]
        assert (width, width) in [
            x.shape for name, layer in network.items() if "fusion" in name for x in layer.values()
        ]
    final = read_csv(tmp_path / "run" / "predictions.csv")
    tested = final.select(split="test", task="phq_score").participant_id
    assert sorted(tested) == sorted(open_corpus(dataset).participants)
    assert "Settings tried" in (tmp_path / "run" / "report.html").read_text()


def test_a_sweep_needs_validation(dataset, tmp_path):
    config = small(dataset)
    config.cv.folds, config.cv.validation_fraction, config.selection.metric = 2, 0.0, "step"
    config.sweep = json.dumps({"fields": {"model.dropout": [0.1, 0.2]}})
    with pytest.raises(InputError, match=r"cv\.inner"):
        run.run(config, dataset, tmp_path)

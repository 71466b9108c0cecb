"""Whole runs of shipped configs on a small SYNTHETIC corpus: results, resuming, several devices and processes."""

import json

import jax
import numpy as np
import pytest

import launch
from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation import out_of_fold
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.evaluation.report import evaluate_file
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.io import InputError
from mmpsy_jax.training import finished_run, loop, run, step
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.logger import read_rows
from tests.runs import lean, losses, small

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "phq"
    report = run.run(with_dropout(dataset), dataset, workdir)
    return workdir, report


def with_dropout(dataset):
    config = small(dataset)
    config.model.dropout = 0.1
    return config


def test_a_run_leaves_everything_that_the_readme_promises(finished, dataset):
    workdir, report = finished
    names = {p.name for p in workdir.iterdir()}
    assert names == {
        "README.md",
        "checkpoints",
        "config.json",
        "embedding.safetensors",
        "metrics.jsonl",
        "model.json",
        "model.safetensors",
        "predictions.csv",
        "report.html",
        "report.json",
        "tables",
        "tensorboard",
    }
    on_disk = json.loads((workdir / "report.json").read_text())
    assert on_disk["tasks"].keys() == {"phq_screen", "phq_bands", "phq_score"}
    assert on_disk["synthetic"] and on_disk["context"]["environment"]["packages"]["jax"] == jax.__version__
    assert set(on_disk["baselines"]) == {
        "prior",
        "length",
        "answers",
        "mel_linear",
        "functionals",
        "tfidf_logistic",
        "tfidf_ridge",
    }
    corpus = open_corpus(dataset)
    table = read_csv(workdir / "predictions.csv")
    for split in ("validation", "test"):
        ids = table.select(split=split, task="phq_score").participant_id.tolist()
        assert ids == [p for p, s in zip(corpus.participants, corpus.split, strict=True) if s == split]
    assert set(table.split) == {"validation", "test"}
    rows = read_rows(workdir / "metrics.jsonl")
    assert [r["step"] for r in rows if "validation/loss" in r] == sorted({r["step"] for r in rows})
    page = (workdir / "report.html").read_text()
    assert "SYNTHETIC" in page and not any(f">{p}<" in page for p in corpus.participants)
    assert on_disk["context"]["audit"]["splits"]["test"]["participants"] == corpus.split.count("test")
    card = (workdir / "README.md").read_text()
    assert "SYNTHETIC" in card and f"`{on_disk['context']['environment']['revision']}`" in card
    assert report["tasks"]["phq_screen"]["splits"]["test"]


def test_a_nominal_task_goes_all_the_way(dataset, tmp_path):
    config = lean(dataset)
    names = tuple(f"class_{k}" for k in range(22))  # a class per score
    config.tasks = [{"name": "which", "label": "gad7", "kind": "nominal", "classes": names}]
    config.selection.metric, config.seeds, config.data.modalities = "which/balanced_accuracy", 2, ("text",)
    config.total = "1 epochs"
    report = run.run(config, dataset, tmp_path / "run")
    entry = report["tasks"]["which"]["splits"]["test"]
    assert np.shape(entry["confusion"]) == (22, 22) and [one["class"] for one in entry["per_class"]] == [*range(22)]
    assert {"prior", "tfidf_logistic"} <= set(entry["baselines"]) and "probabilities" in entry["conformal"]["reason"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Each class" in page and "class_21" in page and "No conformal sets: predictions.csv" in page
    again = evaluate_file(tmp_path / "run" / "predictions.csv", n_bootstrap=50)
    assert again["tasks"]["which"]["splits"]["test"]["model"] == entry["model"]
    predict(tmp_path / "run", dataset, tmp_path / "out.csv", abstain=False)
    made = read_csv(tmp_path / "out.csv")
    finished = finished_run.load(tmp_path / "run")
    said, _ = finished.predict(finished.select_modalities(open_corpus(dataset)), np.arange(len(made)))
    assert said["which"].shape == (2, len(made), 22)
    np.testing.assert_allclose(said["which"].sum(axis=2), 1)
    np.testing.assert_array_equal(made.y_pred, said["which"].mean(axis=0).argmax(axis=1))


def test_a_count_goes_all_the_way(dataset, tmp_path, capsys):
    config = lean(dataset)
    config.total = "1 epochs"
    config.tasks = [{"name": "points", "label": "phq9", "kind": "count"}]
    config.selection.metric, config.data.modalities = "points/poisson_deviance", ("text",)
    report = run.run(config, dataset, tmp_path / "run")
    entry = report["tasks"]["points"]["splits"]["test"]
    assert list(entry["model"])[:2] == ["deviance_explained", "mae"] and entry["model"]["mae"]["low"] > 0
    assert {"prior", "length", "tfidf_ridge"} <= set(entry["baselines"]) and entry["conformal"]["mean_width"]
    table = read_csv(tmp_path / "run" / "predictions.csv")
    assert (table.y_pred > 0).all() and np.isnan(table.y_prob).all()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "expected count of phq9" in page and "deviance explained" in page and "No conformal" not in page
    predict(tmp_path / "run", dataset, tmp_path / "out.csv", abstain=False)
    assert (read_csv(tmp_path / "out.csv").y_pred > 0).all()
    # Away from its run the table needs to be told; then it is scored alike.
    alone = tmp_path / "alone.csv"
    alone.write_bytes((tmp_path / "run" / "predictions.csv").read_bytes())
    assert launch.main(["evaluate", f"--predictions={alone}", "--count=points", f"--output={tmp_path / 'out'}"]) == 0
    assert "deviance explained" in capsys.readouterr().out
    again = json.loads((tmp_path / "out" / "report.json").read_text())["tasks"]["points"]
    values = ({k: one["value"] for k, one in part["model"].items()} for part in (again["splits"]["test"], entry))
    assert again["kind"] == "count" and next(values) == pytest.approx(next(values))


def test_the_model_that_is_left_gives_the_predictions_of_the_run(finished, dataset, tmp_path):
    workdir, _ = finished
    assert predict(workdir, dataset, tmp_path / "out.csv", abstain=False) == []
    made, theirs = read_csv(tmp_path / "out.csv"), read_csv(workdir / "predictions.csv")
    said = {(p, t): (a, b) for p, t, a, b in zip(made.participant_id, made.task, made.y_prob, made.y_pred, strict=True)}
    assert len(said) > len(theirs) > 100
    ours = np.array([said[at] for at in zip(theirs.participant_id, theirs.task, strict=True)])
    np.testing.assert_allclose(ours[:, 0], theirs.y_prob, atol=1e-5)
    np.testing.assert_allclose(ours[:, 1], theirs.y_pred, atol=1e-4)


def test_the_same_command_again_changes_nothing(finished, dataset):
    workdir, _ = finished
    before = (workdir / "predictions.csv").read_bytes()
    stamp = (workdir / "checkpoints").stat().st_mtime_ns
    run.run(with_dropout(dataset), dataset, workdir)
    assert (workdir / "predictions.csv").read_bytes() == before
    assert (workdir / "checkpoints").stat().st_mtime_ns == stamp


def test_another_config_in_the_same_workdir_is_refused(finished, dataset):
    config = with_dropout(dataset)
    config.optimizer.learning_rate = 0.01
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: 0\.001 there, 0\.01 now"):
        run.run(config, dataset, finished[0])


def test_a_repeat_is_exact(finished, dataset, tmp_path):
    config = with_dropout(dataset)
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "exact")
    assert losses(tmp_path / "exact") == losses(finished[0])
    theirs = (finished[0] / "predictions.csv").read_bytes()
    assert (tmp_path / "exact" / "predictions.csv").read_bytes() == theirs


def test_streamed_records_give_the_same_to_rounding(quick, dataset, tmp_path):
    config = lean(dataset)
    config.evaluation.baselines, config.data.placement = False, "stream"
    run.run(config, dataset, tmp_path / "streamed")
    again, first = (read_csv(folder / "predictions.csv") for folder in (tmp_path / "streamed", quick))
    assert again.participant_id.tolist() == first.participant_id.tolist()
    for column in ("y_prob", "y_pred"):
        np.testing.assert_allclose(getattr(again, column), getattr(first, column), rtol=1e-5, atol=1e-5)


def test_folds_and_seeds(dataset, tmp_path):
    config = lean(dataset, "multitask", ("binary",))
    config.total = "1 epochs"
    config.cv.folds, config.seeds, config.replicas.layout = 2, 2, "auto"
    report = run.run(config, dataset, tmp_path)
    table = read_csv(tmp_path / "predictions.csv")
    test = table.select(split="test", task="phq_screen", seed=0)
    assert sorted(test.participant_id) == sorted(open_corpus(dataset).participants)
    assert set(zip(table.fold.tolist(), table.seed.tolist(), strict=True)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert report["folds"] == [0, 1] and report["seeds"] == [0, 1]
    for folder in tmp_path.glob("fold_*/seed_*"):  # nobody is in two splits of one training
        one = read_csv(folder / "predictions.csv")
        assert not set(one.select(split="test").participant_id) & set(one.select(split="validation").participant_id)


def test_folds_without_a_validation_part(dataset, tmp_path):
    config = lean(dataset, kinds=("binary",))
    config.total = "1 epochs"
    config.cv.folds, config.cv.validation_fraction = 2, 0.0
    with pytest.raises(InputError, match=r"validation split .* has no participant"):
        run.run(config, dataset, tmp_path)
    config.selection.metric = "step"
    report = run.run(config, dataset, tmp_path)
    assert set(read_csv(tmp_path / "predictions.csv").split) == {"test"}
    # Thresholds come from the other fold, so that none had to be left at its default.
    assert not any(flag["code"] == "default_threshold" for flag in report["flags"])
    thresholds = report["tasks"]["phq_screen"]["thresholds"]["model"]
    assert {entry["source"] for entry in thresholds} <= set(out_of_fold.CHOSEN) - {"validation"}


def test_nan_stops_with_the_step_and_what(dataset, tmp_path):
    config = lean(dataset)
    config.optimizer.learning_rate = 1e30
    config.optimizer.clip = 0.0
    with pytest.raises(loop.TrainingDiverged, match=r"not finite at step \d+: .*loss.*learning_rate"):
        run.run(config, dataset, tmp_path / "diverged")
    assert not list((tmp_path / "diverged" / "checkpoints").glob("[0-9]*"))


def test_early_stopping_and_the_first_best(dataset, tmp_path):
    config = lean(dataset)
    config.total = "50 epochs"
    config.optimizer.learning_rate = 0.0  # never better than the first evaluation
    config.selection.patience = 2
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "stopped")
    evaluated = [r["step"] for r in read_rows(tmp_path / "stopped" / "metrics.jsonl") if "validation/loss" in r]
    assert len(evaluated) == 3
    with Checkpoints(tmp_path / "stopped" / "checkpoints") as saved:
        assert saved.best == evaluated[0]


@pytest.fixture(scope="module")
def quick(dataset, tmp_path_factory):
    """A finished run of the network that compiles quickly."""
    config, workdir = lean(dataset), tmp_path_factory.mktemp("quick")
    config.evaluation.baselines = False
    run.run(config, dataset, workdir)
    return workdir


def test_init_from(quick, dataset, tmp_path):
    config = lean(dataset)
    config.init_from = str(quick / "checkpoints")
    config.optimizer.learning_rate = 0.0
    config.total = "1 epochs"
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "continued")
    a, b = (read_csv(workdir / "predictions.csv") for workdir in (quick, tmp_path / "continued"))
    np.testing.assert_allclose(a.y_pred, b.y_pred, atol=1e-5)


def test_ema(quick, dataset, tmp_path):
    averaged, corpus = lean(dataset), open_corpus(dataset)
    averaged.optimizer.ema = 0.9
    predicted = loop.train(loop.TrainJob(averaged, corpus, splits.by_name(corpus), tmp_path / "averaged")).y_pred
    assert np.all(np.isfinite(predicted)) and not np.array_equal(predicted, read_csv(quick / "predictions.csv").y_pred)


def test_a_modality_that_the_corpus_has_not(dataset, tmp_path):
    config = lean(dataset)
    config.data.modalities = ("video",)
    with pytest.raises(InputError, match="audio, text"):
        run.run(config, dataset, tmp_path / "video")


def test_each_program_is_compiled_once(dataset, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(loop, "compile_for", lambda *a, **k: made.append(step.compile_for(*a, **k)) or made[-1])
    config, corpus = lean(dataset), open_corpus(dataset)
    config.optimizer.learning_rate = 2e-3  # no other test has compiled that
    loop.train(loop.TrainJob(config, corpus, splits.by_name(corpus), tmp_path / "counted"))
    assert made[0].update._cache_size() == made[0].predict._cache_size() == 1

"""What a linear model and a network on its floor leave: predicted, explained and exported as others. SYNTHETIC."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation import out_of_fold
from mmpsy_jax.inference import embed
from mmpsy_jax.inference.explain import explain
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.training import finished_run, run, run_files
from mmpsy_jax.training.config import choose_model
from tests.data_builders.small_source import entry, write_table
from tests.hugging_face import write_bert
from tests.inference.conftest import CHINESE, config_of
from tests.runs import environment, in_turn, launch
from tests.sharing import shared

LOAD = """
import json, sys
import numpy as np
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.inference.load_model import Model
corpus = open_corpus(sys.argv[1])
values = Model(sys.argv[2]).predict([corpus.read(i) for i in range(4)])
print(json.dumps({name: value.tolist() for name, value in values.items()}))
"""


@pytest.fixture(scope="module", params=["linear", "floor"])
def runs(request, tmp_path_factory):
    """Transcripts of 60 people, a run on them without validation, and what the verbs wrote."""

    def make(folder):
        table = write_table(folder, [entry(number, answers=2 + number % 4) for number in range(1, 61)])
        built = cli.build("mmpsy/transcripts", folder / "data_dir", source=str(table), workers=0)
        config = config_of(built)
        if request.param == "linear":
            choose_model(config, "linear")
        else:
            config.model.linear = True
        config.cv.validation_fraction, config.selection.metric = 0.0, "step"
        run.run(config, built, folder / "run")
        (folder / "new").mkdir()
        (folder / "new" / "somebody.txt").write_text(CHINESE)
        new, workdir = folder / "new", folder / "run"
        predict(workdir, built, folder / "out.csv", abstain=False)
        predict(workdir, new, folder / "new.csv", abstain=False)
        explain(workdir, new, folder / "why", task="phq_score")
        return str(built), str(folder)

    return tuple(map(Path, shared(tmp_path_factory, f"linear_runs_{request.param}", make)))


def rows(path, task):
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["task"] == task]


def test_an_export_gives_the_predictions(runs, request, tmp_path):
    """By a process of its own: the shape checks of these tests take symbolic sizes for no integers."""
    if request.node.callspec.params["runs"] != "linear":
        pytest.skip("programs of the Perceiver are exported in test_export.py")
    built, folder = runs
    done = launch(
        *in_turn(["export", f"--workdir={folder / 'run'}", f"--output={tmp_path / 'export'}"]), env=environment()
    )
    assert done.returncode == 0, done.stderr
    alone = launch(sys.executable, "-c", LOAD, built, tmp_path / "export", env=environment())
    assert alone.returncode == 0, alone.stderr
    loaded = json.loads(alone.stdout)
    for task, column in (("phq_score", "y_pred"), ("phq_screen", "y_prob")):
        theirs = [float(row[column]) for row in rows(folder / "out.csv", task)[:4]]
        np.testing.assert_allclose(loaded[task], theirs, atol=1e-4)
        assert np.ptp(theirs) > 0


def test_new_people_get_intervals_from_the_cross_validation(runs):
    _, folder = runs
    card = run_files.read_card(folder / "run")["calibration"]
    entry_of = card["tasks"]["phq_score"]
    assert entry_of["fitted_on"] == "out_of_fold" and entry_of["n_calibration"] == 60
    (row,) = rows(folder / "new.csv", "phq_score")
    assert 0 <= float(row["y_low"]) <= float(row["y_high"]) <= 27
    (band,) = rows(folder / "new.csv", "phq_bands")
    assert {round(float(band["y_pred"]))} <= set(map(int, band["y_set"].split()))
    (screen,) = rows(folder / "new.csv", "phq_screen")
    threshold = card["tasks"]["phq_screen"]["threshold"]
    assert int(screen["y_positive"]) == (float(screen["y_prob_calibrated"]) >= threshold)


def test_intervals_are_those_of_each_fold(runs):
    built, folder = runs
    loaded = finished_run.load(folder / "run")
    corpus = loaded.select_modalities(open_corpus(built))
    values, _ = loaded.predict(corpus, np.arange(5))
    card = run_files.read_card(folder / "run")["calibration"]
    means = out_of_fold.by_fold(values["phq_score"], np.array([one.fold for one in loaded.trainings]))
    low, _ = out_of_fold.cv_plus(means, card["tasks"]["phq_score"]["residuals"], card["level"])
    written = [float(row["y_low"]) for row in rows(folder / "out.csv", "phq_score")[:5]]
    np.testing.assert_allclose(written, low.clip(0, 27), atol=1e-4)


def test_an_explanation_adds_up(runs):
    _, folder = runs
    report = json.loads((folder / "why" / "explanation.json").read_text())
    methods = {"occlusion", "integrated_gradients"}
    assert methods <= set(report["sums"]) and ("attention" in report["sums"]) == ("floor" in str(folder))
    assert report["completeness"]["sum"] == pytest.approx(report["completeness"]["difference"], abs=0.05)
    assert (folder / "why" / "explanation.html").is_file()


def test_left_out_predictions_of_people_stay_in_no_file(runs):
    _, folder = runs
    weights = run_files.load_weights(folder / "run" / "fold_0" / "seed_0" / run_files.WEIGHTS)
    assert "left_out" not in weights and set(weights) == {"params", "fitted"}
    assert "linear" in weights["fitted"]["network"]


def test_embeddings_of_a_bert_are_read_pooled(tmp_path):
    """The way of `embed` with random weights: a folder of embeddings, records, a linear model, a new person."""
    (tmp_path / "bert").mkdir()
    bert, letters = write_bert(tmp_path / "bert"), "abcdefgh"
    lines = ["participant,text,label:phq9"]
    for number in range(24):
        words = " ".join(letters[(number * k) % 8] for k in range(1, 12 + number))
        lines.append(f"p{number},{words},{number % 8 * 3}")
    manifest, folder = tmp_path / "manifest.csv", tmp_path / "embedded"
    manifest.write_text("\n".join(lines) + "\n")
    embed.embed(manifest, bert, folder, whole=True)
    text = {"name": "token_embeddings", "folder": str(folder), "positions": 12}
    (tmp_path / "settings.json").write_text(json.dumps({"text": text}))
    built = cli.build("interviews/lab", tmp_path, source=manifest, settings=tmp_path / "settings.json", workers=0)
    config = config_of(built)
    choose_model(config, "linear")
    config.cv.validation_fraction, config.selection.metric = 0.0, "step"
    run.run(config, built, tmp_path / "run")
    (tmp_path / "new.csv").write_text("participant_id,text\nsomebody,a b c d e f g h a b c\n")
    predict(tmp_path / "run", tmp_path / "new.csv", tmp_path / "out.csv", encoders=[bert], abstain=False)
    (row,) = rows(tmp_path / "out.csv", "phq_score")
    assert 0 <= float(row["y_low"]) <= float(row["y_pred"]) <= float(row["y_high"]) <= 27
    fitted = run_files.load_weights(tmp_path / "run" / "fold_0" / "seed_0" / run_files.WEIGHTS)["fitted"]["network"]
    assert fitted["linear"]["text_weights"].shape == (16, 1) and np.ptp(fitted["linear"]["text_weights"]) > 0

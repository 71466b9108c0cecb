"""A finished run on another corpus: who is scored, what is fitted where, and scales that differ. SYNTHETIC data."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation import recalibrate
from mmpsy_jax.evaluation.operating_points import choose_threshold
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.inference.transfer import transfer
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run, run
from tests.runs import in_process, lean
from tests.sharing import shared

SIZES = {"participants": 40, "audio_shape": (8, 20), "text_shape": (6, 8), "workers": 0}


def change_card(folder, **changes):
    card = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps(card | changes))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run of two folds, its corpus, and another corpus."""

    def make(folder):
        home, there = (Path(cli.build("mmpsy/demo", folder / n, seed=s, **SIZES)) for s, n in enumerate("ab"))
        change_card(there, config="there")
        config = lean(home, kinds=("binary", "ordinal", "regression"))
        config.tasks = [task for task in config.tasks if task["label"] == "phq9"]
        config.cv.folds, config.cv.validation_fraction, config.total = 2, 0.5, "2 epochs"
        run.run(config, home, folder / "run")
        return [folder / "run", home, there]

    return tuple(map(Path, shared(tmp_path_factory, "places", make)))


def test_thresholds_come_from_home_and_nobody_of_there_is_left_out(places, tmp_path, capsys):
    workdir, _, there = places
    assert in_process("transfer", f"--workdir={workdir}", f"--input={there}", f"--output={tmp_path}") == 0
    assert "scored on mmpsy/there" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["transfer"] | {"tasks": {}} == {
        "home": "mmpsy/demo", "corpus": "mmpsy/there", "people": 40, "left_out": 0, "recalibrated_on": 0,
        "scored": 40, "tasks": {},
    }  # fmt: skip
    table = read_csv(tmp_path / "predictions.csv").select(task="phq_screen")
    home, tested = table.select(split="validation"), table.select(split="test")
    assert len(tested) == 40 and all(name.startswith("home/") for name in home.participant_id.tolist())
    np.testing.assert_array_equal(tested.y_true, open_corpus(there).labels["phq9"] >= 10)
    (threshold,) = report["tasks"]["phq_screen"]["thresholds"]["model"]
    assert threshold["source"] == "validation"
    assert threshold["value"] == choose_threshold(home.y_true, home.y_prob)
    at_home = read_csv(workdir / "predictions.csv").select(task="phq_screen", split="validation")
    one = home.participant_id[0].removeprefix("home/")
    assert home.y_prob[0] == pytest.approx(at_home.y_prob[at_home.participant_id == one].mean())
    page = (tmp_path / "report.html").read_text()
    assert "Transfer" in page and "label of the records" in page


def test_who_was_trained_on_is_left_out(places, tmp_path):
    workdir, home, there = places
    with pytest.raises(InputError, match="all 40 people are in the training data"):
        transfer(workdir, home, tmp_path)
    overlapping = change_card(shutil.copytree(there, tmp_path / "there"), same_people_as=["mmpsy/demo"])
    with pytest.raises(InputError, match="all 40 people are in the training data"):
        transfer(workdir, overlapping, tmp_path / "out")
    renamed = change_card(shutil.copytree(home, tmp_path / "renamed"), config="renamed")
    report = transfer(workdir, renamed, tmp_path / "out")
    trained = finished_run.load(workdir).trained_on(open_corpus(home).participants)
    assert report["transfer"]["left_out"] == trained.sum() >= 20, "by what they said, under equal ids"
    both = transfer(workdir, f"{there},{renamed}", tmp_path / "both")
    assert both["transfer"]["left_out"] == trained.sum(), "each part of pooled records by itself"
    assert set(both["subgroups"]["columns"]["corpus"]["phq_score"]) >= {"test"}


def test_recalibrated_on_a_few_people_who_are_not_scored(places, tmp_path):
    workdir, _, there = places
    report = transfer(workdir, there, tmp_path, recalibrated_on=20, seed=3)
    assert report["transfer"]["scored"] == 20
    tables = [read_csv(tmp_path / f"{name}.csv").select(task="phq_score") for name in ("predictions", "recalibrated")]
    plain, changed = (table.select(split="test") for table in tables)
    drawn = tables[1].select(split="validation")
    assert len(drawn) == 20 and set(plain.participant_id) == set(changed.participant_id)
    assert not set(drawn.participant_id) & set(plain.participant_id)
    assert drawn.y_pred.mean() == pytest.approx(drawn.y_true.mean(), abs=0.5), "but for what lies beyond the scale"
    scored = report["tasks"]["phq_score"]["splits"]["test"]
    assert scored["baselines"]["recalibrated"]["mae"]["value"] == pytest.approx(
        np.abs(changed.y_pred - changed.y_true).mean()
    )
    (told,) = (f["message"] for f in report["flags"] if (f["code"], f["task"]) == ("recalibrated", "phq_score"))
    assert "recalibrated on 20 people of mmpsy/there, who are not scored: intercept" in told
    again = transfer(workdir, there, tmp_path / "again", recalibrated_on=20, seed=3)
    assert again["tasks"] == report["tasks"]
    with pytest.raises(InputError, match="39 people to draw: must be between 1 and 38"):
        transfer(workdir, there, tmp_path / "more", recalibrated_on=39)


def test_another_questionnaire_is_ranked_only(places, tmp_path):
    workdir, _, there = places
    report = transfer(workdir, there, tmp_path, labels={"phq9": "gad7"})
    tasks = report["tasks"]
    assert {entry["kind"] for entry in tasks.values()} == {"ranking"} and len(tasks) == 3
    scored = tasks["phq_screen"]["splits"]["test"]
    assert set(scored["model"]) == {"spearman", "pearson"} and "thresholds" not in tasks["phq_screen"]
    rows = read_csv(tmp_path / "predictions.csv").select(task="phq_screen")
    known = ~np.isnan(rows.y_true)
    expected = scipy.stats.spearmanr(rows.y_true[known], rows.y_pred[known]).statistic
    assert scored["model"]["spearman"]["value"] == pytest.approx(expected)
    (told,) = (f["message"] for f in report["flags"] if (f["code"], f["task"]) == ("other_scale", "phq_screen"))
    assert "phq9 goes from 0 to 27, gad7 from 0 to 21" in told
    assert "mae" not in (tmp_path / "tables" / "metrics.csv").read_text()


def test_the_same_label_on_another_scale_is_ranked_only(places, tmp_path):
    workdir, _, there = places
    other = change_card(
        shutil.copytree(there, tmp_path / "there"), label_ranges={"phq9": {"low": 0, "high": 80, "source": "given"}}
    )
    report = transfer(workdir, other, tmp_path / "out")
    assert {one["scale"] for one in report["transfer"]["tasks"].values()} == {"0 to 27 and 0 to 80"}


def test_what_cannot_be_scored_is_named(places, tmp_path):
    workdir, _, there = places
    with pytest.raises(InputError, match="unknown label of the records in --label 'sds'"):
        transfer(workdir, there, tmp_path, labels={"phq9": "sds"})
    with pytest.raises(InputError, match="unknown label of the run in --label 'sds'"):
        transfer(workdir, there, tmp_path, labels={"sds": "phq9"})
    with pytest.raises(InputError, match="no built records, whose labels are needed"):
        transfer(workdir, tmp_path, tmp_path / "out")
    other = Path(cli.build("mmpsy/demo", tmp_path / "other", seed=2, **SIZES | {"audio_shape": (8, 30)}))
    with pytest.raises(InputError, match=r"modality 'audio' is .* built with the same settings"):
        transfer(workdir, other, tmp_path / "out")
    assert in_process("transfer", f"--workdir={workdir}", f"--input={there}", "--output=x", "--label=phq9") == 2


def test_a_slope_needs_enough_people_and_must_not_turn_the_ranking():
    rng = np.random.default_rng(0)
    task = Task("score", "phq9", "regression", maximum=27.0)
    y = rng.uniform(5, 15, 200)
    change, what = recalibrate.fit(task, 4 + 0.5 * y, y)
    np.testing.assert_allclose(change(y), 4 + 0.5 * y)
    assert what == "intercept and slope (+4.00, 0.50)"
    for truth, few in ((4 + 0.5 * y[:10], y[:10]), (20 - y, y)):
        change, what = recalibrate.fit(task, truth, few)
        assert what.startswith("intercept (")
        np.testing.assert_allclose(np.diff(change(few)), np.diff(few))
    screen = Task("screen", "phq9", "binary", (10,))
    odds = rng.normal(0, 2, 4000)
    truth = (rng.uniform(size=4000) < 1 / (1 + np.exp(-(odds / 2 - 1)))).astype(float)
    change, _ = recalibrate.fit(screen, truth, 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(change(np.array([0.5])), 1 / (1 + np.exp(1)), atol=0.03)
    change, why = recalibrate.fit(screen, np.zeros(5), np.full(5, 0.2))
    assert change is None and "one class" in why


def test_a_table_of_runs_and_corpora(places, tmp_path, capsys):
    workdir, home, there = places
    other = shutil.copytree(workdir, tmp_path / "second")
    small = Path(cli.build("mmpsy/demo", tmp_path / "c", seed=2, **SIZES | {"audio_shape": (8, 30)}))
    change_card(small, config="other_windows")
    arguments = [
        "transfer",
        "--workdirs",
        workdir,
        other,
        "--inputs",
        home,
        there,
        small,
        f"--output={tmp_path / 'out'}",
    ]
    assert in_process(*arguments) == 0
    text = capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert [(one["run"], one["corpus"], one["own"]) for one in content["cells"][:3]] == [
        ("run", "mmpsy/demo", True),
        ("run", "mmpsy/there", False),
        ("run", "mmpsy/other_windows", False),
    ]
    own, away, neither = content["cells"][:3]
    for cell, report in ((own, workdir), (away, tmp_path / "out" / "run__mmpsy_there")):
        scored = json.loads((report / "report.json").read_text())["tasks"]["phq_screen"]["splits"]["test"]
        shown = cell["tasks"]["phq_screen"]
        assert shown["metric"] == "auroc" and shown["value"] == scored["model"]["auroc"]["value"]
        assert shown["low"] == scored["model"]["auroc"]["low"]
    assert "built with the same settings" in neither["reason"] and str(tmp_path) not in neither["reason"]
    assert "own test split" in (tmp_path / "out" / "transfer.html").read_text()
    with (tmp_path / "out" / "transfer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (3 + 3 + 1) and {row["task"] for row in rows} == {
        "phq_screen",
        "phq_bands",
        "phq_score",
        "",
    }
    assert "phq_screen" in text and "trained on" in text
    assert in_process("transfer", "--workdirs", workdir, f"--input={home}", f"--output={tmp_path / 'x'}") == 2
    assert in_process("transfer", "--workdirs", workdir, workdir, "--inputs", home, f"--output={tmp_path / 'x'}") == 2

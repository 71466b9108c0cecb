"""A run on pooled corpora: folds hold both, the corpus is a subgroup, and the run predicts. SYNTHETIC data."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_builders.common import cli
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.training import finished_run, run
from tests.runs import lean
from tests.sharing import shared

SIZES = {"participants": 30, "audio_shape": (8, 20), "text_shape": (6, 8), "workers": 0}


def config_of(folder):
    config = lean(folder, kinds=("binary", "regression"))
    config.tasks = [task for task in config.tasks if task["label"] == "phq9"]
    config.cv.folds, config.total = 2, "1 epochs"
    return config


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    def make(folder):
        sites = [cli.build("mmpsy/demo", folder / name, seed=seed, **SIZES) for seed, name in enumerate("ab")]
        both = ",".join(map(str, sites))
        run.run(config_of(both), both, folder / "run")
        return [*sites, folder / "run"]

    return tuple(map(Path, shared(tmp_path_factory, "pooled", make)))


def test_the_report_has_each_corpus_as_a_subgroup_and_says_that_they_are_pooled(pooled):
    *_, workdir = pooled
    report = json.loads((workdir / "report.json").read_text())
    entries = report["subgroups"]["columns"]["corpus"]["phq_screen"]["test"]
    assert [(one["subgroup"], one["n"]) for one in entries] == [("mmpsy_demo_1", 30), ("mmpsy_demo_2", 30)]
    (note,) = (flag["message"] for flag in report["flags"] if flag["code"] == "pooled")
    assert "2 corpora are pooled (mmpsy_demo_1: 30, mmpsy_demo_2: 30)" in note
    assert [one["name"] for one in report["context"]["corpus"]["pooled"]] == ["mmpsy_demo_1", "mmpsy_demo_2"]


def test_folds_hold_both_corpora_alike(pooled):
    tested = read_csv(pooled[-1] / "predictions.csv").select(split="test", task="phq_screen")
    for fold in (0, 1):
        of_a = np.char.startswith(tested.select(fold=fold).participant_id, "mmpsy_demo_1/")
        assert 14 <= of_a.sum() <= 16 and 14 <= (~of_a).sum() <= 16


def test_the_run_predicts_on_one_of_the_corpora_and_knows_its_people(pooled, tmp_path):
    site, _, workdir = pooled
    assert predict(workdir, site, tmp_path / "out.csv", abstain=False) == []
    table = read_csv(tmp_path / "out.csv").select(task="phq_score", split="train")
    assert len(table) > 20, "nearly everybody was trained on in one of the folds"
    run_of_both = finished_run.load(workdir)
    names = [f"mmpsy_demo_1/{name}" for name in table.participant_id.tolist()]
    assert run_of_both.trained_on(names).sum() > 20, "and is known by the name in the pool, too"
    assert not run_of_both.trained_on([f"elsewhere/{name}" for name in names]).any()

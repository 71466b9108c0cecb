"""Self-MM from records to a report: memory in checkpoints and replicas, MMSA's metrics. SYNTHETIC."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs import msa
from data_builders.mmpsy import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.data.splits import by_name
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.training import loop, run
from tests.runs import final_state


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A small demo corpus (SYNTHETIC)."""
    return cli.build("mmsa/demo", tmp_path_factory.mktemp("msa"), participants=64, workers=0)


def small(clips, model="self_mm"):
    config = msa.get_config(f"demo,{model}")
    config.data.folder = str(clips)
    config.data.batch_size = 16
    config.optimizer.accumulate = 1
    config.total = "4 epochs"
    config.evaluation.bootstrap = 50
    config.compile_cache = ""
    return config


def one(config, clips, workdir, seed=1111):
    corpus = open_corpus(clips)
    return loop.Run(config, corpus, by_name(corpus), workdir, seed=seed)


def test_a_run_taken_up_again_ends_with_the_same_memory(clips, tmp_path):
    config = run.with_groups(small(clips), tmp_path)
    whole = one(config, clips, tmp_path / "whole")
    expected = loop.train(whole)
    step, state = final_state(whole.workdir)
    labels = state["['memory']['label']['text']"]
    train = whole.splits["train"]
    assert np.abs(labels[train] - whole.corpus.labels["sentiment"][train]).max() > 0.01
    assert np.isnan(labels[whole.splits["test"]]).all()
    assert state["['memory']['seen']['fusion']"][train].tolist() == [4] * len(train)

    half = dataclasses.replace(whole, workdir=tmp_path / "half")
    stopped = loop.must_stop
    asked = iter([False] * (step // 2 - 1) + [True] + [False] * step)
    try:
        loop.must_stop = lambda event: next(asked)
        with pytest.raises(loop.Interrupted):
            loop.train(half)
    finally:
        loop.must_stop = stopped
    again = loop.train(half)
    np.testing.assert_array_equal(again.y_pred, expected.y_pred)
    same, restored = final_state(half.workdir)
    assert same == step
    assert restored.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(restored[name], value, err_msg=name)


def test_seeds_train_as_replicas_and_the_report_has_the_metrics_of_mmsa(clips, tmp_path):
    config = small(clips)
    config.seeds = 2
    report = run.run(config, clips, tmp_path / "run")
    made = report["tasks"]["sentiment"]["splits"]["test"]["mmsa"]
    assert list(made)[:4] == ["Has0_acc_2", "Has0_F1_score", "Non0_acc_2", "Non0_F1_score"]
    assert "Non0_acc_2" in (tmp_path / "run" / "report.html").read_text()
    alone = loop.train(one(run.with_groups(config, tmp_path / "run"), clips, tmp_path / "alone", seed=1112))
    together = read_csv(tmp_path / "run" / "predictions.csv").select(split="test")
    mine = together.y_pred[together.seed == 1112]
    np.testing.assert_allclose(mine, alone.select(split="test").y_pred, rtol=2e-3, atol=2e-3)
    assert min(mine) < 0
    assert json.loads((tmp_path / "run" / "model.json").read_text())["synthetic"]


@pytest.mark.parametrize("model", ["lmf"])
def test_a_baseline_learns(clips, tmp_path, model):
    config = small(clips, model)
    config.total = "12 epochs"
    config.optimizer.learning_rate = 1e-2
    config = run.with_groups(config, tmp_path)
    made = loop.train(one(config, clips, tmp_path)).select(split="test")
    assert np.corrcoef(made.y_true, made.y_pred)[0, 1] > 0.3
    assert jax.device_count() == 8

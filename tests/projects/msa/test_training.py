"""Self-MM from records to a report: memory in checkpoints and replicas, MMSA's metrics. SYNTHETIC."""

import dataclasses
import json

import numpy as np
import pytest

from configs import msa
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.data.splits import by_name
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import InputError, read_rows
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import interruption, loop, run, train_statistics
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import seeds, set_seeds
from tests.runs import final_state

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A small demo corpus (SYNTHETIC)."""
    return cli.build("mmsa/demo", tmp_path_factory.mktemp("msa"), participants=64, workers=0)


def small(clips, model="self_mm"):
    config = msa.get_config(f"demo,{model}")
    config.data.folder = str(clips)
    config.data.batch_size = 16
    config.optimizer.accumulate = 1
    config.total = "3 epochs"
    config.evaluation.baselines = config.evaluation.near_duplicates = False
    config.evaluation.bootstrap = 50
    config.compile_cache = ""
    return config


def one(config, clips, workdir, seed=1111):
    corpus = open_corpus(clips)
    return loop.TrainJob(config, corpus, by_name(corpus), workdir, seed=seed)


def histograms(workdir):
    return [row for row in read_rows(workdir / "metrics.jsonl") if "labels/text" in row]


def test_a_run_taken_up_again_ends_with_the_same_memory(clips, tmp_path):
    config = run.with_packs(small(clips), tmp_path)
    whole = one(config, clips, tmp_path / "whole")
    expected = loop.train(whole)
    step, state = final_state(whole.workdir)
    labels = state["['memory']['label']['text']"]
    train = whole.splits["train"]
    assert np.abs(labels[train] - whole.corpus.labels["sentiment"][train]).max() > 0.01
    assert np.isnan(labels[whole.splits["test"]]).all()
    assert state["['memory']['seen']['fusion']"][train].tolist() == [3] * len(train)

    half = dataclasses.replace(whole, workdir=tmp_path / "half")
    stopped = interruption.must_stop
    asked = iter([False] * (step // 2 - 1) + [True] + [False] * step)
    try:
        interruption.must_stop = lambda event: next(asked)
        with pytest.raises(interruption.Interrupted):
            loop.train(half)
    finally:
        interruption.must_stop = stopped
    again = loop.train(half)
    np.testing.assert_array_equal(again.y_pred, expected.y_pred)
    assert histograms(half.workdir) == histograms(whole.workdir)
    assert [row["step"] for row in histograms(whole.workdir)] == [step // 3, 2 * step // 3, step]
    same, restored = final_state(half.workdir)
    assert same == step
    assert restored.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(restored[name], value, err_msg=name)


def test_seeds_train_as_replicas_and_the_report_has_the_metrics_of_mmsa(clips, tmp_path):
    config = small(clips)
    set_seeds(config, ["1111", "1120"])
    report = run.run(config, clips, tmp_path / "run")
    made = report["tasks"]["sentiment"]["splits"]["test"]["mmsa"]
    assert list(made)[:4] == ["Has0_acc_2", "Has0_F1_score", "Non0_acc_2", "Non0_F1_score"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Non0_acc_2" in page and "Generated labels: vision" in page
    counted = [sum(row["changes/text"]) for row in histograms(tmp_path / "run" / "fold_0" / "seed_1120")]
    assert counted == [len(by_name(open_corpus(clips))["train"])] * 3
    alone = loop.train(one(run.with_packs(config, tmp_path / "run"), clips, tmp_path / "alone", seed=1120))
    together = read_csv(tmp_path / "run" / "predictions.csv").select(split="test")
    mine = together.y_pred[together.seed == 1120]
    np.testing.assert_allclose(mine, alone.select(split="test").y_pred, rtol=2e-3, atol=2e-3)
    assert min(mine) < 0
    assert json.loads((tmp_path / "run" / "model.json").read_text())["synthetic"]


def test_seeds_that_follow_each_other_are_the_same_run_in_both_spellings(clips):
    listed, counted = small(clips), small(clips)
    set_seeds(listed, ["1111", "1112", "1113"])
    counted.seeds = 3
    assert listed.to_dict() == counted.to_dict()
    assert seeds(listed) == (1111, 1112, 1113)
    set_seeds(listed, ["7", "5"])
    assert (seeds(listed), listed.seed, listed.seeds) == ((7, 5), 7, 2)


@pytest.mark.parametrize("given", [[], ["1", "x"], ["1", "01"], ["-1"]])
def test_what_is_no_list_of_seeds(clips, given):
    with pytest.raises(InputError, match="give different whole numbers"):
        set_seeds(small(clips), given)


def test_features_are_scaled_by_the_training_clips_alone(clips):
    config, corpus = small(clips, "lmf"), open_corpus(clips)
    members = by_name(corpus)["train"]
    modalities = batching.of(config, corpus, meshes.make_mesh()).modalities
    made = train_statistics.fit(config, from_config(config.tasks), modalities, corpus, members)
    assert "scores" not in made
    means = np.stack([r["audio"][0, : r["audio_length"][0]].mean(axis=0) for r in map(corpus.read, members.tolist())])
    np.testing.assert_allclose(made["network"]["audio_scale"]["mean"], means.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(made["network"]["audio_scale"]["deviation"], means.std(axis=0), rtol=1e-4)
    assert train_statistics.fit(small(clips), from_config(config.tasks), modalities, corpus, members)["network"] == {}


def test_mag_bert_reads_tokens_and_starts_from_its_bert(clips):
    config, corpus = small(clips, "bert_mag"), open_corpus(clips)
    modalities = batching.of(config, corpus, meshes.make_mesh()).modalities
    assert {m.name: (m.kind, m.vocabulary) for m in modalities if m.kind == "ids"} == {"tokens": ("ids", 34)}
    assert sorted(m.name for m in modalities) == ["audio", "tokens", "vision"]
    made = train_statistics.fit(config, from_config(config.tasks), modalities, corpus, by_name(corpus)["train"])
    assert made["bias"]["encoder"]["word_table"]["embedding"].shape == (64, 32)
    others = batching.of(small(clips, "lmf"), corpus, meshes.make_mesh()).modalities
    assert [m.name for m in others] == ["text", "audio", "vision"]

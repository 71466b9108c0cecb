"""Whole runs of the hotline configs on a small demo (SYNTHETIC)."""

import csv
import importlib
import json

import jax
import numpy as np
import pytest

import launch
from data_builders.common import cli
from data_builders.hotline import demo
from data_builders.hotline.columns import EMOTIONS
from mmpsy_jax import models
from mmpsy_jax.data import splits
from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.evaluation.report import summary
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.io import InputError
from mmpsy_jax.projects.hotline.models import speech_emotion
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh, plan_runs, programs, run, run_files, train_statistics
from tests.runs import losses

STEPS = 25
LAYERS = ("num_hidden_layers", "encoder_layers", "decoder_layers")


@pytest.fixture(scope="module", autouse=True)
def one_layer(one_device):
    """The small encoders with one layer compile in half the time; test_speech_emotion.py is about those with two."""
    with pytest.MonkeyPatch.context() as patch:
        for sizes in speech_emotion.TINY.values():
            for name in set(LAYERS) & set(sizes):
                patch.setitem(sizes, name, 1)
        patch.setitem(speech_emotion.TINY["whisper"], "max_source_positions", 25)  # 0.5 s, as long as the segments
        yield


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Records of a small demo: 10 callers, segments of 0.3 to 0.5 s."""
    options = {"participants": 10, "seconds": (0.3, 0.5), "window_seconds": 0.5}
    return cli.build("hotline/demo", tmp_path_factory.mktemp("hotline"), **options)


def small(calls, encoder, tasks=2):
    config = importlib.import_module("configs.hotline_emotions").get_config(encoder)
    config.data.folder = str(calls)
    config.tasks = config.tasks[:tasks]
    config.total = "4 epochs"
    config.evaluation.update({"bootstrap": 20, "baselines": False})
    config.compile_cache = ""
    return config


@pytest.fixture(scope="module")
def finished(calls, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "hubert"
    return workdir, run.run(small(calls, "hubert"), calls, workdir)


def test_training_lowers_the_loss_and_leaves_what_is_frozen(finished, calls):
    workdir, _ = finished
    values = [loss for _, loss in losses(workdir)]
    assert values[-1] < 0.95 * values[0]
    config = small(calls, "hubert")
    start, frozen = models.pretrained("speech_emotion", config.model.to_dict())
    made = run_files.load_weights(workdir / "model.safetensors")
    assert jax.tree.all(jax.tree.map(np.array_equal, made["fitted"]["network"], frozen))
    same = jax.tree.map(np.array_equal, made["params"]["network"]["encoder"], start["encoder"])
    assert not any(jax.tree.leaves(same["layer_0"]["attention"]["query"]["kernel"]))


@pytest.mark.parametrize(("encoder", "lora"), [("wav2vec2", 0), ("whisper", 0), ("hubert", 2)])
def test_training_lowers_the_loss_with_every_encoder(calls, encoder, lora):
    config = small(calls, encoder)
    config.model.lora_rank = lora
    config.optimizer.update({"learning_rate": 5e-3, "schedule": "constant"})
    corpus, tasks = open_corpus(calls), from_config(config.tasks)
    shape = batching.of(config, corpus, mesh.one_device())
    members = splits.by_name(corpus)["train"]
    lengths = {"window_seconds": 0.5, "total": STEPS, "steps_per_epoch": STEPS}
    functions = programs.build(config, tasks, modalities=shape.modalities, **lengths)
    values = []
    with make_loader(corpus, members, **shape.sizes, placement="host") as batches:
        start = train_statistics.fit(config, tasks, shape.modalities, corpus, members)
        state = jax.jit(functions.init)(0, next(batches), start)
        update = jax.jit(lambda state, batch: functions.update(state, batch, {}))
        for _ in range(STEPS):
            state, metrics = update(state, next(batches))
            values.append(float(metrics["loss"]))
    assert np.mean(values[-5:]) < 0.97 * np.mean(values[:5])


def test_the_report_has_means_over_labels_and_calls_in_time(finished, calls):
    workdir, report = finished
    corpus = open_corpus(calls)
    callers = {c for c, s in zip(corpus.cluster, corpus.split, strict=True) if s == "test"}
    table = read_csv(workdir / "predictions.csv")
    assert set(table.select(split="test").cluster) == callers
    scored = report["multilabel"]["test"]
    assert scored["n_clusters"] == len(callers) and scored["n_participants"] == 12 * len(callers)
    assert scored["labels"].keys() == set(EMOTIONS[:2]) and "f1_weighted" in scored["overall"]
    value = scored["overall"]["f1_weighted"]["value"]
    assert f"F1 over 2 labels: weighted {value:.3f}" in summary(report)
    assert report["tasks"][EMOTIONS[0]]["thresholds"]["model"][0]["value"] == 0.5  # argmax
    with (workdir / "calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["call"], row["task"]) for row in rows} == {(c, t) for c in callers for t in EMOTIONS[:2]}
    page = (workdir / "report.html").read_text()
    assert "Over the call" in page and "over clusters of segments" in page and "SYNTHETIC" in page
    assert not any(caller in page for caller in corpus.cluster)


def test_a_finished_run_predicts_built_records(finished, calls, tmp_path):
    workdir, _ = finished
    assert not predict(workdir, calls, tmp_path / "out.csv")
    made = read_csv(workdir / "predictions.csv").select(split="test", task=EMOTIONS[0])
    with (tmp_path / "out.csv").open(newline="") as file:
        again = {row["participant_id"]: row for row in csv.DictReader(file) if row["task"] == EMOTIONS[0]}
    wanted = [float(again[name]["y_prob"]) for name in made.participant_id]
    np.testing.assert_allclose(made.y_prob, wanted, atol=1e-5)


def test_a_folder_of_recordings_gives_what_their_records_give(finished, calls, tmp_path):
    workdir, _ = finished
    demo.write_source(tmp_path, 10, seconds=(0.3, 0.5))
    (tmp_path / "original_audio_data/caller_0/empty.wav").write_bytes(b"")
    (failure,) = predict(workdir, tmp_path / "original_audio_data", tmp_path / "heard.csv")
    assert failure.what == "caller_0/empty"
    predict(workdir, calls, tmp_path / "read.csv")
    tables = []
    for name in ("heard.csv", "read.csv"):
        with (tmp_path / name).open(newline="") as file:
            tables.append({(row["participant_id"], row["task"]): float(row["y_prob"]) for row in csv.DictReader(file)})
    assert len(tables[0]) == 10 * 12 * 2 and tables[0] == pytest.approx(tables[1], abs=1e-5)


def test_folds_share_no_caller(calls):
    config = small(calls, "hubert", tasks=11)
    config.cv.folds = 3
    corpus = open_corpus(calls)
    for fold in plan_runs.folds(config, from_config(config.tasks), corpus):
        owners = [{corpus.cluster[i] for i in part} for part in fold.values()]
        assert all(owners) and sum(map(len, owners)) == len(set.union(*owners)) == 10


def test_the_command_line_builds_the_demo(tmp_path, capsys):
    arguments = ["--dataset", "hotline/demo", "--data_dir", str(tmp_path), "--participants=3", "--seed=1"]
    split = tmp_path / "split.csv"
    split.write_text("participant,split\ncaller_0,train\ncaller_1,validation\ncaller_2,test\n")
    assert launch.main(["build", *arguments, f"--split_file={split}"]) == 0
    folder = capsys.readouterr().out.strip()
    assert json.loads((tmp_path / "hotline/demo/1.0.0/corpus.json").read_text())["cluster"] == "caller"
    assert folder.endswith("hotline/demo/1.0.0")


def test_an_unknown_encoder_is_refused():
    with pytest.raises(InputError, match="hubert, wav2vec2, whisper"):
        importlib.import_module("configs.hotline_negative").get_config("bert")

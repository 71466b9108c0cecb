"""Whole runs of shipped configs on a small SYNTHETIC corpus: results, resuming, several devices and processes."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.errors import InputError
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.training import loop, programs, run
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.logger import read_rows
from tests import corpora

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return corpora.build(tmp_path_factory.mktemp("corpus"))


def small(dataset, name="phq"):
    return corpora.shrink(importlib.import_module(f"configs.{name}").get_config(), dataset)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "phq"
    report = run.run(small(dataset), dataset, workdir)
    return workdir, report


def test_a_run_leaves_everything_that_the_readme_promises(finished, dataset):
    workdir, report = finished
    names = {p.name for p in workdir.iterdir()}
    assert names == {
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "predictions.csv",
        "report.html",
        "report.json",
        "tensorboard",
    }
    on_disk = json.loads((workdir / "report.json").read_text())
    assert on_disk["tasks"].keys() == {"phq_screen", "phq_bands", "phq_score"}
    assert on_disk["synthetic"] and on_disk["context"]["environment"]["packages"]["jax"] == jax.__version__
    assert set(on_disk["baselines"]) == {"prior", "length", "tfidf_logistic", "tfidf_ridge"}
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
    assert report["tasks"]["phq_screen"]["splits"]["test"]


def test_the_same_command_again_changes_nothing(finished, dataset):
    workdir, _ = finished
    before = (workdir / "predictions.csv").read_bytes()
    stamp = (workdir / "checkpoints").stat().st_mtime_ns
    run.run(small(dataset), dataset, workdir)
    assert (workdir / "predictions.csv").read_bytes() == before
    assert (workdir / "checkpoints").stat().st_mtime_ns == stamp


def test_another_config_in_the_same_workdir_is_refused(finished, dataset):
    config = small(dataset)
    config.optimizer.learning_rate = 0.01
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: 0\.001 there, 0\.01 now"):
        run.run(config, dataset, finished[0])


def test_a_repeat_is_exact(finished, dataset, tmp_path):
    run.run(small(dataset), dataset, tmp_path / "again")
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (finished[0] / "predictions.csv").read_bytes()


def test_streamed_records_give_the_same_run(finished, dataset, tmp_path):
    config = small(dataset)
    config.data.placement = "stream"
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "streamed")
    assert losses(tmp_path / "streamed") == losses(finished[0])


def test_folds_and_seeds(dataset, tmp_path):
    config = small(dataset, "multitask")
    config.total = "1 epochs"
    config.cv.folds, config.seeds = 2, 2
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
    config = small(dataset)
    config.total = "1 epochs"
    config.cv.folds, config.cv.validation_fraction = 2, 0.0
    with pytest.raises(InputError, match=r"validation split .* has no participant"):
        run.run(config, dataset, tmp_path)
    config.selection.metric = "step"
    report = run.run(config, dataset, tmp_path)
    assert set(read_csv(tmp_path / "predictions.csv").split) == {"test"}
    assert any(flag["code"] == "default_threshold" for flag in report["flags"])


def losses(workdir):
    return [(r["step"], r["train/loss"]) for r in read_rows(workdir / "metrics.jsonl") if "train/loss" in r]


def final_state(workdir):
    """The last checkpoint as bytes, as the checksums of its arrays' files see it."""
    with Checkpoints(workdir / "checkpoints") as saved:
        step = saved.latest
        with warnings.catch_warnings():  # Orbax warns that no shardings are given; here one device wrote them
            warnings.simplefilter("ignore", UserWarning)
            state = saved._manager.load(step)
    return step, {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(state)}


def command(dataset, workdir, *options, config="phq"):
    """A shrunk shipped config on the command line."""
    flags = {
        "data.folder": dataset,
        "data.batch_size": 16,
        "data.buckets": 1,
        "model.width": 16,
        "model.latents": 4,
        "model.layers": 1,
        "model.patch": 10,
        "total": "3 epochs",
        "evaluation.bootstrap": 50,
        "compile_cache": "",  # the suite's own, from the environment
    }
    given = [f"--config.{k}={v}" for k, v in flags.items()]
    return [sys.executable, "launch.py", f"--config=configs/{config}.py", f"--workdir={workdir}", *given, *options]


def environment(devices=1, **more):
    return {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", **more}


def launch(*arguments, **options):
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


@pytest.mark.slow
def test_killed_and_rerun_ends_bit_identical(dataset, tmp_path):
    options = ["--config.selection.every=3 steps", "--config.log.every=1 steps", "--config.evaluation.baselines=False"]
    whole = launch(*command(dataset, tmp_path / "whole", *options), env=environment())
    assert whole.returncode == 0, whole.stderr
    broken = command(dataset, tmp_path / "broken", *options)
    wait_for = int(np.random.default_rng().integers(2, 8))  # a random step
    with subprocess.Popen(broken, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith(f"step {wait_for:>6}/"):
                process.send_signal(signal.SIGKILL)
                break
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL, f"was not killed at step {wait_for}"
    resumed = launch(*broken, env=environment())
    assert resumed.returncode == 0, resumed.stderr
    (step, one), (other_step, other) = final_state(tmp_path / "whole"), final_state(tmp_path / "broken")
    assert step == other_step and one.keys() == other.keys()
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), f"{name} differs after a kill at step {wait_for}"
    for name in ("predictions.csv",):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


@pytest.mark.slow
def test_sigterm_saves_and_the_next_command_goes_on(dataset, tmp_path):
    options = ["--config.log.every=1 steps", "--config.total=200 epochs", "--config.selection.every=100 epochs"]
    arguments = command(dataset, tmp_path / "run", *options)
    with subprocess.Popen(arguments, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        seen = ""
        for line in process.stderr:
            seen += line
            if line.startswith("step      5/"):
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 143, seen
    assert "run the same command again" in seen.splitlines()[-1]
    with Checkpoints(tmp_path / "run" / "checkpoints") as saved:
        step = saved.latest
        assert step >= 5
    with subprocess.Popen(arguments, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        resumed = next(line for line in process.stderr if "going on" in line)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert f"going on from step {step} of" in resumed


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(dataset, tmp_path):
    options = ["--config.log.every=1 steps", "--config.evaluation.baselines=False"]
    single = launch(*command(dataset, tmp_path / "one", *options), env=environment())
    assert single.returncode == 0, single.stderr
    port = free_port()
    both = [
        subprocess.Popen(
            command(dataset, tmp_path / "two", *options, "--config.distributed=True"),
            cwd=ROOT,
            env=environment(JAX_COORDINATOR_ADDRESS=f"localhost:{port}", JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(i)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [p.communicate(timeout=300)[0] for p in both]
    finally:
        for process in both:
            process.kill()
    assert [p.returncode for p in both] == [0, 0], outputs
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [s for s, _ in one] == [s for s, _ in two] and len(one) > 5
    np.testing.assert_allclose([v for _, v in two], [v for _, v in one], atol=1e-5, rtol=0)
    a, b = (read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two"))
    np.testing.assert_allclose(b.y_prob, a.y_prob, atol=1e-4)


def test_nan_stops_with_the_step_and_what(dataset, tmp_path):
    config = small(dataset)
    config.optimizer.learning_rate = 1e30
    config.optimizer.clip = 0.0
    with pytest.raises(loop.TrainingDiverged, match=r"not finite at step \d+: .*loss.*learning_rate"):
        run.run(config, dataset, tmp_path / "diverged")
    assert not list((tmp_path / "diverged" / "checkpoints").glob("[0-9]*"))


def test_early_stopping_and_the_first_best(dataset, tmp_path):
    config = small(dataset)
    config.total = "50 epochs"
    config.optimizer.learning_rate = 0.0  # never better than the first evaluation
    config.selection.patience = 2
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "stopped")
    evaluated = [r["step"] for r in read_rows(tmp_path / "stopped" / "metrics.jsonl") if "validation/loss" in r]
    assert len(evaluated) == 3
    with Checkpoints(tmp_path / "stopped" / "checkpoints") as saved:
        assert saved.best == evaluated[0]


def test_ema_and_init_from(finished, dataset, tmp_path):
    config = small(dataset)
    config.init_from = str(finished[0] / "checkpoints")
    config.optimizer.learning_rate = 0.0
    config.total = "1 epochs"
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "continued")
    a, b = (read_csv(w / "predictions.csv") for w in (finished[0], tmp_path / "continued"))
    np.testing.assert_allclose(a.y_prob, b.y_prob, atol=1e-6)
    averaged = small(dataset)
    averaged.optimizer.ema = 0.9
    made = loop.train(
        loop.Run(averaged, open_corpus(dataset), splits.by_name(open_corpus(dataset)), tmp_path / "averaged")
    )
    assert not np.array_equal(made.y_prob, a.y_prob) and np.all(np.isfinite(made.y_prob[made.task == "phq_screen"]))


def test_one_modality_alone(dataset, tmp_path):
    config = small(dataset)
    config.data.modalities = ("audio",)
    config.total = "1 epochs"
    config.evaluation.baselines = False
    run.run(config, dataset, tmp_path / "audio")
    with pytest.raises(InputError, match="audio, text"):
        config.data.modalities = ("video",)
        run.run(config, dataset, tmp_path / "video")


def test_compilations_are_few(dataset, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(loop, "build", lambda *a, **k: made.append(programs.build(*a, **k)) or made[-1])
    config, corpus = small(dataset), open_corpus(dataset)
    config.data.buckets = 2
    loop.train(loop.Run(config, corpus, splits.by_name(corpus), tmp_path / "counted"))
    assert made[0].update._cache_size() == made[0].predict._cache_size() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "unknown verb 'fit': choose one of: build, check, evaluate, train"),
        (["--config=configs/phq.py", "--config.optimizer.lr=1"], "optimizer.learning_rate"),
        (["--config=configs/phq.py:daic"], "demo, released, transcripts"),
        (["--config=configs/none.py"], "configs/none.py"),
        (["--workdir=x"], "no config"),
        (["--config=configs/phq.py", "extra"], "--name=value"),
        (["--config=configs/phq.py", "--config.model.name=cnn"], "mental_perceiver"),
        (["--config=configs/phq.py", "--config.data.batch_size=7"], "divisible"),
        (["--config=configs/phq.py", "--config.data.placement=disk"], "device"),
        (["--config=configs/phq.py", "--config.total=soon"], "epochs"),
        (["--config=configs/phq.py:released"], "--source"),
    ],
)
def test_bad_command_lines_get_one_error(arguments, message, dataset, tmp_path):
    config = (
        [f"--workdir={tmp_path / 'w'}", "--config.compile_cache="] if "--config=configs/phq.py" in arguments else []
    )
    if not any("released" in a for a in arguments) and config:
        config.append(f"--config.data.folder={dataset}")
    result = launch(sys.executable, "launch.py", *arguments, *config, env=environment(2))
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert "Traceback" not in result.stderr


def test_version_says_what_it_is_for():
    result = launch(sys.executable, "launch.py", "--version", env=environment())
    assert result.returncode == 0 and "not a diagnostic device" in result.stdout


def test_start_is_quick():
    began = time.monotonic()
    launch(sys.executable, "launch.py", "--version", env=environment())
    assert time.monotonic() - began < 5

"""Whole runs by the command line, as a user starts them: killed, stopped, on two processes, mistyped."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from mmpsy_jax.__main__ import MALLOC
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.training import mesh
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.logger import RunLogger
from tests.runs import ROOT, command, environment, final_state, free_port, in_process, in_turn, launch, losses

OPTIONS = ("--config.log.every=1 steps", "--config.data.packs=8")
OFTEN = (*OPTIONS, "--config.selection.every=3 steps")
SEEDS = ("--config.seeds=2", "--config.mesh.replica=2", "--config.replicas.layout=vmap", "--config.total=32 epochs")
LONGER = ("--config.total=100 epochs", "--config.selection.every=50 epochs")  # time for a signal to come


def options(dataset, workdir, *more):
    """As `in_process` takes them."""
    return command(dataset, workdir, *OPTIONS, *more)[2:]


def alike(workdir, other, **tolerance):
    """Two workdirs whose predictions are equal but for the order of sums."""
    a, b = (read_csv(one / "predictions.csv") for one in (workdir, other))
    for name in ("y_prob", "y_pred"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-5, **tolerance)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Environment of processes with one device and a compile cache of their own, of which they tell."""
    folder = str(tmp_path_factory.mktemp("cache"))
    return environment(JAX_LOG_COMPILES="1", JAX_COMPILATION_CACHE_DIR=folder)


@pytest.fixture(scope="module")
def whole(dataset, cache, tmp_path_factory):
    """A run by one process with one device that nobody interrupts."""
    workdir = tmp_path_factory.mktemp("whole")
    done = launch(*in_turn(command(dataset, workdir, *OFTEN)[2:]), env=cache)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
def test_killed_and_rerun_ends_bit_identical_with_programs_of_the_compile_cache(whole, cache, dataset, tmp_path):
    broken = command(dataset, tmp_path / "broken", *OFTEN)
    wait_for, told = int(np.random.default_rng().integers(2, 8)), []  # a random step
    with subprocess.Popen(broken, cwd=ROOT, env=cache, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            told.append(line)
            if line.startswith(f"step {wait_for:>6}/"):
                process.send_signal(signal.SIGKILL)
                break
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL, f"was not killed at step {wait_for}"
    resumed = launch(*in_turn(broken[2:]), env=cache)
    assert resumed.returncode == 0, resumed.stderr
    (step, one), (other_step, other) = final_state(whole), final_state(tmp_path / "broken")
    assert step == other_step and one.keys() == other.keys()
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), f"{name} differs after a kill at step {wait_for}"
    assert (whole / "predictions.csv").read_bytes() == (tmp_path / "broken" / "predictions.csv").read_bytes()
    assert losses(whole) == losses(tmp_path / "broken")
    # Processes that did the same before find every program of another one.
    of_cache = [line for line in "".join(told).lower().splitlines() if "compilation cache" in line]
    assert not [line for line in of_cache if "compilation cache miss" in line]
    of_cache += [line for line in resumed.stderr.lower().splitlines() if "compilation cache hit" in line]
    for name in ("jit_gather", "jit_init", "jit__lambda", "jit_predict_with_sums"):
        assert any(f"compilation cache hit for '{name}'" in line for line in of_cache), (name, of_cache)


@pytest.mark.slow
def test_sigterm_saves_and_the_next_command_goes_on(dataset, tmp_path, monkeypatch, capfd):
    """In process; that a process ends with that status is seen of the two below."""
    message = RunLogger.message

    def terminate_at(text):
        def say(logger, line):
            message(logger, line)
            if text in line:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(RunLogger, "message", say)

    arguments = options(dataset, tmp_path / "run", "--config.total=200 epochs", "--config.selection.every=99 epochs")
    terminate_at("step      5/")
    assert in_process(*arguments) == 143
    assert "run the same command again" in capfd.readouterr().err.splitlines()[-1]
    with Checkpoints(tmp_path / "run" / "checkpoints") as saved:
        step = saved.latest
        assert step >= 5
    terminate_at(f"step {step + 2:>6}/")
    assert in_process(*arguments) == 143
    assert f"going on from step {step} of" in capfd.readouterr().err


def start_two(*commands):
    """Two processes of which each runs the same commands in turn."""
    port = free_port()
    return [
        subprocess.Popen(
            in_turn(*([*one, "--config.distributed=True"] for one in commands)),
            cwd=ROOT,
            env=environment(JAX_COORDINATOR_ADDRESS=f"localhost:{port}", JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(i)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def terminate_second(processes, text, after=""):
    """SIGTERM to the second process when the first one says `text`, having said `after`.

    Returns:
      what both printed afterwards, and exit statuses.
    """
    for awaited in (after, text):
        for line in processes[0].stdout:  # the first one tells how it goes
            if awaited in line:
                break
    processes[1].send_signal(signal.SIGTERM)
    try:
        outputs = [p.communicate(timeout=1200)[0] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [p.returncode for p in processes]


def assert_loss_curve(workdir, whole):
    one, other = losses(whole), losses(workdir)
    assert [s for s, _ in one] == [s for s, _ in other] and len(one) > 5
    np.testing.assert_allclose([v for _, v in other], [v for _, v in one], atol=1e-5, rtol=0)
    alike(whole, workdir, atol=1e-4)


@pytest.mark.slow
def test_eight_divided_devices_have_the_loss_curve_of_one(whole, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(mesh, "FSDP_ELEMENTS", 64)  # else nothing of so small a network were divided
    arguments = command(dataset, tmp_path / "eight", *OFTEN, "--config.mesh.fsdp=True")
    assert in_process(*arguments[2:]) == 0
    assert_loss_curve(tmp_path / "eight", whole)


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_and_sigterm_to_one_of_them_saves_all(whole, dataset, tmp_path):
    """The same two processes train a run to its end, then one that eight devices of this process go on with."""
    run, never_stopped = (options(dataset, tmp_path / name, *LONGER) for name in ("run", "never_stopped"))
    processes = start_two(options(dataset, tmp_path / "two", "--config.selection.every=3 steps"), run)
    outputs, codes = terminate_second(processes, "step      4/400")
    assert codes == [143, 143], outputs
    assert_loss_curve(tmp_path / "two", whole)
    assert sorted((tmp_path / "run").rglob("checkpoints/[0-9]*/sha256.json"))
    assert not list((tmp_path / "run").rglob("predictions.csv"))
    assert in_process(*run) == 0 and in_process(*never_stopped) == 0
    alike(tmp_path / "never_stopped", tmp_path / "run", atol=1e-4)


@pytest.mark.slow
def test_two_processes_train_replicas_and_sigterm_to_one_of_them_saves_all(dataset, tmp_path):
    """As above; jax.distributed tells a process of its first SIGTERM alone, so that these are other two."""
    whole, replicas = (options(dataset, tmp_path / name, *SEEDS) for name in ("whole", "replicas"))
    outputs, codes = terminate_second(start_two(whole, replicas), "2 replicas, vmap: step", "report: ")
    assert codes == [143, 143], outputs
    assert (tmp_path / "whole" / "report.html").exists() and not (tmp_path / "replicas" / "predictions.csv").exists()
    assert in_process(*replicas) == 0
    alike(tmp_path / "whole", tmp_path / "replicas", atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit"],
            "ablate, adapt, audit, build, check, curve, discrepancy, embed, evaluate, explain, explore, export, "
            "fields, plan, predict, report, synthesize, train",
        ),
        (["build", "--dataset=hotlin/demo"], "daily_mood/table_by_time, hotline/calls, hotline/demo, interviews/NAME"),
        (["--config=configs/phq.py", "--config.optimizer.lr=1"], "optimizer.learning_rate"),
        (["--config=configs/phq.py:daic"], "demo, released, transcripts"),
        (["--config=configs/none.py"], "configs/none.py"),
        (["--workdir=x"], "no config"),
        (["--config=configs/phq.py", "--seeds=1,2", "--config.seed=3"], "--seeds says all"),
        (["--config=configs/phq.py", "--seeds=1,two"], "give different whole numbers"),
        (["--config=configs/phq.py", "extra"], "--name=value"),
        (["--config=configs/phq.py", "--config.model.name=cnn"], "mental_perceiver"),
        (["--config=configs/phq.py", "--config.data.batch_size=7"], "divisible"),
        (["--config=configs/phq.py", "--config.data.placement=disk"], "device"),
        (["--config=configs/phq.py", "--config.total=soon"], "epochs"),
        (["--config=configs/phq.py:released"], "--source"),
        (["ablate", "--config=configs/phq.py", "--minutes=one"], "give numbers"),
        (["evaluate", "--predictions=none.csv", "--subgroups=none.csv"], "none.csv: cannot be read (No such file"),
    ],
)
def test_bad_command_lines_get_one_error(arguments, message, dataset, tmp_path, capfd):
    config = (
        [f"--workdir={tmp_path / 'w'}", "--config.compile_cache="] if "--config=configs/phq.py" in arguments else []
    )
    if not any("released" in a for a in arguments) and config:
        config.append(f"--config.data.folder={dataset}")
    assert in_process(*arguments, *config) == 2
    shown = capfd.readouterr().err
    lines = shown.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert "Traceback" not in shown


def test_a_process_that_is_refused_ends_with_status_2_and_one_line():
    result = launch(sys.executable, "launch.py", "--config=configs/phq.py", "extra", env=environment())
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")


def test_version_says_what_it_is_for(capsys):
    assert in_process("--version") == 0 and "not a diagnostic device" in capsys.readouterr().out


def imported(*program):
    """Names of the packages that a program imports."""
    result = launch(sys.executable, "-X", "importtime", *program, env=environment())
    assert result.returncode == 0, result.stderr
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_only_tells_imports_nothing_heavy(option):
    packages = imported("launch.py", option)
    assert "mmpsy_jax" in packages
    assert not packages & {"absl", "jax", "numpy", "sklearn", "matplotlib", "tensorflow_datasets"}


def test_what_only_evaluation_needs_is_not_imported_before_the_first_step():
    packages = imported("-c", "import mmpsy_jax.training.run")
    assert {"jax", "optax"} <= packages and not packages & {"sklearn", "pandas", "matplotlib", "jinja2"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone reads GLIBC_TUNABLES")
@pytest.mark.parametrize(("given", "kept"), [(None, MALLOC), ("", ""), ("glibc.x=1", "glibc.x=1")])
def test_malloc_is_tuned_unless_the_user_has_decided(given, kept):
    there = environment()
    there.pop("GLIBC_TUNABLES", None)
    if given is not None:
        there["GLIBC_TUNABLES"] = given
    shown = [sys.executable, "-c", "import os; print('in', os.environ['GLIBC_TUNABLES'])"]
    code = f"import launch; launch.tune_malloc({shown!r}); import os; print('in', os.environ['GLIBC_TUNABLES'])"
    result = launch(sys.executable, "-c", code, env=there)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"in {kept}".strip()


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("cv.folds", "--config.cv.folds=0\n      folds of participants over all splits"),
        ("fusion_width", "--config.model.fusion_width=128   (model lf_dnn)"),
        ("weighting", "--config.objective.weighting=fixed\n"),
    ],
)
def test_fields_are_listed_with_default_rule_and_meaning(pattern, shown, capsys):
    assert in_process("fields", pattern) == 0
    assert shown in capsys.readouterr().out


def test_a_field_that_is_not_there_is_answered_with_the_nearest(capsys):
    assert in_process("fields", "lerning_rate") == 2
    assert "did you mean 'learning_rate'?" in capsys.readouterr().err


def test_a_config_is_found_by_its_name(capsys):
    assert in_process("train", "--config=phq:nowhere") == 2
    assert "choose one of: demo, released, transcripts" in capsys.readouterr().err
    assert in_process("train", "--config=multitsk") == 2
    assert "unknown config 'multitsk' (did you mean 'multitask'?)" in capsys.readouterr().err
    assert in_process("train", "--help") == 0
    out = capsys.readouterr().out
    assert '"demo", "released" or "transcripts"' in out and max(map(len, out.splitlines())) <= 118


def test_a_verb_without_arguments_asks_for_them(capsys):
    for verb in ("build", "check", "train"):
        assert in_process(verb) == 2
        said = capsys.readouterr()
        assert "--source" in said.err or "--config" in said.out

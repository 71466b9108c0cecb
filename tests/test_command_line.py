"""Whole runs by the command line, as a user starts them: killed, stopped, on two processes, mistyped."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.training.checkpoint import Checkpoints
from tests.runs import ROOT, command, environment, final_state, free_port, in_process, launch, losses

OPTIONS = ("--config.log.every=1 steps", "--config.evaluation.baselines=False", "--config.data.packs=8")
OFTEN = (*OPTIONS, "--config.selection.every=3 steps")


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """A run by one process with one device that nobody interrupts."""
    workdir = tmp_path_factory.mktemp("whole")
    done = launch(*command(dataset, workdir, *OFTEN), env=environment())
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
def test_killed_and_rerun_ends_bit_identical(whole, dataset, tmp_path):
    broken = command(dataset, tmp_path / "broken", *OFTEN)
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
    (step, one), (other_step, other) = final_state(whole), final_state(tmp_path / "broken")
    assert step == other_step and one.keys() == other.keys()
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), f"{name} differs after a kill at step {wait_for}"
    assert (whole / "predictions.csv").read_bytes() == (tmp_path / "broken" / "predictions.csv").read_bytes()
    assert losses(whole) == losses(tmp_path / "broken")


@pytest.mark.slow
def test_sigterm_saves_and_the_next_command_goes_on(dataset, tmp_path):
    options = ["--config.log.every=1 steps", "--config.total=20000 epochs", "--config.selection.every=9999 epochs"]
    arguments = command(dataset, tmp_path / "run", *options, model="lf_dnn")
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


def start_two(*arguments):
    """The same command as two processes of one run."""
    port = free_port()
    return [
        subprocess.Popen(
            [*arguments, "--config.distributed=True"],
            cwd=ROOT,
            env=environment(JAX_COORDINATOR_ADDRESS=f"localhost:{port}", JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(i)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def finish(processes):
    """What they printed, after all have ended; their exit statuses."""
    try:
        outputs = [p.communicate(timeout=1200)[0] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [p.returncode for p in processes]


@pytest.mark.slow
def test_two_processes_and_eight_divided_devices_have_the_loss_curve_of_one(whole, dataset, tmp_path):
    outputs, codes = finish(start_two(*command(dataset, tmp_path / "two", *OFTEN)))
    assert codes == [0, 0], outputs
    eight = launch(*command(dataset, tmp_path / "eight", *OFTEN, "--config.mesh.fsdp=True"), env=environment(8))
    assert eight.returncode == 0, eight.stderr
    one, a = losses(whole), read_csv(whole / "predictions.csv")
    for name in ("two", "eight"):
        other, b = losses(tmp_path / name), read_csv(tmp_path / name / "predictions.csv")
        assert [s for s, _ in one] == [s for s, _ in other] and len(one) > 5
        np.testing.assert_allclose([v for _, v in other], [v for _, v in one], atol=1e-5, rtol=0)
        np.testing.assert_allclose(b.y_prob, a.y_prob, atol=1e-4)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_saves_all_and_one_process_goes_on(dataset, tmp_path):
    options = ["--config.evaluation.baselines=False", "--config.data.packs=2", "--config.log.every=1 steps"]
    options += ["--config.total=12 epochs"]
    whole = launch(*command(dataset, tmp_path / "whole", *options), env=environment())
    assert whole.returncode == 0, whole.stderr
    processes = start_two(*command(dataset, tmp_path / "run", *options))
    for line in processes[0].stdout:  # the first one tells how it goes; the second one is told to stop
        if "step      4/" in line:
            processes[1].send_signal(signal.SIGTERM)
            break
    outputs, codes = finish(processes)
    assert codes == [143, 143], outputs
    saved = sorted((tmp_path / "run").rglob("checkpoints/[0-9]*/sha256.json"))
    assert saved and not list((tmp_path / "run").rglob("predictions.csv"))
    # One process with one device: the same run on another topology.
    resumed = launch(*command(dataset, tmp_path / "run", *options), env=environment())
    assert resumed.returncode == 0, resumed.stderr
    a, b = (read_csv(tmp_path / name / "predictions.csv") for name in ("whole", "run"))
    np.testing.assert_allclose(b.y_prob, a.y_prob, atol=1e-4)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_saves_replicas_that_two_devices_go_on_with(dataset, tmp_path):
    options = ["--config.evaluation.baselines=False", "--config.seeds=2", "--config.mesh.replica=2"]
    options += ["--config.total=16 epochs", "--config.optimizer.learning_rate=1e-3"]
    whole = launch(*command(dataset, tmp_path / "whole", *options), env=environment(2))
    assert whole.returncode == 0, whole.stderr
    processes = start_two(*command(dataset, tmp_path / "run", *options))
    for line in processes[0].stdout:
        if "2 replicas, vmap: step" in line:
            processes[1].send_signal(signal.SIGTERM)
            break
    outputs, codes = finish(processes)
    assert codes == [143, 143], outputs
    assert not (tmp_path / "run" / "predictions.csv").exists()
    resumed = launch(*command(dataset, tmp_path / "run", *options), env=environment(2))
    assert resumed.returncode == 0, resumed.stderr
    a, b = (read_csv(tmp_path / name / "predictions.csv") for name in ("whole", "run"))
    np.testing.assert_allclose(b.y_prob, a.y_prob, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit"],
            "ablate, adapt, build, check, discrepancy, embed, evaluate, explain, export, fields, predict, report, "
            "synthesize, train",
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
@pytest.mark.parametrize(("given", "kept"), [(None, "glibc.malloc.hugetlb=1"), ("", ""), ("glibc.x=1", "glibc.x=1")])
def test_huge_pages_are_asked_for_unless_the_user_has_decided(given, kept):
    there = environment()
    there.pop("GLIBC_TUNABLES", None)
    if given is not None:
        there["GLIBC_TUNABLES"] = given
    shown = [sys.executable, "-c", "import os; print('in', os.environ['GLIBC_TUNABLES'])"]
    code = f"import launch; launch.use_huge_pages({shown!r}); import os; print('in', os.environ['GLIBC_TUNABLES'])"
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

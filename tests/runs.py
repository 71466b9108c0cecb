"""Shipped configs shrunk and started, in this process or by the command line; used by the tests of whole runs."""

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
from absl.testing import flagsaver

import launch as command_line
from mmpsy_jax.training import run_files
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.config import choose_model
from mmpsy_jax.training.logger import read_rows
from tests import corpora

ROOT = Path(__file__).parent.parent


def small(dataset, name="phq"):
    return corpora.shrink(importlib.import_module(f"configs.{name}").get_config(), dataset)


def bind_again(workdir, **changes):
    """Writes `model.json` anew, with the digests of the files as a test has changed them."""
    card = json.loads((workdir / "model.json").read_text())
    card = {name: value for name, value in card.items() if name not in ("sha256", "files")} | changes
    names = (run_files.WEIGHTS, run_files.EMBEDDING, run_files.CONFIG, run_files.PREDICTIONS)
    found = [path for path in workdir.rglob("*") if path.name in names]
    run_files.write_card(workdir, card, [str(path.relative_to(workdir)) for path in found])


LEAN = ("text_hidden", "text_out", "audio_hidden", "vision_hidden", "fusion_width")


def lean(dataset, name="phq", kinds=("regression",)):
    """Tasks of some kinds and a network of a few dense layers, which compiles in a fifth of the time of `small`."""
    config = small(dataset, name)
    config.tasks = [task for task in config.tasks if task["kind"] in kinds]
    choose_model(config, "lf_dnn", **dict.fromkeys(LEAN, 8))
    config.data.parts = 1
    config.log.tensorboard = False
    return config


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


def command(dataset, workdir, *options):
    """A shipped config on the command line, of one task and of a network that compiles in a fifth of the time."""
    flags = {
        "data.folder": dataset,
        "data.batch_size": 16,
        "data.parts": 1,
        "cv.folds": 0,
        "total": "3 epochs",
        "evaluation.bootstrap": 50,
        "evaluation.baselines": False,
        "compile_cache": "",  # the suite's own, from the environment
        "model.name": "lf_dnn",
        **{f"model.{size}": 8 for size in LEAN},
    }
    fields = [f"--config.{k}={v}" for k, v in flags.items()]
    return [
        sys.executable,
        "launch.py",
        "--config=configs/interviews.py:phq9<=27",
        f"--workdir={workdir}",
        *fields,
        *options,
    ]


def environment(devices=1, **more):
    """Of a process with so many devices; the other flags of XLA are those of the suite."""
    count = re.sub(r"(device_count)=\d+", rf"\1={devices}", os.environ["XLA_FLAGS"])
    return {**os.environ, "XLA_FLAGS": count, **more}


def launch(*arguments, **options):
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=1200, **options)


def in_process(*arguments):
    """The exit status of a command line that this process runs; absl's flags are as they were before."""
    importlib.import_module("mmpsy_jax.training.run")  # flags that its imports define stay
    with flagsaver.flagsaver():
        try:
            return command_line.main(list(map(str, arguments)))
        except SystemExit as ended:
            return ended.code


IN_TURN = """
import json, sys
from matplotlib.figure import Figure
from tests.pictures import leave_empty
from tests.runs import in_process
Figure.savefig = leave_empty
sys.exit(max(in_process(*arguments) for arguments in json.loads(sys.argv[1])))
"""


def in_turn(*commands):
    """A process that runs command lines in turn, since starting one takes seconds; its status is the greatest.

    It draws no pictures.
    """
    return [sys.executable, "-c", IN_TURN, json.dumps(commands)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]

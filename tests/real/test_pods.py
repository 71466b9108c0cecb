"""A config compiled by the TPU's own compiler for eight chips that are not there, on CPUs alone."""

import importlib.util

import pytest

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install libtpu"
    ),
]


def test_a_config_for_eight_chips(launch):
    done = launch("plan", "--config=configs/smoke.py", "--topology=v5e:2x4", "--config.data.batch_size=16")
    (update,) = (line for line in done.stdout.splitlines() if line.startswith("update ") and "GFLOP" not in line)
    assert "1 all-reduce" in update and "all-to-all" not in done.stdout and "nothing was run" in done.stdout
    assert "TPU v5 lite" in done.stdout


def test_chips_that_nobody_makes(launch):
    done = launch("plan", "--config=configs/smoke.py", "--topology=v5e:3x5x7", status=2)
    assert "libtpu knows no such chips" in done.stderr

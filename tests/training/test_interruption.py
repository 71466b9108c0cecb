"""SIGTERM and SIGINT mean the same; one process trains in a workdir."""

import os
import signal
import subprocess
import sys

import pytest

from mmpsy_jax.io import InputError
from mmpsy_jax.training import interruption, lock
from tests.runs import ROOT


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_kept_until_somebody_asks(number, status):
    before = signal.getsignal(number)
    interrupted = pytest.raises(interruption.Interrupted, match="saved step 3; run the same command again")
    with interrupted as caught, interruption.deferred() as stop:
        assert not interruption.must_stop(stop)
        os.kill(os.getpid(), number)
        assert interruption.must_stop(stop)
        raise stop.interrupted("saved step 3")
    assert caught.value.status == status
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_that_nobody_asked_for_is_not_swallowed(number):
    with pytest.raises(interruption.Interrupted, match=signal.Signals(number).name), interruption.deferred():
        os.kill(os.getpid(), number)


ENDING = """
import os, sys
from mmpsy_jax.training import interruption
with interruption.ending():
    os.kill(os.getpid(), int(sys.argv[1]))
    print("still here")
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_elsewhere_a_signal_ends_the_process_with_one_line(number, status):
    command = [sys.executable, "-c", ENDING, str(int(number))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == status and not ended.stdout
    assert "run the same command again" in ended.stderr and "Traceback" not in ended.stderr


HOLDING = """
import sys, time
from pathlib import Path
from mmpsy_jax.training import lock
with lock.exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_workdir_has_one_training_and_a_kill_gives_it_free(tmp_path):
    workdir = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(workdir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process trains here"), lock.exclusive(workdir):
            pass
        holder.kill()
        holder.wait()
    assert (workdir / lock.FILE).exists()
    with (
        lock.exclusive(workdir),
        pytest.raises(InputError, match="another process trains here"),
        lock.exclusive(workdir),
    ):
        pass
    assert not list(workdir.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), lock.exclusive(tmp_path / "file" / "run"):
        pass

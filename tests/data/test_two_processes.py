"""Two real processes hold the two halves of the batches that one process makes."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmpsy_jax.data.loader import make_loader

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_hold_the_halves_of_every_batch(corpus, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    out = [tmp_path / f"{process}.npz" for process in range(2)]
    started = [
        subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("one_of_two.py"),
                str(corpus.path),
                str(port),
                str(process),
                str(out[process]),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    with contextlib.ExitStack() as stack:
        for process in started:
            stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
        for process in started:
            printed, _ = process.communicate(timeout=120)
            assert process.returncode == 0, printed
    with make_loader(
        corpus, np.arange(len(corpus)), batch_size=8, packs=4, seed=7, epochs=2, placement="host", parts=5
    ) as loader:
        whole = list(loader)
    with np.load(out[0], allow_pickle=False) as first, np.load(out[1], allow_pickle=False) as second:
        assert len(first.files) == 3 * len(whole) * 7
        for key in first.files:
            _, number, name = key.split("/")
            both = np.concatenate([first[key], second[key]])
            # A CPU gathers float16 as float32 where windows lie on the device.
            both, same = (
                x.astype(np.float32) if x.dtype == np.float16 else x for x in (both, whole[int(number)][name])
            )
            assert both.dtype == same.dtype and both.tobytes() == same.tobytes(), key

"""Where the numbers of a run go: a line on the terminal, `metrics.jsonl`, and TensorBoard files (no TensorFlow)."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmpsy_jax.io import InputError, read_rows, write_atomically


def say(text: str) -> None:
    """A line on the terminal, from process 0."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def _rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows that a run has written up to a step; none is a reason to stop, whatever became of them."""
    if not path.exists():
        return []
    try:
        return [row for row in read_rows(path) if row["step"] <= step]
    except InputError as error:
        say(f"{error}; it is begun anew")
        return []


class RunLogger:
    """Writes scalars of process 0; other processes keep silent.

    After a resume, rows of steps that the restored checkpoint does not know are removed first, so `metrics.jsonl` reads
    as if the run had never been interrupted.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total: int,
        tensorboard: bool,
        title: str = "",
        logged: int | None = None,
    ):
        """Opens the files of `workdir`.

        Args:
          start_step: of the restored checkpoint, or 0.
          total: steps of the training.
          tensorboard: whether to write its files, too.
          title: of every line on the terminal.
          logged: the last step whose rows stay; default: `start_step`.
        """
        logged = start_step if logged is None else logged
        self.writes, self.total, self.title = jax.process_index() == 0, total, title
        self.start = self.last = (start_step, time.monotonic())
        self._file = self._board = None
        if not self.writes:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in _rows_until(path, logged)))
        self._file = path.open("a", buffering=1)
        if tensorboard:
            self._board = _Board(workdir / "tensorboard", logged + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One row; non-finite values are written as null, since JSON has no NaN, and left out of TensorBoard."""
        if not self.writes:
            return
        finite = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        if self._board:
            self._board.add(step, {name: value for name, value in finite.items() if value is not None})

    def counts(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """A row of counts; none where there are none."""
        if self.writes and values:
            rounded = {name: np.round(value, 6).tolist() for name, value in values.items()}
            self._file.write(json.dumps({"step": step, **rounded}) + "\n")

    def progress(self, step: int, loss: float, examples_per_step: int) -> dict[str, float]:
        """Prints the progress line; returns examples/s since the last one."""
        now = time.monotonic()
        rate = (step - self.last[0]) / max(now - self.last[1], 1e-9)
        overall = (step - self.start[0]) / max(now - self.start[1], 1e-9)
        self.last = (step, now)
        left = (self.total - step) / max(overall, 1e-9) / 60
        self.message(
            f"step {step:>6}/{self.total}  loss {loss:.4f}  {rate * examples_per_step:7.1f} participants/s  "
            f"at most {left:.1f} min left"
        )
        return {"participants_per_second": rate * examples_per_step}

    def message(self, text: str) -> None:
        """A line on the terminal."""
        if self.writes:
            print(f"{self.title}{text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Flushes and closes the files."""
        with contextlib.ExitStack() as stack:
            if self._board:
                stack.callback(self._board.close)
            if self._file:
                self._file.close()


class _Board:
    """Scalars in a file of TensorBoard, written by the calling thread, so that a full disk is an error of its own."""

    def __init__(self, folder: Path, purge_step: int):
        """Begins a file; rows of earlier files from `purge_step` on are hidden."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self._writer, self._flushed = EventsWriter(str(folder / "events")), time.monotonic()
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of a step; they are on disk at most ten seconds later."""
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._write(step=step, summary=scalar(name, value))
        if time.monotonic() - self._flushed > 10:
            self._writer.flush()
            self._flushed = time.monotonic()

    def _write(self, **event: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), **event))

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

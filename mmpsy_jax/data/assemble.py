"""From planned rows to a batch in host memory: out of arrays that hold every window, or straight from the records.

Both give equal bytes. Objects of this file travel to Grain's worker processes: numpy only, no jax, no TFDS.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from mmpsy_jax.data.plan import PlannedBatch, epoch_plan
from mmpsy_jax.data.reader import RecordReader

Batch = dict[str, Any]
CACHED_EPOCHS = 4


@dataclasses.dataclass(frozen=True)
class Columns:
    """What a batch takes from the index of the corpus rather than from the records.

    Attributes:
      labels: score columns [N], NaN where missing.
      n_windows: [N], after the limit.
    """

    labels: dict[str, Float32[np.ndarray, " n"]]
    n_windows: Int32[np.ndarray, " n"]

    def of(self, members: Int32[np.ndarray, " b"]) -> Batch:
        """`labels`, `valid` and `index` of the rows; -1 is a padding row."""
        valid = members >= 0
        labels = {name: np.where(valid, values[members], np.float32(np.nan)) for name, values in self.labels.items()}
        return {"labels": labels, "valid": valid, "index": members.astype(np.int32)}


class Plans:
    """The planned batch at any position of an endless or finite run of epochs.

    Args:
      n_windows: [N], after the limit.
      options: further arguments of `plan.epoch_plan` but the epoch.
    """

    def __init__(self, n_windows: Int[np.ndarray, " n"], **options: Any):
        self._arguments = {"n_windows": n_windows, **options}
        self._setup()
        self.per_epoch = len(self.epoch(0))

    def epoch(self, epoch: int) -> list[PlannedBatch]:
        """All batches of one epoch."""
        return self._cached(epoch)

    def __getitem__(self, position: int) -> PlannedBatch:
        epoch, batch = divmod(position, self.per_epoch)
        return self.epoch(epoch)[batch]

    def _setup(self) -> None:
        # Prefetching looks at the next epoch while this one ends; a few threads may do so at once.
        self._cached = functools.lru_cache(CACHED_EPOCHS)(lambda epoch: epoch_plan(**self._arguments, epoch=epoch))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cached"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._setup()


class WindowArrays:
    """All windows of some participants in ragged arrays, gathered into padded batches by one `take` per modality.

    Attributes:
      values: per modality [windows that it has + 1, *shape]; the last one is zero and stands for every absent window,
        so that gathering needs no mask.
    """

    def __init__(
        self, reader: RecordReader, members: Sequence[int], columns: Columns, modalities: Mapping[str, Any],
        has: Mapping[str, np.ndarray],
    ):  # fmt: skip
        self._columns = columns
        counts = columns.n_windows[members]
        self._total = int(counts.sum())
        self._first = np.full(len(columns.n_windows), self._total, np.int32)
        self._first[members] = np.cumsum(counts) - counts
        self._start = np.zeros(self._total + 1, np.float32)
        self._lengths = {name: np.zeros(self._total + 1, np.int32) for name in modalities}
        # Row of `values` of every window: a modality that somebody lacks takes no memory.
        self._rows, self.values = {}, {}
        for name, modality in modalities.items():
            present = np.repeat(has[name][members], counts)
            rows = np.where(present, np.cumsum(present) - 1, present.sum())
            self._rows[name] = np.append(rows, present.sum()).astype(np.int32)
            self.values[name] = np.zeros((int(present.sum()) + 1, *modality.shape), modality.dtype)
        self._fill(reader, members, has)

    def _fill(self, reader: RecordReader, members: Sequence[int], has: Mapping[str, np.ndarray]) -> None:
        for member in members:
            present = [name for name in self.values if has[name][member]]
            names = ["window_start_s", *present, *(f"{name}_length" for name in present)]
            record = reader.read(int(member), names)
            windows, first = int(self._columns.n_windows[member]), int(self._first[member])
            self._start[first : first + windows] = record["window_start_s"][:windows]
            for name in present:
                lengths = record[f"{name}_length"][:windows]
                row = self._rows[name][first]
                self._lengths[name][first : first + windows] = lengths
                copy_windows(self.values[name][row : row + windows], record[name], lengths)

    def rows(self, members: Int32[np.ndarray, " b"], windows: int) -> tuple[Batch, dict[str, Int32[np.ndarray, "b w"]]]:
        """Everything of a batch but the modalities themselves, and per modality the rows of `values` to gather."""
        at = self._first[members][:, None] + np.arange(windows, dtype=np.int32)
        missing = (members < 0)[:, None] | (np.arange(windows) >= self._columns.n_windows[members][:, None])
        at[missing] = self._total
        batch = self._columns.of(members)
        batch["window_start_s"] = self._start[at]
        for name, lengths in self._lengths.items():
            batch[f"{name}_length"] = lengths[at]
        return batch, {name: rows[at] for name, rows in self._rows.items()}

    def __call__(self, members: Int32[np.ndarray, " b"], windows: int) -> Batch:
        """The batch of the participants at `members` (-1 = padding row)."""
        batch, rows = self.rows(members, windows)
        for name, at in rows.items():
            values = self.values[name]
            batch[name] = np.empty((*at.shape, *values.shape[1:]), values.dtype)
            # mode="clip" because "raise" would gather into a buffer first; every index is in range by construction.
            np.take(values, at.ravel(), axis=0, mode="clip", out=batch[name].reshape(-1, *values.shape[1:]))
        return batch


@dataclasses.dataclass(frozen=True)
class FromRecords:
    """Decodes records directly into a new batch: what streaming does, holding nothing but one batch.

    Attributes:
      reader: of the corpus.
      columns: of the index.
      modalities: by name; each has `shape` and `dtype`.
      has: per modality [N].
    """

    reader: RecordReader
    columns: Columns
    modalities: Mapping[str, Any]
    has: Mapping[str, np.ndarray]

    def __call__(self, members: Int32[np.ndarray, " b"], windows: int) -> Batch:
        """The batch of the participants at `members` (-1 = padding row)."""
        shape = (len(members), windows)
        batch = self.columns.of(members)
        batch["window_start_s"] = np.zeros(shape, np.float32)
        for name, modality in self.modalities.items():
            batch[f"{name}_length"] = np.zeros(shape, np.int32)
            batch[name] = np.zeros((*shape, *modality.shape), modality.dtype)
        for row, member in enumerate(members):
            if member < 0:
                continue
            present = [name for name in self.modalities if self.has[name][member]]
            names = ["window_start_s", *present, *(f"{name}_length" for name in present)]
            record = self.reader.read(int(member), names)
            count = int(self.columns.n_windows[member])
            batch["window_start_s"][row, :count] = record["window_start_s"][:count]
            for name in present:
                lengths = record[f"{name}_length"][:count]
                batch[f"{name}_length"][row, :count] = lengths
                copy_windows(batch[name][row, :count], record[name], lengths)
        return batch


def copy_windows(to: np.ndarray, values: np.ndarray, lengths: Int[np.ndarray, " w"]) -> None:
    """Copies the first `len(to)` windows into zeroed `to`, but for those of length 0, which stay zero."""
    if lengths.all():
        to[...] = values[: len(to)]
    else:
        for window in np.flatnonzero(lengths):
            to[window] = values[window]

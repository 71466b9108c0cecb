"""From planned members to a batch in host memory, straight from the records.

Objects of this file travel to Grain's worker processes: numpy only, no jax, no TFDS.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from mmpsy_jax.data.plan import PlannedBatch, epoch_plan, rows_of_slots
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

    def of(self, members: Int32[np.ndarray, "g b"]) -> Batch:
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


@dataclasses.dataclass(frozen=True)
class FromRecords:
    """Decodes records directly into a new batch: what streaming does, holding nothing but one batch.

    The windows keep the layout of the records; a modality whose time axis is not the first has to be turned afterwards.

    Attributes:
      reader: of the corpus.
      columns: of the index.
      modalities: by name; each has `shape` and `dtype`.
      has: per modality [N].
      slots: S.
    """

    reader: RecordReader
    columns: Columns
    modalities: Mapping[str, Any]
    has: Mapping[str, np.ndarray]
    slots: int

    def __call__(self, members: Int32[np.ndarray, "g b"]) -> Batch:
        """The groups of the participants at `members` (-1 = padding row)."""
        counts = np.where(members >= 0, self.columns.n_windows[members], 0)
        firsts = np.cumsum(counts, axis=1) - counts
        shape = (len(members), self.slots)
        batch = {**self.columns.of(members), "row": rows_of_slots(counts, self.slots)}
        batch["window_start_s"] = np.zeros(shape, np.float32)
        for name, modality in self.modalities.items():
            batch[f"{name}_length"] = np.zeros(shape, np.int32)
            batch[name] = np.zeros((*shape, *modality.shape), modality.dtype)
        for at in zip(*np.nonzero(members >= 0), strict=True):
            member, group, count = int(members[at]), at[0], counts[at]
            slots = slice(firsts[at], firsts[at] + count)
            present = [name for name in self.modalities if self.has[name][member]]
            names = ["window_start_s", *present, *(f"{name}_length" for name in present)]
            record = self.reader.read(member, names)
            batch["window_start_s"][group, slots] = record["window_start_s"][:count]
            for name in present:
                lengths = record[f"{name}_length"][:count]
                batch[f"{name}_length"][group, slots] = lengths
                copy_windows(batch[name][group, slots], record[name], lengths)
        return batch


def copy_windows(to: np.ndarray, values: np.ndarray, lengths: Int[np.ndarray, " w"]) -> None:
    """Copies the first `len(to)` windows into zeroed `to`, but for those of length 0, which stay zero."""
    if lengths.all():
        to[...] = values[: len(to)]
    else:
        for window in np.flatnonzero(lengths):
            to[window] = values[window]

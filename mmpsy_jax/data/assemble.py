"""From planned members to a batch in host memory, straight from the records.

Objects of this file travel to Grain's worker processes: numpy only, no jax, no TFDS.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from mmpsy_jax.data.pieces import Pieces
from mmpsy_jax.data.plan import PlannedBatch, epoch_plan, rows_of_slots
from mmpsy_jax.data.reader import RecordReader

Batch = dict[str, Any]
CACHED_EPOCHS = 4


class Plans:
    """The planned batch at any position of an endless or finite run of epochs.

    Args:
      counts: pieces of each participant [N].
      options: further arguments of `plan.epoch_plan` but the epoch.
    """

    def __init__(self, counts: Int[np.ndarray, " n"], **options: Any):
        self._arguments = {"counts": counts, **options}
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

    The pieces keep the layout of the records; a modality whose time axis is not the first has to be turned afterwards.

    Attributes:
      reader: of the corpus.
      pieces: of the corpus; their modalities are read.
      labels: score columns [N], NaN where missing.
      slots: S.
    """

    reader: RecordReader
    pieces: Pieces
    labels: dict[str, Float32[np.ndarray, " n"]]
    slots: int

    def __call__(self, members: Int32[np.ndarray, "g b"]) -> Batch:
        """The groups of the participants at `members` (-1 = padding row)."""
        pieces, shape, valid = self.pieces, (len(members), self.slots), members >= 0
        counts = np.where(valid, pieces.counts[members], 0)
        firsts = np.cumsum(counts, axis=1) - counts
        batch = {"row": rows_of_slots(counts, self.slots), "valid": valid, "index": members.astype(np.int32)}
        batch["labels"] = {n: np.where(valid, scores[members], np.float32(np.nan)) for n, scores in self.labels.items()}
        batch["window_start_s"] = np.zeros(shape, np.float32)
        for name, modality in pieces.modalities.items():
            batch[f"{name}_length"] = np.zeros(shape, np.int32)
            batch[name] = np.zeros((*shape, *pieces.shape(name)), modality.dtype)
        for at in zip(*np.nonzero(valid), strict=True):
            member, group, own = int(members[at]), at[0], pieces.of(int(members[at]))
            slots = firsts[at] + np.arange(counts[at])
            present = [name for name in pieces.modalities if pieces.length[name][own].any()]
            record = self.reader.read(member, ["window_start_s", *present])
            batch["window_start_s"][group, slots] = pieces.starts(member, record["window_start_s"])
            for name in present:
                batch[f"{name}_length"][group, slots] = pieces.length[name][own]
                pieces.copy(member, name, pieces.split(name, record[name]), batch[name][group], slots)
        return batch

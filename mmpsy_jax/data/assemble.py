"""From planned members to a batch in host memory, straight from the records.

Objects of this file travel to Grain's worker processes: numpy only, no jax, no TFDS.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from mmpsy_jax.data.pieces import Pieces
from mmpsy_jax.data.plan import epoch_plan, poisson_plan, rows_of_slots
from mmpsy_jax.data.reader import RecordReader

Batch = dict[str, Any]
CACHED_EPOCHS = 4


class Plans:
    """Who is in the batch at any position of an endless or finite run of epochs.

    Args:
      counts: pieces of each participant [N], by modality.
      rate: each batch draws everybody by themselves with this probability (`plan.poisson_plan`), instead of everybody
        once per epoch; 0 for the latter.
      options: further arguments of `plan.epoch_plan` but the epoch.
    """

    def __init__(self, counts: Mapping[str, Int[np.ndarray, " n"]], rate: float = 0.0, **options: Any):
        self._arguments = {"counts": counts, **options}
        self._plan = functools.partial(poisson_plan, rate=rate) if rate else epoch_plan
        self._setup()
        self.per_epoch = len(self.epoch(0))

    def epoch(self, epoch: int) -> Int32[np.ndarray, "n g b"]:
        """The members of all batches of one epoch."""
        return self._cached(epoch)

    def __getitem__(self, position: int) -> Int32[np.ndarray, "g b"]:
        epoch, batch = divmod(position, self.per_epoch)
        return self.epoch(epoch)[batch]

    def _setup(self) -> None:
        # Prefetching looks at the next epoch while this one ends; a few threads may do so at once.
        self._cached = functools.lru_cache(CACHED_EPOCHS)(lambda epoch: self._plan(**self._arguments, epoch=epoch))

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
      slots: S_m, by modality.
    """

    reader: RecordReader
    pieces: Pieces
    labels: dict[str, Float32[np.ndarray, " n"]]
    slots: dict[str, int]

    def __call__(self, members: Int32[np.ndarray, "g b"]) -> Batch:
        """The packs of the participants at `members` (-1 = padding row)."""
        pieces, valid = self.pieces, members >= 0
        batch = {"valid": valid, "index": members.astype(np.int32)}
        batch["labels"] = {n: np.where(valid, scores[members], np.float32(np.nan)) for n, scores in self.labels.items()}
        firsts = {}
        for name, modality in pieces.modalities.items():
            shape = (len(members), self.slots[name])
            counts = np.where(valid, pieces.counts[name][members], 0)
            firsts[name] = np.cumsum(counts, axis=1) - counts
            batch[name] = np.zeros((*shape, *pieces.shape(name)), modality.dtype)
            batch[f"{name}_length"] = np.zeros(shape, np.int32)
            batch[f"{name}_start_s"] = np.zeros(shape, np.float32)
            batch[f"{name}_row"] = rows_of_slots(counts, self.slots[name])
        for at in zip(*np.nonzero(valid), strict=True):
            member, pack = int(members[at]), at[0]
            present = [name for name in pieces.modalities if pieces.counts[name][member]]
            record = self.reader.read(member, ["window_start_s", *present])
            for name in present:
                slots = slice(firsts[name][at], firsts[name][at] + pieces.counts[name][member])
                batch[f"{name}_length"][pack, slots] = pieces.length[name][pieces.of(name, member)]
                batch[f"{name}_start_s"][pack, slots] = pieces.starts(name, member, record["window_start_s"])
                pieces.copy(name, member, pieces.split(name, record[name]), batch[name][pack, slots])
        return batch

"""Records made on the spot, as the corpus that the readers of `data` expect."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.data.records import Corpus, Modality


class InMemoryReader:
    """The random access of `data.reader.RecordReader`, over records in memory."""

    def __init__(self, records: Sequence[Mapping[str, Any]]):
        self.records = records

    def read(self, i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Record `i`, or some features of it."""
        record = self.records[i]
        return {name: record[name] for name in (names or record)}


def corpus_of(
    participants: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    modalities: Mapping[str, Modality],
    card: Mapping[str, Any],
) -> Corpus:
    """A corpus of records without labels.

    Args:
      participants: ids.
      records: each with `window_start_s` [W], and for the modalities that it has, `<modality>` [W, *shape] and
        `<modality>_length` [W]; the others are absent and will be masked.
      modalities: of the corpus.
      card: with `window_seconds`.
    """
    n_windows = np.array([len(record["window_start_s"]) for record in records], np.int32)
    lengths = {
        name: [record.get(f"{name}_length", np.zeros(len(record["window_start_s"]), np.int32)) for record in records]
        for name in modalities
    }
    return Corpus(
        path=Path("(in memory)"),
        card=dict(card),
        participants=tuple(participants),
        split=("test",) * len(participants),
        group=tuple(participants),
        labels={},
        columns={"n_windows": n_windows},
        modalities=dict(modalities),
        has={name: np.array([part.any() for part in parts]) for name, parts in lengths.items()},
        window_lengths={name: np.concatenate(parts).astype(np.int32) for name, parts in lengths.items()},
        reader=InMemoryReader(records),
    )


def empty_record() -> dict[str, Any]:
    """A record of one window in which nothing is."""
    return {"window_start_s": np.zeros(1, np.float32)}

"""A corpus in which one modality is another participant's: the control that shows what a model takes from it."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int

from mmpsy_jax.data.reader import RecordReader
from mmpsy_jax.data.records import Corpus, choose


def permute_modality(corpus: Corpus, modality: str, seed: int) -> Corpus:
    """Gives everybody who has the modality that of another such participant of the same split of the corpus.

    Text, labels and whatever else the records hold stay; nobody keeps their own unless they are the only one. Every
    window still belongs to one participant, and so to one part of each fold of a cross-validation. A participant has as
    many windows as the longer of own and received ones, and the starts of the longer.

    Args:
      corpus: any.
      modality: its name.
      seed: of the exchange.

    Raises:
      InputError: the corpus has no such modality.
    """
    choose("modality to permute between participants", [modality], corpus.modalities)
    donor = _donors(corpus, modality, seed)
    before = corpus.n_windows
    n_windows = np.maximum(before, before[donor])
    first = np.cumsum(before) - before
    lengths = {}
    for name, flat in corpus.window_lengths.items():
        source = donor if name == modality else np.arange(len(corpus))
        rows = (flat[first[i] : first[i] + before[i]] for i in source.tolist())
        lengths[name] = np.concatenate([_padded(row, n) for row, n in zip(rows, n_windows, strict=True)])
    columns = {**corpus.columns, "n_windows": n_windows}
    if modality == "audio":
        columns["duration_s"] = corpus.columns["duration_s"][donor]
    reader = ExchangedReader(corpus.reader, modality, donor)
    return dataclasses.replace(corpus, columns=columns, window_lengths=lengths, reader=reader)


def _donors(corpus: Corpus, modality: str, seed: int) -> Int[np.ndarray, " n"]:
    """From whom each participant receives the modality; themselves where they have none."""
    rng = np.random.default_rng(seed)
    donor = np.arange(len(corpus))
    split = np.array(corpus.split)
    for name in dict.fromkeys(corpus.split):
        # A random cycle: nobody receives their own.
        order = rng.permutation(np.flatnonzero((split == name) & corpus.has[modality]))
        donor[order] = np.roll(order, 1)
    return donor


class ExchangedReader:
    """Reads records as `RecordReader` does, with one modality from the record of another participant."""

    def __init__(self, reader: RecordReader, modality: str, donor: Int[np.ndarray, " n"]):
        self._reader, self._donor = reader, donor
        self._received = [modality, f"{modality}_length", *(["duration_s"] if modality == "audio" else [])]

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The record as scalars, bytes and numpy arrays; windows that a modality lacks are zero.

        Raises:
          InputError: a damaged shard.
        """
        names = list(names or self._reader.fields)
        per_window = [name for name in names if self._reader.fields[name].shape[:1] == (None,)]
        received = [name for name in names if name in self._received]
        shared = ["n_windows", "window_start_s"]
        receiver = self._reader.read(i, {*names, *shared})
        donor = self._reader.read(int(self._donor[i]), {*received, *shared})
        longer = max(receiver, donor, key=lambda record: record["n_windows"])
        source = {**dict.fromkeys(names, receiver), **dict.fromkeys(received, donor), **dict.fromkeys(shared, longer)}
        record = {name: source[name][name] for name in names}
        return {**record, **{name: _padded(record[name], longer["n_windows"]) for name in per_window}}


def _padded(values: np.ndarray, windows: int) -> np.ndarray:
    """Zero windows behind those that are there."""
    missing = windows - len(values)
    return values if not missing else np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])

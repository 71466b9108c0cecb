"""Windows cut into equal pieces along time; pieces in which no modality has anything valid are left out.

The last window of an interview is on average half empty, and participants without one modality often end early in the
other. What a batch holds, and what plans count, is therefore pieces: with one part per window, the windows themselves.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int, Int32, Int64, Shaped

from mmpsy_jax.data.plan import limited
from mmpsy_jax.data.records import Corpus, Modality, choose
from mmpsy_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """The P pieces of the N participants of a corpus, one behind the other; made by `cut`.

    Attributes:
      modalities: by name; a piece is left out where none of these has anything.
      parts: that a window is cut into.
      seconds: from the start of one part of a window to that of the next.
      counts: pieces of each participant, at least 1.
      first: where those of each participant begin.
      window, part: of each piece: which window of the record, which part of the window.
      length: per modality, valid frames or tokens of each piece.
    """

    modalities: dict[str, Modality]
    parts: int
    seconds: float
    counts: Int32[np.ndarray, " n"]
    first: Int64[np.ndarray, " n"]
    window: Int32[np.ndarray, " p"]
    part: Int32[np.ndarray, " p"]
    length: dict[str, Int32[np.ndarray, " p"]]

    def of(self, i: int) -> slice:
        """Where the pieces of participant `i` are."""
        return slice(int(self.first[i]), int(self.first[i] + self.counts[i]))

    def steps(self, name: str) -> int:
        """Frames or tokens of a modality that fit into one piece."""
        return self.modalities[name].steps // self.parts

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one piece of a modality, in the layout of the records."""
        modality = self.modalities[name]
        return tuple(np.where(np.arange(len(modality.shape)) == modality.time_axis, self.steps(name), modality.shape))

    def valid(self, name: str) -> Int64[np.ndarray, " n"]:
        """Valid frames or tokens of each participant over all pieces."""
        return np.add.reduceat(self.length[name], self.first, dtype=np.int64)

    def nbytes(self, members: Int[np.ndarray, " m"]) -> int:
        """Bytes of the pieces of some participants; a modality takes none where it has nothing."""
        held = {name: np.add.reduceat(length > 0, self.first, dtype=np.int64) for name, length in self.length.items()}
        return sum(
            int(held[name][members].sum()) * (modality.window_bytes // self.parts)
            for name, modality in self.modalities.items()
        )

    def starts(self, i: int, window_starts: Float32[np.ndarray, " w"]) -> Float32[np.ndarray, " c"]:
        """Start of each piece of participant `i` in seconds, from the starts of the windows of the record."""
        own = self.of(i)
        return window_starts[self.window[own]] + self.part[own] * np.float32(self.seconds)

    def split(self, name: str, windows: Shaped[np.ndarray, "w ..."]) -> Shaped[np.ndarray, "w parts ..."]:
        """All pieces of the windows of a record, a view; the layout inside a piece is that of the records."""
        axis = 1 + self.modalities[name].time_axis
        shape = windows.shape
        return np.moveaxis(windows.reshape(*shape[:axis], self.parts, self.steps(name), *shape[axis + 1 :]), axis, 1)

    def copy(
        self, i: int, name: str, split: Shaped[np.ndarray, "w parts ..."], to: np.ndarray, at: Int[np.ndarray, " c"]
    ) -> None:
        """Copies the pieces of participant `i` in which a modality has something to `to[at]`.

        Args:
          i: position of the participant.
          name: of the modality.
          split: from `split`.
          to: where to; the places of pieces of length 0 are left as they are.
          at: place of each piece of the participant; those of one window follow each other.
        """
        own = self.of(i)
        has = self.length[name][own] > 0
        # What is valid begins with the window, so that the first pieces of a window have it: one copy for all of them.
        begins = np.flatnonzero(has & (self.part[own] == 0))
        together = np.add.reduceat(has, begins, dtype=np.int64)
        for window, place, n in zip(
            self.window[own][begins].tolist(), at[begins].tolist(), together.tolist(), strict=True
        ):
            to[place : place + n] = split[window, :n]


def cut(
    corpus: Corpus, modalities: Sequence[str] | None = None, parts: int = 1, max_windows: int | None = None
) -> Pieces:
    """Cuts every window of a corpus into `parts` pieces and leaves out those that are empty.

    A participant keeps, of each window, as many pieces as the modality with the most needs; who has nothing valid at
    all keeps one empty piece.

    Args:
      corpus: of N participants.
      modalities: names of those that are read; None for all.
      parts: divides the frames or tokens of a window of every modality; 1 leaves windows whole.
      max_windows: of each participant, from the start; None for all.

    Raises:
      InputError: an unknown modality, parts that do not divide a window, a limit below 1.
    """
    kinds = {name: corpus.modalities[name] for name in choose("modality", modalities, corpus.modalities)}
    _check_parts(kinds, parts)
    kept = limited(corpus.n_windows, max_windows)
    first_window = np.cumsum(corpus.n_windows, dtype=np.int64) - corpus.n_windows
    window = np.arange(corpus.n_windows.sum(dtype=np.int64)) - np.repeat(first_window, corpus.n_windows)
    steps = {name: modality.steps // parts for name, modality in kinds.items()}
    needed = np.zeros(len(window), np.int64)
    for name, n in steps.items():
        np.maximum(needed, -(-corpus.window_lengths[name] // n), out=needed)
    needed[window >= np.repeat(kept, corpus.n_windows)] = 0
    needed[first_window[np.add.reduceat(needed, first_window) == 0]] = 1
    counts = np.add.reduceat(needed, first_window)
    source = np.repeat(np.arange(len(window)), needed)
    part = np.arange(len(source)) - np.repeat(np.cumsum(needed) - needed, needed)
    return Pieces(
        modalities=kinds,
        parts=parts,
        seconds=float(corpus.card["window_seconds"]) / parts,
        counts=counts.astype(np.int32),
        first=np.cumsum(counts) - counts,
        window=window[source].astype(np.int32),
        part=part.astype(np.int32),
        length={
            name: np.clip(corpus.window_lengths[name][source] - part * n, 0, n).astype(np.int32)
            for name, n in steps.items()
        },
    )


def piece_counts(
    corpus: Corpus, modalities: Sequence[str] | None = None, parts: int = 1, max_windows: int | None = None
) -> Int32[np.ndarray, " n"]:
    """Pieces of each participant, at least 1: what plans count. Arguments and errors: `cut`."""
    return cut(corpus, modalities, parts, max_windows).counts


def default_parts(
    corpus: Corpus,
    modalities: Sequence[str] | None = None,
    multiple: Mapping[str, int] | None = None,
    most: int = 5,
) -> int:
    """The most parts, up to `most`, that divide the windows of every modality; 1 where nothing else does.

    Args:
      corpus: of which the windows are.
      modalities: names of those that are read; None for all.
      multiple: by modality, what the frames or tokens of a piece must be a multiple of, such as the size of a patch.
      most: more are not worth it, each piece costs some work of its own.

    Raises:
      InputError: an unknown modality.
    """
    multiple = multiple or {}
    names = choose("modality", modalities, corpus.modalities)

    def divides(parts: int) -> bool:
        return not any(corpus.modalities[name].steps % (parts * multiple.get(name, 1)) for name in names)

    return max(filter(divides, range(2, most + 1)), default=1)


def _check_parts(modalities: Mapping[str, Modality], parts: int) -> None:
    common = math.gcd(*(modality.steps for modality in modalities.values()))
    if parts >= 1 and common % parts == 0:
        return
    windows = ", ".join(f"{name} {modality.steps}" for name, modality in modalities.items())
    possible = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
    raise InputError(
        f"parts {parts} does not divide the frames or tokens of a window ({windows}): choose one of: {possible}"
    )

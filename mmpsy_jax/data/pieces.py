"""Windows cut into equal pieces along time; of each modality, pieces in which nothing is valid are left out.

The last window of an interview is on average half empty, text and audio of a window end at different times, and some
participants lack a modality. What a batch holds, and what plans count, is therefore pieces of each modality by itself:
with one part per window, the windows that have it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int, Int32, Int64, Shaped

from mmpsy_jax.data.plan import limited
from mmpsy_jax.data.records import Corpus, choose
from mmpsy_jax.io import InputError
from mmpsy_jax.modality import Modality


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of the N participants of a corpus; made by `cut`.

    Of each modality there are P, those of one participant behind those of another and in the order of time. All
    dictionaries are by modality.

    Attributes:
      modalities: as whole windows.
      parts: that a window is cut into.
      seconds: from the start of one part of a window to that of the next.
      counts: pieces of each participant, 0 where nothing is valid.
      first: where those of each participant begin.
      window, part: of each piece: which window of the record, which part of the window.
      length: valid frames or tokens of each piece, at least 1.
    """

    modalities: dict[str, Modality]
    parts: int
    seconds: float
    counts: dict[str, Int32[np.ndarray, " n"]]
    first: dict[str, Int64[np.ndarray, " n"]]
    window: dict[str, Int32[np.ndarray, " p"]]
    part: dict[str, Int32[np.ndarray, " p"]]
    length: dict[str, Int32[np.ndarray, " p"]]

    def of(self, name: str, i: int) -> slice:
        """Where the pieces of participant `i` are."""
        return slice(int(self.first[name][i]), int(self.first[name][i] + self.counts[name][i]))

    def steps(self, name: str) -> int:
        """Frames or tokens of a modality that fit into one piece."""
        return self.modalities[name].steps // self.parts

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one piece of a modality, in the layout of the records."""
        modality = self.modalities[name]
        return tuple(np.where(np.arange(len(modality.shape)) == modality.time_axis, self.steps(name), modality.shape))

    def valid(self, name: str) -> Int64[np.ndarray, " n"]:
        """Valid frames or tokens of each participant over all pieces."""
        ends = np.append(0, np.cumsum(self.length[name], dtype=np.int64))
        return ends[self.first[name] + self.counts[name]] - ends[self.first[name]]

    def nbytes(self, members: Int[np.ndarray, " m"]) -> int:
        """Bytes of the pieces of some participants."""
        return sum(
            int(self.counts[name][members].sum(dtype=np.int64)) * (modality.window_bytes // self.parts)
            for name, modality in self.modalities.items()
        )

    def starts(self, name: str, i: int, window_starts: Float32[np.ndarray, " w"]) -> Float32[np.ndarray, " c"]:
        """Start of each piece of participant `i` in seconds, from the starts of the windows of the record."""
        places = self.of(name, i)
        return window_starts[self.window[name][places]] + self.part[name][places] * np.float32(self.seconds)

    def split(self, name: str, windows: Shaped[np.ndarray, "w ..."]) -> Shaped[np.ndarray, "w parts ..."]:
        """All pieces of the windows of a record, a view; the layout inside a piece is that of the records."""
        axis = 1 + self.modalities[name].time_axis
        shape = windows.shape
        return np.moveaxis(windows.reshape(*shape[:axis], self.parts, self.steps(name), *shape[axis + 1 :]), axis, 1)

    def copy(
        self, name: str, i: int, split: Shaped[np.ndarray, "w parts ..."], to: Shaped[np.ndarray, "c ..."]
    ) -> None:
        """Copies the pieces of participant `i` to `to`, from what `split` returned."""
        places = self.of(name, i)
        # What is valid begins with the window: one copy for all its pieces.
        begins = np.flatnonzero(self.part[name][places] == 0)
        ends = np.append(begins[1:], len(to))
        for window, begin, end in zip(
            self.window[name][places][begins].tolist(), begins.tolist(), ends.tolist(), strict=True
        ):
            to[begin:end] = split[window, : end - begin]


def cut(
    corpus: Corpus, modalities: Sequence[str] | None = None, parts: int = 1, max_windows: int | None = None
) -> Pieces:
    """Cuts every window of a corpus into `parts` pieces and leaves out those in which their modality has nothing.

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
    window_ends = np.cumsum(corpus.n_windows, dtype=np.int64)
    window = np.arange(window_ends[-1]) - np.repeat(window_ends - corpus.n_windows, corpus.n_windows)
    beyond = window >= np.repeat(kept, corpus.n_windows)
    columns: dict[str, dict[str, np.ndarray]] = {name: {} for name in ("counts", "first", "window", "part", "length")}
    for name, modality in kinds.items():
        steps = modality.steps // parts
        valid = np.where(beyond, 0, corpus.window_lengths[name])
        needed = -(-valid // steps)
        ends = np.append(0, np.cumsum(needed, dtype=np.int64))
        first = ends[window_ends - corpus.n_windows]
        source = np.repeat(np.arange(len(window)), needed)
        part = np.arange(len(source)) - ends[source]
        columns["counts"][name] = (ends[window_ends] - first).astype(np.int32)
        columns["first"][name] = first
        columns["window"][name] = window[source].astype(np.int32)
        columns["part"][name] = part.astype(np.int32)
        columns["length"][name] = np.minimum(valid[source] - part * steps, steps).astype(np.int32)
    return Pieces(kinds, parts, float(corpus.card["window_seconds"]) / parts, **columns)


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

"""One input of records, batches and networks: what a window of it looks like."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Integer

from mmpsy_jax.io import one_of

KINDS = ("frames", "features", "ids")
INTERVIEWER = "interviewer"  # `role` in the card of a modality that networks read only where it is named


class Modality(NamedTuple):
    """How the windows of a modality look.

    Attributes:
      name: of the modality.
      kind: "frames" (dense, as log-mel, of which several become one token), "features" (tokens already) or "ids"
        (integers, 0 means nothing).
      shape: of one window.
      vocabulary: ids are smaller than this; 0 for others.
      time_axis: axis of `shape` that `<modality>_length` counts; 0 in batches.
      dtype: as stored and as batched.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    vocabulary: int = 0
    time_axis: int = 0
    dtype: np.dtype = np.dtype(np.float16)

    @classmethod
    def of_card(cls, name: str, entry: Mapping[str, Any], dtype: Any) -> "Modality":
        """The modality of an entry of `corpus.json` or `model.json`, whose windows are stored in this type.

        Raises:
          InputError: an unknown kind.
        """
        kind = entry["kind"]
        if kind not in KINDS:
            raise one_of(f"kind of modality {name!r}", kind, KINDS)
        vocabulary = entry["vocabulary"] if kind == "ids" else 0
        return cls(name, kind, tuple(entry["shape"]), vocabulary, entry["time_axis"], np.dtype(dtype))

    @property
    def steps(self) -> int:
        """Frames or tokens that fit into one window."""
        return self.shape[self.time_axis]

    @property
    def window_bytes(self) -> int:
        """Bytes of one window."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def piece(self, parts: int) -> "Modality":
        """How a piece looks in a batch, time-major, where windows are cut into so many parts."""
        (size,) = np.delete(self.shape, self.time_axis)
        return self._replace(shape=(self.steps // parts, int(size)), time_axis=0)


FINE = 1 << 18  # ids of `fine_ids` are smaller than this


def fine_ids(ids: Integer[Any, "*n k"], xp: Any = np) -> Int32[Any, "*n k"]:
    """Ids of n-grams in which hardly two n-grams share one, from those of records; 0 stays 0.

    Records hold 16 bits of each n-gram. Columns 1 and 2, the bigram and the trigram that start at a position, are
    hashed together with the n-gram one shorter (multiplications and shifts of murmur3, A. Appleby, public domain): the
    172,000 n-grams of the 1,020 transcripts share 65,535 ids in 16 bits, and 126,000 of these.

    Args:
      ids: of positions; columns after the third are taken as they are.
      xp: numpy, or jax.numpy inside a program.
    """
    columns = [ids[..., k] for k in range(ids.shape[-1])]
    for k in (2, 1):
        if k < len(columns):
            columns[k] = _mixed(columns[k], columns[k - 1], xp)
    return xp.stack(columns, axis=-1).astype(np.int32)


def _mixed(ids: Integer[Any, "*n"], shorter: Integer[Any, "*n"], xp: Any) -> Int32[Any, "*n"]:
    word = ids.astype(np.uint32) * np.uint32(0xCC9E2D51) ^ shorter.astype(np.uint32) * np.uint32(0x1B873593)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = (word ^ (word >> shift)) * np.uint32(factor)
    return xp.where(ids > 0, 1 + (word ^ (word >> 16)) % np.uint32(FINE - 1), 0).astype(np.int32)

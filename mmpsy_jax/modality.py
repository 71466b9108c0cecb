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


LAST_KEY = np.int32(2**31 - 1)  # larger than every key


def ngram_keys(ids: Integer[Any, "*n k"], xp: Any = np) -> Int32[Any, "*n k"]:
    """Keys of 31 bits, from 1, in which hardly two n-grams are the same, from the 16 bits that records hold of each.

    The bigram and the trigram that start at a position (columns 1 and 2) are hashed together with the n-gram one
    shorter, all others by themselves (multiplications and shifts of murmur3, A. Appleby, public domain). The 172,000
    n-grams of the 1,020 transcripts share 65,535 ids.

    Args:
      ids: of positions; 0 means nothing and stays 0.
      xp: numpy, or jax.numpy inside a program.
    """
    keys = []
    for k in range(ids.shape[-1]):
        shorter = ids[..., k - 1] if k in (1, 2) else xp.zeros_like(ids[..., 0])
        word = ids[..., k].astype(np.uint32) * np.uint32(0xCC9E2D51) ^ shorter.astype(np.uint32) * np.uint32(0x1B873593)
        word = word ^ np.uint32(k)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            word = (word ^ (word >> shift)) * np.uint32(factor)
        key = 1 + (word ^ (word >> 16)) % np.uint32(LAST_KEY - 1)
        keys.append(xp.where(ids[..., k] > 0, key, 0).astype(np.int32))
    return xp.stack(keys, axis=-1)

"""One input of records, batches and networks: what a window of it looks like."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

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

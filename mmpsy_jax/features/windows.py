"""What an extractor makes of one participant."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Int32, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one modality of one participant.

    Attributes:
      values: zero-padded windows, [W, *shape].
      lengths: valid frames or tokens of each.
      start_s: start of each in seconds, ascending.
      duration_s: of the whole; 0 where no time is known.
      parts_s: seconds of each recording, in their order.
      notes: what is odd about each recording but no error; "" where nothing is.
    """

    values: Shaped[np.ndarray, "w ..."]
    lengths: Int32[np.ndarray, " w"]
    start_s: Float32[np.ndarray, " w"]
    duration_s: float = 0.0
    parts_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

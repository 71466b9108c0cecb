"""What an extractor makes of one participant."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from mmpsy_jax.io import InputError


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


def cast(
    values: Shaped[np.ndarray, "..."], dtype: np.dtype, what: str, remedy: str = "use --dtype=float32"
) -> Shaped[np.ndarray, "..."]:
    """Values in the type that they are stored in.

    Args:
      values: of any type.
      dtype: the other type.
      what: they are, for the error.
      remedy: for values that are too large.

    Raises:
      InputError: values are not finite, or too large for the type.
    """
    with np.errstate(over="ignore"):
        made = values.astype(dtype, copy=False)
    if made.dtype.kind != "f" or np.isfinite(made).all():
        return made
    broken = np.size(values) - int(np.isfinite(values).sum())
    if broken:
        raise InputError(
            f"{what}: {broken} of {np.size(values)} numbers are not finite: leave it out, or extract it differently"
        )
    largest = f"up to {np.abs(values).max():.4g} do not fit {made.dtype} (at most {np.finfo(made.dtype).max:.0f})"
    raise InputError(f"{what}: {largest}: {remedy}")

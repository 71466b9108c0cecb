"""What is looked at in every record: whether its numbers are finite, and whether another holds the same content."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from mmpsy_jax.io import InputError

COMPARED = ("audio", "text")  # whose windows are compared
# Shorter transcripts are alike by chance ("no", "nothing").
_TRIVIAL_CHARACTERS = 20

Record = dict[str, Any]
# What is popped off a record: seconds left out, of how many, characters left out, of how many.
OMITTED = "omitted"


def content_digests(record: Record, transcript: str) -> dict[str, list[str]]:
    """Short digests by which equal content of two participants is found: {"windows": [...], "transcripts": [...]}.

    Windows of features or samples only: ids of a short text are alike by chance. The same holds for short transcripts.
    """

    def digest(data: bytes | Shaped[np.ndarray, "..."]) -> str:
        return hashlib.blake2b(data, digest_size=12).hexdigest()

    windows: list[str] = []
    for modality in COMPARED:
        content: Float[np.ndarray, "w a b"] | Int[np.ndarray, "w a b"] | None = record.get(modality)
        if content is None or content.dtype == np.int32:
            continue
        present = np.flatnonzero(record[f"{modality}_length"])
        windows += [digest(np.ascontiguousarray(content[window])) for window in present]
    squeezed = "".join(transcript.split())
    return {
        "windows": windows,
        "transcripts": [digest(squeezed.encode())] if len(squeezed) >= _TRIVIAL_CHARACTERS else [],
    }


def require_finite(participant: str, record: Mapping[str, Any]) -> None:
    """Refuses a record with a number that is not finite; a single one may be NaN, which is a missing label.

    Args:
      participant: id in the record.
      record: features by name; what is not a floating point array or number is not looked at.

    Raises:
      InputError: it holds one.
    """
    for name, value in record.items():
        array = np.asarray(value)
        if array.dtype.kind != "f" or _is_finite(array):
            continue
        broken = array[~np.isfinite(array)]
        if array.size == 1 and np.isnan(broken).all() and name != "duration_s":
            continue
        where = f"participant {participant!r}: {name}: {broken.size} of {array.size} values"
        if array.dtype == np.float16 and not np.isnan(broken).any():
            raise InputError(
                f"{where} do not fit float16, which ends at 65,504: keep float32 (--dtype=float32, or the config "
                "mmpsy/released_float32), or scale the features"
            )
        raise InputError(f"{where} are not finite: extract its features again")


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype == np.float16:  # by the bits of its exponent: three times as fast as isfinite
        return (np.atleast_1d(array).view(np.uint16) & 0x7FFF).max(initial=0) < 0x7C00
    return bool(np.isfinite(array).all())


def summary(values: Sequence[float]) -> dict[str, float]:
    """Least, median and most of some numbers; zeros where there is none."""
    quantiles = np.quantile(np.asarray(values, np.float64), (0, 0.5, 1)) if len(values) else (0, 0, 0)
    return {name: round(float(value), 2) for name, value in zip(("least", "median", "most"), quantiles, strict=True)}


def spread(of: Mapping[str, float]) -> str:
    """A `summary` in words."""
    return f"{of['least']:g} to {of['most']:g} (median {of['median']:g})"

"""What an extractor is, and what it makes of one participant: windows of one modality."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from mmpsy_jax.io import InputError
from mmpsy_jax.rules import Rule


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


class Extractor(abc.ABC):
    """What turns recordings or transcripts into windows of one modality.

    Attributes:
      name, kind, time_axis: for the card of a corpus.
      settings: a frozen dataclass; `window_seconds` and `step_seconds` where it reads recordings.
    """

    name: str
    kind = "features"
    time_axis = 0
    settings: Any

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Of a window; along `time_axis` are frames, samples, tokens or characters."""

    def about(self) -> dict[str, Any]:
        """Further entries of the card."""
        return {}

    def card(self) -> dict[str, Any]:
        """The modality's entry in `corpus.json`: an extractor like this one can be made of it."""
        extractor = {"name": self.name, **dataclasses.asdict(self.settings)}
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "time_axis": self.time_axis,
            **self.about(),
            "extractor": extractor,
        }


class SoundExtractor(Extractor):
    """An extractor of recordings."""

    @abc.abstractmethod
    def extract(self, recordings: Sequence[Any], dtype: np.dtype) -> Windows:
        """Windows of the recordings of one participant, in order, one behind the other.

        Args:
          recordings: files, or what is used of them (`clip.Clip`).
          dtype: of the windows.

        Raises:
          InputError: a file that cannot be used.
        """


def cut(values: Shaped[np.ndarray, "n d"], size: int) -> tuple[Shaped[np.ndarray, "w size d"], Int32[np.ndarray, " w"]]:
    """Cuts steps into zero-padded windows without overlap, at least one.

    Returns:
      the windows, and the number of valid steps of each.
    """
    return pad([values[start : start + size] for start in range(0, max(1, len(values)), size)], size)


def pad(
    parts: Sequence[Shaped[np.ndarray, "some d"]], size: int
) -> tuple[Shaped[np.ndarray, "w size d"], Int32[np.ndarray, " w"]]:
    """Parts as windows with zeros behind them, and the number of steps of each part."""
    padded = np.zeros((len(parts), size, *parts[0].shape[1:]), parts[0].dtype)
    for window, part in zip(padded, parts, strict=True):
        window[: len(part)] = part
    return padded, np.array([len(part) for part in parts], np.int32)


def cut_sound(
    values: Shaped[np.ndarray, "n d"], size: int, per_second: float, parts_s: Sequence[float], notes: Sequence[str]
) -> Windows:
    """`cut` of what was made of recordings, at so many steps a second; the rest as in `Windows`."""
    windows, lengths = cut(values, size)
    start_s = (size * np.arange(len(windows)) / per_second).astype(np.float32)
    return Windows(windows, lengths, start_s, len(values) / per_second, tuple(parts_s), tuple(notes))


def require(what: str, value: object, rule: Rule, why: str = "") -> None:
    """Raises InputError unless a setting keeps a rule.

    Args:
      what: settings and field, for the message.
      value: of the field.
      rule: that it must keep.
      why: what the message says behind the rule.
    """
    if not rule.test(value):
        raise InputError(f"{what} is {value!r}, must be {rule.text}{why}")


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
        stored = values.astype(dtype, copy=False)
    if stored.dtype.kind != "f" or np.isfinite(stored).all():
        return stored
    broken = np.size(values) - int(np.isfinite(values).sum())
    if broken:
        raise InputError(
            f"{what}: {broken} of {np.size(values)} numbers are not finite: leave it out, or extract it differently"
        )
    largest = f"up to {np.abs(values).max():.4g} do not fit {stored.dtype} (at most {np.finfo(stored.dtype).max:.0f})"
    raise InputError(f"{what}: {largest}: {remedy}")

"""Random access to the records of an ArrayRecord corpus: raw bytes to numpy views.

What crosses into Grain's worker processes is a `RecordReader`, so this file imports neither jax nor TFDS.
"""

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from mmpsy_jax.data import wire
from mmpsy_jax.io import InputError

REBUILD = "build the corpus again (python launch.py build)"


@dataclasses.dataclass(frozen=True)
class Field:
    """How one feature is stored.

    Attributes:
      dtype: of the decoded value; None for text, which stays `bytes` as TFDS gives it.
      shape: of the decoded value, None for the one unknown dimension, () for a scalar.
      packed: the whole array is one byte string (`encoding="bytes"`), which is read without a copy.
    """

    dtype: np.dtype | None
    shape: tuple[int | None, ...] = ()
    packed: bool = False

    @functools.cached_property
    def known(self) -> int:
        """Product of the known dimensions."""
        return math.prod(size for size in self.shape if size is not None)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Records `[skip, skip + take)` of one file; has the attributes that array_record asks of a file instruction."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class RecordReader:
    """Records by position over a list of shards; safe to share between threads and to pickle.

    Args:
      shards: in the order of the positions.
      fields: how the features are stored.
      participants: the expected id at each position, or None while they are not known yet. A record with another id
        is refused: a shard that was exchanged after the index was made must not give labels of one person to another.
    """

    def __init__(self, shards: Sequence[Shard], fields: Mapping[str, Field], participants: Sequence[str] | None = None):
        self.shards = tuple(shards)
        self.fields = dict(fields)
        self.participants = None if participants is None else tuple(participants)
        self._ends = list(itertools.accumulate(shard.take for shard in self.shards))
        # One source per file, not one over all, so that an error can name the file. They open lazily.
        self._sources = [ArrayRecordDataSource([shard]) for shard in self.shards]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def locate(self, i: int) -> tuple[int, int]:
        """Shard number and position inside that shard of record `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._ends, i)
        return shard, i - (self._ends[shard - 1] if shard else 0)

    def raw(self, i: int) -> bytes:
        """The serialised record.

        Raises:
          InputError: the shard is damaged, shorter than the corpus says, or gone.
        """
        shard, position = self.locate(i)
        try:
            return self._sources[shard][position]
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            raise self._damaged(i, str(error).splitlines()[0] if str(error) else type(error).__name__) from error

    def read(self, i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The record as scalars (Python numbers), `bytes` (text) and read-only numpy views.

        Args:
          i: position, 0 to `len(self) - 1`.
          names: the features wanted; all by default.

        Raises:
          InputError: the shard is damaged, or holds another participant than the index says.
        """
        raw = self.raw(i)
        try:
            spans = wire.find_features(raw)
            record = {name: self._decode(raw, spans[name], name) for name in (names or self.fields)}
            if self.participants is not None:
                start, end = wire.bytes_span(raw, spans["participant"])
                if raw[start:end].decode() != self.participants[i]:
                    raise ValueError("another participant than the index of the corpus says")
        except KeyError as error:
            raise self._damaged(i, f"feature {error} is missing") from error
        except ValueError as error:
            raise self._damaged(i, str(error)) from error
        return record

    def _decode(self, raw: bytes, span: wire.Span, name: str) -> Any:
        field = self.fields[name]
        if field.dtype is None:
            start, end = wire.bytes_span(raw, span)
            return raw[start:end]
        if field.packed:
            start, end = wire.bytes_span(raw, span)
            if (end - start) % field.dtype.itemsize:
                raise ValueError(f"feature {name!r} ends inside a number")
            values = np.frombuffer(raw, field.dtype, (end - start) // field.dtype.itemsize, start)
        elif span.kind == "float":
            values = wire.floats(raw, span).astype(field.dtype, copy=False)
        else:
            values = wire.integers(raw, span).astype(field.dtype)
        if not field.shape:
            return values.item()
        # Not reshape(-1): it refuses arrays without elements where the other dimensions are large.
        return values.reshape([len(values) // field.known if size is None else size for size in field.shape])

    def _damaged(self, i: int, why: str) -> InputError:
        shard, position = self.locate(i)
        return InputError(f"{self.shards[shard].filename}: record {position} cannot be read ({why}): {REBUILD}")

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "fields": self.fields, "participants": self.participants}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

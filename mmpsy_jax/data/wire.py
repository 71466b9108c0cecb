"""Views into a serialised `tf.train.Example`, without TensorFlow, protobuf objects or copies.

Only the part of the protobuf wire format that the message uses is read (https://protobuf.dev/programming-guides/encoding/,
and `feature.proto`, `example.proto` of TensorFlow):

    Example  { Features features = 1 }
    Features { map<string, Feature> feature = 1 }        # a map entry is { string key = 1; Feature value = 2 }
    Feature  { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }, each { repeated value = 1 }

A window of features is half a megabyte, so that copying it twice (protobuf, then numpy) costs more than finding it.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

Kind = Literal["bytes", "float", "int"]
_KINDS: dict[int, Kind] = {1: "bytes", 2: "float", 3: "int"}
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


class Span(NamedTuple):
    """Where the value list of one feature lies in the record: its kind and the byte range `[start, end)`."""

    kind: Kind
    start: int
    end: int


def find_features(raw: bytes) -> dict[str, Span]:
    """Where each feature of a serialised example lies.

    Raises:
      ValueError: the bytes are not a `tf.train.Example`.
    """
    spans: dict[str, Span] = {}
    for features_start, features_end in _messages(raw, 0, len(raw), 1):
        for entry_start, entry_end in _messages(raw, features_start, features_end, 1):
            name, span = None, None
            for number, wire, start, end in _fields(raw, entry_start, entry_end):
                if number == 1 and wire == _DELIMITED:
                    name = raw[start:end].decode()
                elif number == 2 and wire == _DELIMITED:
                    span = _feature(raw, start, end)
            if name is None or span is None:
                raise ValueError("a feature without a name or a value")
            spans[name] = span
    return spans


def bytes_span(raw: bytes, span: Span) -> tuple[int, int]:
    """Byte range of the single value of a bytes feature.

    Raises:
      ValueError: the feature is of another kind or has not exactly one value.
    """
    _expect(span, "bytes")
    values = list(_messages(raw, span.start, span.end, 1))
    if len(values) != 1:
        raise ValueError(f"{len(values)} values where one was expected")
    return values[0]


def floats(raw: bytes, span: Span) -> Float32[np.ndarray, " n"]:
    """The values of a float feature, a view where they are packed in one run (every current writer does so)."""
    _expect(span, "float")
    runs = []
    for _, wire, start, end in _fields(raw, span.start, span.end):
        if wire not in (_DELIMITED, _FIXED32) or (end - start) % 4:
            raise ValueError("a float list of an unknown encoding")
        runs.append(np.frombuffer(raw, "<f4", (end - start) // 4, start))
    return runs[0] if len(runs) == 1 else np.concatenate(runs) if runs else np.zeros(0, np.float32)


def integers(raw: bytes, span: Span) -> Int64[np.ndarray, " n"]:
    """The values of an integer feature; int64 varints are decoded one by one, which suits short lists only."""
    _expect(span, "int")
    values: list[int] = []
    for _, wire, start, end in _fields(raw, span.start, span.end):
        if wire not in (_DELIMITED, _VARINT):
            raise ValueError("an integer list of an unknown encoding")
        at = start
        while at < end:
            value, at = _varint(raw, at, end)
            values.append(value - (1 << 64) if value >> 63 else value)
    return np.array(values, np.int64)


def _expect(span: Span, kind: Kind) -> None:
    if span.kind != kind:
        raise ValueError(f"a {span.kind} list where a {kind} list was expected")


def _feature(raw: bytes, start: int, end: int) -> Span:
    for number, wire, list_start, list_end in _fields(raw, start, end):
        if number in _KINDS and wire == _DELIMITED:
            return Span(_KINDS[number], list_start, list_end)
    raise ValueError("a feature without values")


def _messages(raw: bytes, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    for field, wire, field_start, field_end in _fields(raw, start, end):
        if field == number and wire == _DELIMITED:
            yield field_start, field_end


def _fields(raw: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields (field number, wire type, start, end) of the fields of a message that fills `[start, end)`."""
    at = start
    while at < end:
        tag, at = _varint(raw, at, end)
        wire = tag & 7
        if wire == _DELIMITED:
            length, at = _varint(raw, at, end)
            stop = at + length
        elif wire == _VARINT:
            _, stop = _varint(raw, at, end)
        elif wire in (_FIXED32, _FIXED64):
            stop = at + (4 if wire == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {wire} is not used by tf.train.Example")
        if stop > end:
            raise ValueError("a field reaches beyond the end of its message")
        yield tag >> 3, wire, at, stop
        at = stop


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number that does not end")

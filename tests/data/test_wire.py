"""The wire reader against the protobuf library."""

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from mmpsy_jax.data import wire


def _example():
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["bytes"].bytes_list.value.append(bytes(range(256)) * 3)
    feature["two"].bytes_list.value.extend([b"a", b"b"])
    feature["floats"].float_list.value.extend([0.5, -1.25, float("inf"), 3e-38])
    feature["ints"].int64_list.value.extend([0, 1, -1, 127, 128, 2**40, -(2**63), 2**63 - 1])
    feature["none"].int64_list.SetInParent()
    feature["no_floats"].float_list.SetInParent()
    return example.SerializeToString()


def test_values_are_those_of_protobuf():
    raw = _example()
    spans = wire.find_features(raw)
    reference = tf_example_pb2.Example.FromString(raw).features.feature
    assert spans.keys() == set(reference)
    start, end = wire.bytes_span(raw, spans["bytes"])
    assert raw[start:end] == reference["bytes"].bytes_list.value[0]
    np.testing.assert_array_equal(wire.floats(raw, spans["floats"]), reference["floats"].float_list.value)
    assert wire.integers(raw, spans["ints"]).tolist() == list(reference["ints"].int64_list.value)
    assert wire.integers(raw, spans["none"]).shape == wire.floats(raw, spans["no_floats"]).shape == (0,)


def test_unpacked_lists_are_read():
    # Old writers give every value its own tag: Feature { float_list { value: 1.0  value: 2.0 } }.
    values = b"".join(b"\x0d" + np.float32(v).tobytes() for v in (1, 2))
    np.testing.assert_array_equal(wire.floats(values, wire.Span("float", 0, len(values))), [1, 2])
    assert wire.integers(b"\x08\x05\x08\x07", wire.Span("int", 0, 4)).tolist() == [5, 7]


def test_every_truncation_is_an_error():
    raw = _example()
    for cut in range(1, len(raw)):
        with pytest.raises(ValueError):
            wire.find_features(raw[:cut])


@pytest.mark.parametrize(
    ("read", "name"), [(wire.floats, "ints"), (wire.integers, "bytes"), (wire.bytes_span, "floats")]
)
def test_another_kind_is_an_error(read, name):
    raw = _example()
    with pytest.raises(ValueError, match="was expected"):
        read(raw, wire.find_features(raw)[name])


def test_more_than_one_byte_string_is_an_error():
    raw = _example()
    with pytest.raises(ValueError, match="2 values"):
        wire.bytes_span(raw, wire.find_features(raw)["two"])

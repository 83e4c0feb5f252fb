"""The walk over an Example's bytes, against protobuf's own parser; damaged bytes are an error and nothing else."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from bonemet_jax.input_pipeline.wire import BYTES, FLOAT, INT64, Span, WireError, find_features, read_varint

values = st.one_of(st.binary(max_size=300), st.floats(width=32, allow_nan=False), st.integers(-(2**63), 2**63 - 1))
examples = st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=8)


def _serialise(content: dict[str, bytes | float | int]) -> bytes:
    example = tf_example_pb2.Example()
    example.features.SetInParent()  # also where there is no feature
    for name, value in content.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return example.SerializeToString(deterministic=True)


def _decode(data: bytes, span: Span) -> bytes | float | int:
    payload = data[span.start:span.stop]
    if span.kind == BYTES:
        return payload
    if span.kind == FLOAT:
        return float(np.frombuffer(payload, "<f4")[0])
    assert span.kind == INT64
    return int(np.uint64(read_varint(payload, 0, len(payload))[0]).astype(np.int64))


@settings(deadline=None)
@given(examples, st.binary(max_size=9))
def test_finds_what_protobuf_wrote(content: dict[str, bytes | float | int], before: bytes) -> None:
    data = _serialise(content)
    spans = find_features(before + data + b"\xff", len(before), len(before) + len(data))
    assert {name: _decode(before + data, span) for name, span in spans.items()} == content


@settings(deadline=None, max_examples=300)
@given(examples.filter(bool), st.data())
def test_damage_is_an_error_or_stays_inside(content: dict[str, bytes | float | int], data: st.DataObject) -> None:
    """Flipped bits and cuts: WireError, or spans that lie within the bytes; never another error, never a hang."""
    whole = bytearray(_serialise(content))
    for at in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), max_size=4)):
        whole[at // 8] ^= 1 << at % 8
    damaged = bytes(whole[:data.draw(st.integers(0, len(whole)))])
    try:
        spans = find_features(damaged, 0, len(damaged))
    except WireError:
        return
    assert all(0 <= span.start <= span.stop <= len(damaged) for span in spans.values())


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(noise: bytes) -> None:
    with contextlib.suppress(WireError):
        find_features(noise, 0, len(noise))


def _field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


@pytest.mark.parametrize(("data", "said"), [
    (b"", r"fields \[\] where \[1\]"),
    (_field(2, b""), r"fields \[2\]"),
    (_field(1, b"") + _field(1, b""), r"fields \[1, 1\]"),
    (_field(1, _field(2, b"")), "field 2 among the features"),
    (_field(1, _field(1, _field(1, b"ct"))), r"fields \[1\] where \[1, 2\]"),
    (_field(1, _field(1, _field(1, b"ct") + _field(2, b""))), "no list"),
    (_field(1, _field(1, _field(1, b"ct") + _field(2, _field(4, b"")))), "no list"),
    (_field(1, 2 * _field(1, _field(1, b"ct") + _field(2, _field(1, _field(1, b"x"))))), "comes twice"),
    (b"\x0a\x05\x00", "5 bytes where 1 are left"),
    (b"\x08\x01", "wire type 0"),
    (b"\x0a" + b"\x80" * 11, "without an end"),
])  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        find_features(data, 0, len(data))

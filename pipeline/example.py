"""Token records as the bytes of tf.train.Example.

Written here rather than through protobuf's classes, which take a tenth of the
time of a small image: most of a record is the same in every record, and is
kept ready. The result is byte for byte protobuf's deterministic one, fields in
the order of their names; a test compares the two.

Source: the encoding of protocol buffers, and tensorflow/core/example/*.proto.
"""

import functools
import struct
from typing import Literal

import numpy as np

from fsq import lattice
from pipeline.records import Carried, CarriedFeature
from pipeline.views import View

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"


class ExampleWriter:
    """Serializes the records of one dataset.

    Args:
      vocab_size: Decides the type that tokens are stored in.
      features: What is carried, in the order in which values are given.
      token_format: 'bytes' for little-endian bytes of the smallest unsigned
        type, 'int64_list' for integers.
    """

    def __init__(
        self,
        vocab_size: int,
        features: tuple[CarriedFeature, ...],
        token_format: Literal["bytes", "int64_list"],
    ):
        self._dtype = np.dtype(lattice.storage_dtype(vocab_size)).newbyteorder("<")
        self._token_format = token_format
        self._features = features
        names = ["tokens", "key", "view", "crop", "flip", *(f.name for f in features)]
        # Where each value goes, fields being sorted by name as strings of bytes.
        self._order = sorted(range(len(names)), key=lambda i: names[i].encode())
        self._heads = [_head(name) for name in names]

    def tokens_to_values(self, tokens: np.ndarray) -> list[bytes]:
        """Encodes the tokens of many views at once, integers [views, N], as feature values."""
        if self._token_format == "int64_list":
            return [_int64_value(tuple(row)) for row in tokens.tolist()]
        data = tokens.astype(self._dtype).tobytes()
        size = len(data) // max(1, len(tokens))
        return [_bytes_value(data[i : i + size]) for i in range(0, len(data), size)]

    def serialize(self, tokens_value: bytes, key: bytes, view: View, carried: Carried) -> bytes:
        """Joins one record; `tokens_value` is an element of `tokens_to_values`."""
        values = [tokens_value, _bytes_value(key), *_view_values(view)]
        for feature, value in zip(self._features, carried, strict=True):
            match feature.kind:
                case "int64":
                    values.append(_int64_value((value,)))
                case "float32":
                    values.append(_delimited(_FLOAT_LIST, _delimited(b"\x0a", _FLOAT.pack(value))))
                case "bytes":
                    assert isinstance(value, bytes)
                    values.append(_bytes_value(value))
        heads = self._heads
        entries = b"".join([_entry(heads[i], values[i]) for i in self._order])
        return _delimited(b"\x0a", entries)


_FLOAT = struct.Struct("<f")


@functools.lru_cache(maxsize=4096)
def _view_values(view: View) -> tuple[bytes, bytes, bytes]:
    return (
        _bytes_value(view.name.encode()),
        _int64_value(tuple(view.crop)),
        _int64_value((int(view.flip),)),
    )


def _head(name: str) -> bytes:
    """The key half of a map entry."""
    return _delimited(b"\x0a", name.encode())


def _entry(head: bytes, value: bytes) -> bytes:
    return _delimited(b"\x0a", head + b"\x12" + _varint(len(value)) + value)


def _bytes_value(data: bytes) -> bytes:
    return _delimited(_BYTES_LIST, _delimited(b"\x0a", data))


@functools.lru_cache(maxsize=4096)
def _int64_value(numbers: tuple[int, ...]) -> bytes:
    packed = b"".join(_varint(number & 0xFFFFFFFFFFFFFFFF) for number in numbers)
    return _delimited(_INT64_LIST, _delimited(b"\x0a", packed))


def _delimited(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    if number < 128:
        return _SMALL[number]
    digits = bytearray()
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_SMALL = [bytes((number,)) for number in range(128)]

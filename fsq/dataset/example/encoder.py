"""A fast encoder of tf.train.Example: token records to bytes.

Written by hand because protobuf's classes take a tenth of the time of a small
image: most of a record is the same in every record, and is cached. The bytes
are those of protobuf's deterministic serialization, fields sorted by name; a
test compares the two.

Source: the encoding of protocol buffers, and tensorflow/core/example/*.proto.
"""

import functools
import struct
from typing import Literal

import numpy as np

from fsq.dataset.records import GRID, RESERVED_FEATURES, Carried, CarriedFeature, FeatureKind
from fsq.images.view import View
from fsq.quantizer import lattice

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"
_TAGS = {"bytes": _BYTES_LIST, "float32": _FLOAT_LIST, "int64": _INT64_LIST}
_TOKENS, _KEY = 0, 1  # indices of the fields


class ExampleWriter:
    """Serializes the records of one dataset.

    Args:
      vocab_size: Decides the type that tokens are stored in.
      features: Carried features, in the order of the values given.
      token_format: 'bytes' for little-endian bytes of `lattice.storage_dtype`,
        'int64_list' for integers.
      with_grid: Whether records say their rows and columns, because these differ.
    """

    def __init__(
        self,
        vocab_size: int,
        features: tuple[CarriedFeature, ...],
        token_format: Literal["bytes", "int64_list"],
        *,
        with_grid: bool = False,
    ):
        self._dtype = np.dtype(lattice.storage_dtype(vocab_size)).newbyteorder("<")
        self._token_format = token_format
        self._kinds = [feature.kind for feature in features]
        self._with_grid = with_grid
        reserved = [name for name in RESERVED_FEATURES if name != GRID or with_grid]
        names = [*reserved, *(f.name for f in features)]
        # Fields are sorted by the UTF-8 bytes of their names.
        self._order = sorted(range(len(names)), key=lambda i: names[i].encode())
        self._heads = [delimited(b"\x0a", name.encode()) for name in names]
        tokens = _BYTES_LIST if token_format == "bytes" else _INT64_LIST
        kinds = [_BYTES_LIST, _BYTES_LIST] + [_INT64_LIST] * (len(reserved) - 3)
        self._tags = [tokens, *kinds, *(_TAGS[kind] for kind in self._kinds)]
        # Most records of a dataset differ in tokens, key and label alone.
        self._frame = functools.lru_cache(maxsize=4096)(self._make_frame)

    def tokens_to_values(self, tokens: np.ndarray) -> list[bytes]:
        """Encodes the tokens of many views, integers [views, N], as feature values."""
        if self._token_format == "int64_list":
            return [_packed(tuple(row)) for row in tokens.tolist()]
        data = tokens.astype(self._dtype).tobytes()
        size = len(data) // max(1, len(tokens))
        return [data[i : i + size] for i in range(0, len(data), size)]

    def serialize(
        self,
        tokens_value: bytes,
        key: bytes,
        view: View,
        carried: Carried,
        grid: tuple[int, ...] = (),
    ) -> bytes:
        """Serializes a record.

        Args:
          tokens_value: An element of `tokens_to_values`.
          key: Key of the image.
          view: The view.
          carried: Values of the carried features.
          grid: Rows and columns of its tokens; written `with_grid` only.
        """
        # As bytes, because 0.0 == -0.0 would share an entry of the cache.
        values = tuple([_value(k, v) for k, v in zip(self._kinds, carried, strict=True)])
        if self._with_grid:
            values = (_packed(grid), *values)
        before, between, after = self._frame(len(key), len(tokens_value), view, values)
        return b"".join((before, key, between, tokens_value, after))

    def _make_frame(
        self, key_length: int, tokens_length: int, view: View, others: tuple[bytes, ...]
    ) -> tuple[bytes, bytes, bytes]:
        """Returns a record's bytes before, between and after its key and tokens."""
        fixed = [b"", b"", *_view_values(view), *others]
        pieces = [b""]
        for index in self._order:
            size = {_TOKENS: tokens_length, _KEY: key_length}.get(index, len(fixed[index]))
            pieces[-1] += _open_entry(self._heads[index], self._tags[index], size) + fixed[index]
            if index in (_TOKENS, _KEY):
                pieces.append(b"")
        before, between, after = pieces
        size = len(before) + key_length + len(between) + tokens_length + len(after)
        return b"\x0a" + _varint(size) + before, between, after


_FLOAT = struct.Struct("<f")


def _value(kind: FeatureKind, value: int | float | bytes) -> bytes:
    """Encodes a scalar as the payload of its list."""
    match kind:
        case "int64":
            assert isinstance(value, int)
            return _packed((value,))
        case "float32":
            return _FLOAT.pack(value)
        case "bytes":
            assert isinstance(value, bytes)
            return value


def _view_values(view: View) -> tuple[bytes, bytes, bytes, bytes]:
    return (
        view.name.encode(),
        _packed(tuple(view.crop)),
        _packed((int(view.flip),)),
        _packed(view.source_size),
    )


def _open_entry(head: bytes, tag: bytes, size: int) -> bytes:
    """Encodes a map entry up to its payload of `size` bytes, which comes last."""
    values = b"\x0a" + _varint(size)
    feature = tag + _varint(len(values) + size) + values
    entry = head + b"\x12" + _varint(len(feature) + size) + feature
    return b"\x0a" + _varint(len(entry) + size) + entry


@functools.lru_cache(maxsize=4096)
def _packed(numbers: tuple[int, ...]) -> bytes:
    return b"".join(_varint(number & 0xFFFFFFFFFFFFFFFF) for number in numbers)


def delimited(tag: bytes, payload: bytes) -> bytes:
    """Encodes a length-delimited field: tag, length, payload."""
    return tag + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)

"""Token records read back: bytes of tf.train.Example in, arrays out.

The inverse of `fsq.dataset.example.encoder`, without TensorFlow and without protobuf's
classes. All records of a dataset hold the same fields in the same order, so many
of them are parsed at once, one step taken in all of them at a time. What looks
otherwise is refused, not guessed at.

Source: the encoding of protocol buffers, and tensorflow/core/example/*.proto.
"""

import dataclasses
import functools
import struct
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from fsq.dataset.example.encoder import delimited
from fsq.dataset.records import FeatureKind

_TAGS: dict[FeatureKind, bytes] = {"bytes": b"\x0a", "float32": b"\x12", "int64": b"\x1a"}
_OTHERS = "expected the fields of the dataset, got others"
_FLOAT = struct.Struct("<f")
_PADDING = bytes(16)  # a step may look beyond the end


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of every record.

    Attributes:
      name: Its name.
      kind: How it is stored.
      length: How many numbers; of bytes, how many there are in every record, or
        None where that differs.
    """

    name: str
    kind: FeatureKind
    length: int | None = 1


class OtherRecordError(ValueError):
    """Bytes are not a record of the fields that were expected."""


def parse_records(
    data: bytes,
    starts: np.ndarray,
    ends: np.ndarray,
    fields: Sequence[Field],
    wanted: Collection[str],
) -> dict[str, Any]:
    """Parses many records at once.

    Args:
      data: They lie in here.
      starts: Where each begins, int64 [R].
      ends: Where each ends, int64 [R].
      fields: All of their fields, in any order.
      wanted: The names of those to return.

    Returns:
      By name: numbers as int64 or float32 [R, length], [R] if the length is one;
      bytes of one length as uint8 [R, length], others as a list of bytes.

    Raises:
      OtherRecordError: A record has other fields, or other lengths.
    """
    try:
        return _Cursor(data, starts).read_example(ends, fields, wanted)
    except OtherRecordError:
        raise
    except (IndexError, OverflowError, ValueError) as error:  # beyond the end
        raise OtherRecordError(_OTHERS) from error


def parse_record(data: bytes, fields: Sequence[Field], wanted: Collection[str]) -> dict[str, Any]:
    """Parses one record, which `parse_records` does not do as fast.

    Returns:
      By name: numbers as int or float, as a list if there are several; bytes.

    Raises:
      OtherRecordError: It has other fields, or other lengths.
    """
    try:
        return _parse_one(data, fields, wanted)
    except IndexError as error:  # beyond the end
        raise OtherRecordError(_OTHERS) from error


class _Cursor:
    """A place in every record, moved on in all of them at once."""

    def __init__(self, data: bytes, starts: np.ndarray):
        self._data = data
        self._buffer = np.frombuffer(data + _PADDING, np.uint8)
        self._at = starts

    def read_example(
        self, ends: np.ndarray, fields: Sequence[Field], wanted: Collection[str]
    ) -> dict[str, Any]:
        self._expect(b"\x0a")
        self._require(self._read_end() == ends)
        found = {}
        for field, head in _ordered(tuple(fields)):
            self._expect(b"\x0a")
            end = self._read_end()
            self._expect(head)
            if field.name in wanted:
                found[field.name] = self._read_value(field, end)
            self._at = end
        self._require(self._at == ends)
        return found

    def _read_value(self, field: Field, end: np.ndarray) -> Any:
        self._require(self._read_end() == end)
        self._expect(_TAGS[field.kind])
        self._require(self._read_end() == end)
        self._expect(b"\x0a")
        self._require(self._read_end() == end)
        size = end - self._at
        if field.kind == "int64":
            if field.length != 1:
                return self._read_packed(field.length or 0, end)
            number = self._read_varint()
            self._require(self._at == end)
            return number
        if field.kind == "float32":
            self._require(size == _FLOAT.size)
            return self._pieces(_FLOAT.size).view("<f4")[:, 0]
        if field.length is not None:
            self._require(size == field.length)
            return self._pieces(field.length)
        self._require((size >= 0) & (end <= len(self._data)))
        pairs = zip(self._at.tolist(), end.tolist(), strict=True)
        return [self._data[start:stop] for start, stop in pairs]

    def _pieces(self, length: int) -> np.ndarray:
        """Returns the next bytes of every record, uint8 [R, length]."""
        return np.lib.stride_tricks.sliding_window_view(self._buffer, length)[self._at]

    def _expect(self, words: bytes) -> None:
        self._require(self._pieces(len(words)) == np.frombuffer(words, np.uint8))
        self._at = self._at + len(words)

    def _read_end(self) -> np.ndarray:
        """Reads a length; returns where what has that length ends, int64 [R]."""
        size = self._read_varint()
        self._require(size >= 0)
        return self._at + size

    def _read_varint(self) -> np.ndarray:
        """Reads an integer of every record, int64 [R]."""
        byte = self._buffer[self._at].astype(np.int64)
        value, more, shift = byte & 127, byte > 127, 7
        self._at = self._at + 1
        while more.any():
            self._require(shift < 64)
            byte = np.where(more, self._buffer[self._at], 0).astype(np.int64)
            value |= (byte & 127) << shift
            self._at = self._at + more
            more, shift = byte > 127, shift + 7
        return value

    def _read_packed(self, count: int, end: np.ndarray) -> np.ndarray:
        """Reads several integers of every record, int64 [R, count]."""
        self._require((self._at <= end) & (end <= len(self._data)))
        # Pieces that stay in the cache.
        pieces = [slice(first, first + 256) for first in range(0, len(end), 256)]
        return np.concatenate([self._unpack(self._at[p], end[p], count) for p in pieces])

    def _unpack(self, begin: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
        # The last byte of an integer is one below 128.
        last = np.flatnonzero(self._buffer[begin[0] : end[-1]] < 128) + begin[0]
        rows = last[np.searchsorted(last, begin)[:, None] + np.arange(count)]
        self._require(rows[:, -1] == end - 1)
        last = rows.ravel()
        value = self._buffer[last].astype(np.int64)
        # Those before it follow from the back; before the first of all stands a length's last byte.
        byte = self._buffer[last - 1]
        more, bytes_back = byte > 127, 1
        while more.any():
            self._require(bytes_back < 10)
            value = np.where(more, value << 7 | byte & 127, value)
            bytes_back += 1
            byte = self._buffer[last - bytes_back]
            more &= byte > 127
        return value.reshape(-1, count)

    def _require(self, condition: Any) -> None:
        if not np.all(condition):
            raise OtherRecordError(_OTHERS)


def _parse_one(data: bytes, fields: Sequence[Field], wanted: Collection[str]) -> dict[str, Any]:
    at = 0

    def read_varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while (byte := data[at]) > 127:
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            require(shift < 64)
        at += 1
        value = (value | byte << shift) & 0xFFFFFFFFFFFFFFFF
        return value - (1 << 64) if value >> 63 else value

    def read_end() -> int:
        size = read_varint()
        return at + size

    def expect(words: bytes) -> None:
        nonlocal at
        require(data.startswith(words, at))
        at += len(words)

    def require(condition: bool) -> None:
        if not condition:
            raise OtherRecordError(_OTHERS)

    expect(b"\x0a")
    require(read_end() == len(data))
    found: dict[str, Any] = {}
    for field, head in _ordered(tuple(fields)):
        expect(b"\x0a")
        end = read_end()
        require(at <= end <= len(data))
        expect(head)
        if field.name in wanted:
            for tag in (b"", _TAGS[field.kind], b"\x0a"):
                expect(tag)
                require(read_end() == end)
            match field.kind:
                case "int64":
                    numbers = [read_varint() for _ in range(field.length or 0)]
                    require(at == end)
                    found[field.name] = numbers[0] if field.length == 1 else numbers
                case "float32":
                    require(end - at == _FLOAT.size)
                    (found[field.name],) = _FLOAT.unpack_from(data, at)
                case "bytes":
                    require(field.length in (None, end - at))
                    found[field.name] = data[at:end]
        at = end
    require(at == len(data))
    return found


@functools.lru_cache(maxsize=64)
def _ordered(fields: tuple[Field, ...]) -> list[tuple[Field, bytes]]:
    """The fields as they stand in a record, each with what lies between its two lengths."""
    ordered = sorted(fields, key=lambda field: field.name.encode())
    return [(each, delimited(b"\x0a", each.name.encode()) + b"\x12") for each in ordered]

"""A fast decoder of tf.train.Example: token records to arrays.

The inverse of `encoder`, without TensorFlow and protobuf's classes. All records
of a dataset have the same fields in the same order, so many are parsed at once,
each step vectorized over all of them. Any other layout is refused.

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
_OTHERS = "expected the fields of the dataset, got other fields or lengths"
_FLOAT = struct.Struct("<f")
_PADDING = bytes(16)  # a step may read past the end


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of every record.

    Attributes:
      name: Name of the feature.
      kind: Stored type.
      length: Number of values; for bytes, number of bytes, or None if that varies.
    """

    name: str
    kind: FeatureKind
    length: int | None = 1


class OtherRecordError(ValueError):
    """The bytes are not a record with the expected fields."""


def parse_records(
    data: bytes,
    starts: np.ndarray,
    ends: np.ndarray,
    fields: Sequence[Field],
    wanted: Collection[str],
) -> dict[str, Any]:
    """Parses many records at once.

    Args:
      data: Buffer that contains the records.
      starts: Begin of each record in the buffer, in bytes, int64 [R].
      ends: End of each record in the buffer, in bytes, int64 [R].
      fields: All fields of a record, in any order.
      wanted: Names of the fields to return.

    Returns:
      By name: numbers as int64 or float32 [R, length], [R] if the length is one;
      bytes of fixed length as uint8 [R, length], others as a list of bytes.

    Raises:
      OtherRecordError: A record has other fields, or other lengths.
    """
    try:
        return _read_example(_ManyRecords(data, starts), ends, fields, wanted)
    except OtherRecordError:
        raise
    except (IndexError, OverflowError, ValueError) as error:  # read past the end
        raise OtherRecordError(_OTHERS) from error


def parse_record(data: bytes, fields: Sequence[Field], wanted: Collection[str]) -> dict[str, Any]:
    """Parses one record; faster than `parse_records` for a few.

    Returns:
      By name: numbers as int or float, as a list if there are several; bytes.

    Raises:
      OtherRecordError: It has other fields, or other lengths.
    """
    try:
        return _read_example(_OneRecord(data), len(data), fields, wanted)
    except IndexError as error:  # read past the end
        raise OtherRecordError(_OTHERS) from error


def _read_example(
    cursor: "_ManyRecords | _OneRecord", end: Any, fields: Sequence[Field], wanted: Collection[str]
) -> dict[str, Any]:
    """Walks through the structure of a tf.train.Example."""
    cursor.expect(b"\x0a")
    cursor.require(cursor.read_end() == end)
    found = {}
    for field, head in _ordered(tuple(fields)):
        cursor.expect(b"\x0a")
        end_of_field: Any = cursor.read_end()
        cursor.expect(head)
        if field.name in wanted:
            for tag in (b"", _TAGS[field.kind], b"\x0a"):
                cursor.expect(tag)
                cursor.require(cursor.read_end() == end_of_field)
            found[field.name] = cursor.read_value(field, end_of_field)
        cursor.at = end_of_field
    cursor.require(cursor.at == end)
    return found


class _ManyRecords:
    """A cursor into many records, advanced in all of them at once."""

    def __init__(self, data: bytes, starts: np.ndarray):
        self._data = data
        self._buffer = np.frombuffer(data + _PADDING, np.uint8)
        self.at: Any = starts

    def read_value(self, field: Field, end: np.ndarray) -> Any:
        """Reads a field whose payload ends at `end`; see `parse_records`."""
        size = end - self.at
        if field.kind == "int64":
            if field.length != 1:
                return self._read_packed(field.length or 0, end)
            number = self._read_varint()
            self.require(self.at == end)
            return number
        if field.kind == "float32":
            self.require(size == _FLOAT.size)
            return self._pieces(_FLOAT.size).view("<f4")[:, 0]
        if field.length is not None:
            self.require(size == field.length)
            return self._pieces(field.length)
        self.require((size >= 0) & (end <= len(self._data)))
        pairs = zip(self.at.tolist(), end.tolist(), strict=True)
        return [self._data[start:stop] for start, stop in pairs]

    def _pieces(self, length: int) -> np.ndarray:
        """Returns the next bytes of every record, uint8 [R, length]."""
        return np.lib.stride_tricks.sliding_window_view(self._buffer, length)[self.at]

    def expect(self, words: bytes) -> None:
        """Skips bytes that must come next."""
        if not words:
            return
        self.require(self._pieces(len(words)) == np.frombuffer(words, np.uint8))
        self.at = self.at + len(words)

    def read_end(self) -> np.ndarray:
        """Reads a length; returns where the content of that length ends, int64 [R]."""
        size = self._read_varint()
        self.require(size >= 0)
        return self.at + size

    def _read_varint(self) -> np.ndarray:
        """Reads an integer of every record, int64 [R]."""
        byte = self._buffer[self.at].astype(np.int64)
        value, more, shift = byte & 127, byte > 127, 7
        self.at = self.at + 1
        while more.any():
            self.require(shift < 64)
            byte = np.where(more, self._buffer[self.at], 0).astype(np.int64)
            value |= (byte & 127) << shift
            self.at = self.at + more
            more, shift = byte > 127, shift + 7
        return value

    def _read_packed(self, count: int, end: np.ndarray) -> np.ndarray:
        """Reads several integers of every record, int64 [R, count]."""
        self.require((self.at <= end) & (end <= len(self._data)))
        # In pieces that fit in the CPU's cache.
        pieces = [slice(first, first + 256) for first in range(0, len(end), 256)]
        return np.concatenate([self._unpack(self.at[p], end[p], count) for p in pieces])

    def _unpack(self, begin: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
        # The last byte of a varint is below 128.
        last = np.flatnonzero(self._buffer[begin[0] : end[-1]] < 128) + begin[0]
        rows = last[np.searchsorted(last, begin)[:, None] + np.arange(count)]
        self.require(rows[:, -1] == end - 1)
        last = rows.ravel()
        value = self._buffer[last].astype(np.int64)
        # The bytes before it follow, last to first; before the first varint a length ends.
        byte = self._buffer[last - 1]
        more, bytes_back = byte > 127, 1
        while more.any():
            self.require(bytes_back < 10)
            value = np.where(more, value << 7 | byte & 127, value)
            bytes_back += 1
            byte = self._buffer[last - bytes_back]
            more &= byte > 127
        return value.reshape(-1, count)

    def require(self, condition: Any) -> None:
        """Refuses the records unless a condition holds for each."""
        if not np.all(condition):
            raise OtherRecordError(_OTHERS)


class _OneRecord:
    """A cursor into one record."""

    def __init__(self, data: bytes):
        self._data = data
        self.at: Any = 0

    def read_value(self, field: Field, end: int) -> Any:
        """Reads a field whose payload ends at `end`; see `parse_record`."""
        match field.kind:
            case "int64":
                numbers = [self._read_varint() for _ in range(field.length or 0)]
                self.require(self.at == end)
                return numbers[0] if field.length == 1 else numbers
            case "float32":
                self.require(end - self.at == _FLOAT.size)
                return _FLOAT.unpack_from(self._data, self.at)[0]
            case "bytes":
                self.require(field.length in (None, end - self.at))
                return self._data[self.at : end]

    def expect(self, words: bytes) -> None:
        """Skips bytes that must come next."""
        self.require(self._data.startswith(words, self.at))
        self.at += len(words)

    def read_end(self) -> int:
        """Reads a length; returns where the content of that length ends."""
        size = self._read_varint()
        end: int = self.at + size
        self.require(self.at <= end <= len(self._data))
        return end

    def _read_varint(self) -> int:
        value, shift, data, at = 0, 0, self._data, self.at
        while (byte := data[at]) > 127:
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            self.require(shift < 64)
        self.at = at + 1
        value = (value | byte << shift) & 0xFFFFFFFFFFFFFFFF
        return value - (1 << 64) if value >> 63 else value

    def require(self, condition: bool) -> None:
        """Refuses the record unless a condition holds."""
        if not condition:
            raise OtherRecordError(_OTHERS)


@functools.lru_cache(maxsize=64)
def _ordered(fields: tuple[Field, ...]) -> list[tuple[Field, bytes]]:
    """Returns the fields in stored order, each with the bytes between its two lengths."""
    ordered = sorted(fields, key=lambda field: field.name.encode())
    return [(each, delimited(b"\x0a", each.name.encode()) + b"\x12") for each in ordered]

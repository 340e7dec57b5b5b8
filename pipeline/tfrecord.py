"""The framing of TFRecord files: length, checksum of the length, data, checksum of the data.

Our own, because units and shards need byte offsets, and because a part's
records are copied into a shard without being parsed.
Source: tensorflow/core/lib/io/record_writer.h documents the format.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np

from fsq.errors import DataError

HEADER_BYTES = 12
FOOTER_BYTES = 4
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def frame(data: bytes) -> bytes:
    """Wraps one record for a TFRecord file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CHECKSUM.pack(_masked(length)), data, _CHECKSUM.pack(_masked(data))))


def unframe(framed: bytes, where: str) -> bytes:
    """Returns the record inside one frame; the inverse of `frame`.

    Raises:
      DataError: A checksum or the length is wrong.
    """
    data = framed[HEADER_BYTES:-FOOTER_BYTES]
    if len(framed) < HEADER_BYTES + FOOTER_BYTES or frame(data) != framed:
        raise DataError(f"{where}: expected a TFRecord with a right checksum, got a damaged one.")
    return data


def scan(file: BinaryIO, size_bytes: int, where: str) -> np.ndarray:
    """Finds where each record begins, reading only the headers.

    Returns:
      int64 offsets, shape [records].

    Raises:
      DataError: A header is damaged or the file ends inside a record.
    """
    offsets: list[int] = []
    offset = 0
    while offset < size_bytes:
        file.seek(offset)
        length = _read_length(file.read(HEADER_BYTES), f"{where}: record {len(offsets)}")
        offsets.append(offset)
        offset += HEADER_BYTES + length + FOOTER_BYTES
    if offset != size_bytes:
        raise DataError(
            f"{where}: record {len(offsets) - 1}: expected it to end at byte {offset:,}, "
            f"got a file of {size_bytes:,} bytes. The file is cut off; copy it anew."
        )
    return np.array(offsets, np.int64)


def read_records(file: BinaryIO, where: str) -> Iterator[bytes]:
    """Yields the records from the file's position on, each checked.

    Raises:
      DataError: A checksum is wrong, or the file ends inside a record.
    """
    number = 0
    while header := file.read(HEADER_BYTES):
        place = f"{where}: record {number}"
        length = _read_length(header, place)
        data = file.read(length)
        footer = file.read(FOOTER_BYTES)
        if len(data) != length or len(footer) != FOOTER_BYTES:
            raise DataError(f"{place}: expected {length:,} bytes, got the end of the file.")
        if _CHECKSUM.unpack(footer)[0] != _masked(data):
            raise DataError(f"{place}: expected data with its checksum, got damaged data.")
        yield data
        number += 1


def _read_length(header: bytes, place: str) -> int:
    if len(header) != HEADER_BYTES:
        raise DataError(f"{place}: expected a record, got the end of the file.")
    if _CHECKSUM.unpack_from(header, 8)[0] != _masked(header[:8]):
        raise DataError(f"{place}: expected a TFRecord, got a damaged header. Copy the file anew.")
    return _LENGTH.unpack_from(header)[0]


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

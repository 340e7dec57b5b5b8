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
        try:
            length = _read_length(file.read(HEADER_BYTES))
        except DataError as error:
            raise DataError(f"{where}: record {len(offsets)}: {error}") from error
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
        try:
            length = _read_length(header)
            body = file.read(length + FOOTER_BYTES)
            if len(body) != length + FOOTER_BYTES:
                raise DataError(f"expected {length:,} bytes, got the end of the file.")
            data = body[:length]
            if _CHECKSUM.unpack_from(body, length)[0] != _masked(data):
                raise DataError("expected data with its checksum, got damaged data.")
        except DataError as error:
            raise DataError(f"{where}: record {number}: {error}") from error
        yield data
        number += 1


def _read_length(header: bytes) -> int:
    if len(header) != HEADER_BYTES:
        raise DataError("expected a record, got the end of the file.")
    if _CHECKSUM.unpack_from(header, 8)[0] != _masked(header[:8]):
        raise DataError("expected a TFRecord, got a damaged header. Copy the file anew.")
    return _LENGTH.unpack_from(header)[0]


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

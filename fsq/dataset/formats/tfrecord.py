"""TFRecord files: framing, checksums, scanning, reading and writing.

A frame is the length, its checksum, the data, its checksum. Implemented here because
units and shards need byte offsets, and because the records of a part are copied into
a shard without being parsed.
Source: tensorflow/core/lib/io/record_writer.h documents the format.
"""

import contextlib
import functools
import hashlib
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np

from fsq.dataset.formats.base import ShardFormat, describe_file
from fsq.errors import DataError
from fsq.storage import filesystem

HEADER_BYTES = 12
FOOTER_BYTES = 4
PIECE_BYTES = 1 << 23
WRONG_DATA = "expected data that matches its checksum, got damaged data"
AGAIN = "Copy the file again."
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def frame(data: bytes) -> bytes:
    """Frames one record for a TFRecord file."""
    return b"".join((_header(len(data)), data, _CHECKSUM.pack(_masked(data))))


def unframe(framed: bytes, where: str) -> bytes:
    """Returns the record inside one frame; the inverse of `frame`.

    Raises:
      DataError: A checksum or the length is wrong.
    """
    data = framed[HEADER_BYTES:-FOOTER_BYTES]
    if len(framed) < HEADER_BYTES + FOOTER_BYTES or frame(data) != framed:
        raise DataError(f"{where}: expected a TFRecord with valid checksums, got a damaged one.")
    return data


def payload(framed: bytes) -> bytes:
    """Returns the record inside one frame, unchecked."""
    return framed[HEADER_BYTES:-FOOTER_BYTES]


class Scan(NamedTuple):
    """What the headers of a file say.

    Attributes:
      num_records: Number of records before the end or the damage.
      offsets: Byte offset of every `stride`-th record, int64.
      damage: Why scanning stopped before the end of the file; None if it did not.
    """

    num_records: int
    offsets: np.ndarray
    damage: str | None


def scan(
    file: BinaryIO,
    size_bytes: int,
    *,
    stride: int = 1,
    heartbeat: Callable[[], None] = lambda: None,
) -> Scan:
    """Finds the byte offsets of records from their headers; calls `heartbeat` for each."""
    offsets = array("q")
    number = offset = 0
    damage = None
    while offset < size_bytes:
        heartbeat()
        file.seek(offset)
        try:
            end = offset + HEADER_BYTES + _read_length(file.read(HEADER_BYTES)) + FOOTER_BYTES
        except DataError as error:
            damage = (
                f"record {number}: {error}: what follows byte {offset:,} of {size_bytes:,} "
                "cannot be read"
            )
            break
        if end > size_bytes:
            damage = (
                f"record {number}: expected it to end at byte {end:,}, "
                f"got a file of {size_bytes:,} bytes: it is cut off"
            )
            break
        if number % stride == 0:
            offsets.append(offset)
        number, offset = number + 1, end
    return Scan(number, np.array(offsets, np.int64), damage)


def find_strides(file: BinaryIO, size_bytes: int, stride: int) -> Scan:
    """Does what `scan` does, several times as fast if records are small.

    It reads the whole file and trusts its lengths: a wrong length shows in the
    checksums when the records are read.
    """
    offsets: list[int] = []
    number = offset = 0
    length_at = _LENGTH.unpack_from
    while offset < size_bytes:
        file.seek(offset)
        piece = file.read(PIECE_BYTES)
        at, last = 0, len(piece) - HEADER_BYTES
        if last < 0:
            break
        while at <= last:
            if number % stride == 0:
                offsets.append(offset + at)
            at += length_at(piece, at)[0] + HEADER_BYTES + FOOTER_BYTES
            number += 1
        offset += at
    damage = None
    if offset != size_bytes:
        damage = f"expected the last record to end at byte {size_bytes:,}, got {offset:,}"
    return Scan(number, np.array(offsets), damage)


def read_records(file: BinaryIO, where: str, first: int = 0) -> Iterator[bytes]:
    """Yields the records from the file's current position on, checking each.

    Args:
      file: The open file.
      where: Name of the file, for messages.
      first: Index of the first record, for messages.

    Raises:
      DataError: A checksum is wrong, or the file ends inside a record.
    """
    for number, record in enumerate(read_frames(file, where, first), start=first):
        if record is None:
            raise DataError(f"{where}: record {number}: {WRONG_DATA}.")
        yield record


def read_frames(file: BinaryIO, where: str, first: int = 0) -> Iterator[bytes | None]:
    """Does what `read_records` does, but yields None for a record with damaged data.

    Raises:
      DataError: A header is damaged, or the file ends inside a record, so that
        the begin of the next record is unknown.
    """
    number = first
    while header := file.read(HEADER_BYTES):
        try:
            length = _read_length(header)
            body = file.read(length + FOOTER_BYTES)
            if len(body) != length + FOOTER_BYTES:
                raise DataError(f"expected {length:,} bytes, got the end of the file")
        except DataError as error:
            raise DataError(f"{where}: record {number}: {error}. {AGAIN}") from error
        data = body[:length]
        yield data if _CHECKSUM.unpack_from(body, length)[0] == _masked(data) else None
        number += 1


def split_frames(data: bytes, where: str, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Finds the records in consecutive frames, checking each.

    Args:
      data: The frames.
      where: Name of their file, for messages.
      first: Index of the first record, for messages.

    Returns:
      Begin and end of each record in `data`, in bytes, each int64 [R].

    Raises:
      DataError: A checksum is wrong, or the data ends inside a record.
    """
    begins, sums = [], []
    offset, size = 0, len(data)
    length_at, checksum = _LENGTH.unpack_from, google_crc32c.value
    while offset + HEADER_BYTES + FOOTER_BYTES <= size:
        begin = offset + HEADER_BYTES
        offset = begin + length_at(data, offset)[0]
        begins.append(begin)
        sums.append(checksum(data[begin:offset]))
        offset += FOOTER_BYTES
    if offset != size:
        number = first + len(begins) - (offset > size)
        raise DataError(f"{where}: record {number}: {WRONG_DATA}. {AGAIN}")
    starts = np.array(begins, np.int64)
    ends = np.append(starts[1:] - HEADER_BYTES, offset)[: len(starts)] - FOOTER_BYTES
    crc = np.array(sums, np.uint32)
    footers = np.frombuffer(data, np.uint8)[ends[:, None] + np.arange(FOOTER_BYTES)]
    wrong = (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8) != footers.view("<u4")[:, 0]
    if wrong.any():
        raise DataError(f"{where}: record {first + int(wrong.argmax())}: {WRONG_DATA}. {AGAIN}")
    return starts, ends


def _read_length(header: bytes) -> int:
    if len(header) != HEADER_BYTES:
        raise DataError("expected a record, got the end of the file")
    length: int = _LENGTH.unpack_from(header)[0]
    if header != _header(length):
        raise DataError("expected a TFRecord, got a damaged header")
    return length


# The records of a dataset have only some hundreds of different lengths.
@functools.lru_cache(maxsize=4096)
def _header(length: int) -> bytes:
    packed = _LENGTH.pack(length)
    return packed + _CHECKSUM.pack(_masked(packed))


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class _Writer:
    def __init__(self, file: BinaryIO):
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, frames: Sequence[bytes]) -> None:
        data = b"".join(frames)
        self._file.write(data)
        self.digest.update(data)


@contextlib.contextmanager
def open_writer(path: str) -> Iterator[_Writer]:
    """Opens a file for writing; see `ShardFormat`."""
    with filesystem.open_write(path) as file:
        writer = _Writer(file)
        yield writer
    expected, found = writer.digest.hexdigest(), describe_file(path).sha256
    if found != expected:
        raise DataError(
            f"{path}: expected sha256 {expected[:12]} as written, got {found[:12]} when read "
            "back. The disk is faulty; write to another."
        )


def read_file(path: str) -> Iterator[bytes]:
    """Yields the records of a file in order; see `ShardFormat`."""
    with filesystem.open_read(path) as file:
        yield from read_records(file, path)


TFRECORD = ShardFormat("tfrecord", "TFRecord", open_writer, read_file, known_to_tfds=True)

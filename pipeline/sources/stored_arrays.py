"""Stored arrays: NumPy's .npy and .npz, and IDX, read row by row without loading them.

Sources: numpy.lib.format (NEP 1); the IDX format of MNIST (Yann LeCun's page of the dataset).
"""

import gzip
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.cursor_pool import borrowed_cursor

_NPY, _ZIP, _GZIP = b"\x93NUMPY", b"PK", b"\x1f\x8b"
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MOST_HEADER_BYTES = 10_000
_SKIPPED_BYTES = 1 << 20
# What zipfile, zlib and numpy's reader of headers raise for damaged files.
_DAMAGE = (
    *(zipfile.BadZipFile, gzip.BadGzipFile, zlib.error),
    *(EOFError, ValueError, struct.error, NotImplementedError),
)


class ArrayFormat(NamedTuple):
    """How the values of an array lie behind a header.

    Attributes:
      dtype: Type of the values.
      shape: Shape of the array; its first axis numbers the records.
      fortran_order: Whether the first axis varies fastest.
      offset: Byte offset of the first value.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    offset: int

    @property
    def row_bytes(self) -> int:
        """Size of a record."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class ArrayCursor:
    """Reads the records of an array, by place in a plain file, forward in a compressed one."""

    def __init__(self, path: str, member: str | None):
        self._path = path
        self._raw = filesystem.open_read(path)
        try:
            self._file, self._seekable, self.size_bytes = self._open(member)
            self.format = _read_header(self._file, path)
        except BaseException as error:
            self._raw.close()
            if isinstance(error, _DAMAGE) and not isinstance(error, DataError):
                raise _damaged(path, error) from error
            raise
        self._row = 0

    def _open(self, member: str | None) -> tuple[BinaryIO, bool, int | None]:
        """Returns the file of the array, whether it is read by place, and its size if known."""
        head = self._raw.read(8)
        self._raw.seek(0)
        if head.startswith(_ZIP):
            return self._open_member(zipfile.ZipFile(self._raw), member)
        if head.startswith(_GZIP):
            return cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)), False, None
        size_bytes = self._raw.seek(0, io.SEEK_END)
        self._raw.seek(0)
        return self._raw, True, size_bytes

    def _open_member(
        self, archive: zipfile.ZipFile, member: str | None
    ) -> tuple[BinaryIO, bool, int | None]:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if member is None and len(names) == 1:
            member = names[0]
        if member not in names:
            wanted = "the name of one of its arrays" if member is None else f"an array {member!r}"
            raise DataError(
                f"{self._path}: expected {wanted}, found {', '.join(names[:20]) or 'none'}. "
                "Name it in the config."
            )
        info = archive.infolist()[names.index(member)]
        if info.compress_type != zipfile.ZIP_STORED:
            return cast(BinaryIO, archive.open(info)), False, info.file_size
        # The header before the content may be longer than the one in the directory.
        self._raw.seek(info.header_offset + 26)
        lengths = struct.unpack("<HH", self._raw.read(4))
        start = info.header_offset + 30 + sum(lengths)
        return cast(BinaryIO, _Part(self._raw, start, info.file_size)), True, info.file_size

    def distance(self, record: int) -> int:
        """Returns how many records have to be read to get to one."""
        return record - self._row if self._row <= record else record

    def close(self) -> None:
        """Closes the file."""
        self._raw.close()

    @property
    def num_readable(self) -> int:
        """Number of records that are in the file; all of them, if its size is not known."""
        count = self.format.shape[0]
        if self.size_bytes is None or self.format.row_bytes == 0:
            return count
        return min(count, max(0, self.size_bytes - self.format.offset) // self.format.row_bytes)

    @property
    def spare_bytes(self) -> int:
        """Number of bytes behind the last record, if the size of the file is known."""
        end = self.format.offset + self.format.shape[0] * self.format.row_bytes
        return 0 if self.size_bytes is None else max(0, self.size_bytes - end)

    def read(self, first: int, count: int) -> np.ndarray:
        """Reads records, [count, ...].

        Raises:
          DataError: The file ends before, or its compressed data is damaged.
        """
        size = self.format.row_bytes
        try:
            if self._seekable or first < self._row:
                self._file.seek(self.format.offset + first * size)
            else:
                self._skip((first - self._row) * size)
            self._row = first + count
            data = self._file.read(count * size)
        except _DAMAGE as error:
            raise _damaged(self._path, error) from error
        if len(data) != count * size:
            raise DataError(
                f"{self._path}: expected {count:,} records from record {first:,} on, got the end "
                "of the file. Copy it again, or set source.damaged to 'reject'."
            )
        return np.frombuffer(data, self.format.dtype).reshape(count, *self.format.shape[1:])

    def verify(self) -> None:
        """Reads a compressed array to its end, where the checksum is; any other has none.

        Raises:
          DataError: It is damaged, or its size is not that of its header.
        """
        if self._seekable:
            return
        size = 0
        try:
            while data := self._file.read(_SKIPPED_BYTES):
                size += len(data)
            self._file.seek(self.format.offset)
        except _DAMAGE as error:
            raise _damaged(self._path, error) from error
        if size != self.format.shape[0] * self.format.row_bytes:
            raise _damaged(self._path, f"{size:,} bytes for {self.format.shape}")

    def _skip(self, size_bytes: int) -> None:
        while size_bytes and (skipped := self._file.read(min(size_bytes, _SKIPPED_BYTES))):
            size_bytes -= len(skipped)


class _Part(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size_bytes: int):
        self._file, self._start, self._size_bytes = file, start, size_bytes
        self._place = 0

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        assert whence == io.SEEK_SET
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        rest = max(0, self._size_bytes - self._place)
        self._file.seek(self._start + self._place)
        data = self._file.read(rest if size < 0 else min(size, rest))
        self._place += len(data)
        return data


def borrowed_array(
    path: str, member: str | None, first: int
) -> AbstractContextManager[ArrayCursor]:
    """Borrows the cursor of an array that is nearest before a record.

    Args:
      path: A .npy, .npz or IDX file; IDX may be compressed by gzip.
      member: Name of the array in a .npz; None for its only one.
      first: Number of the record.

    Raises:
      OSError, DataError: It cannot be opened, or is no such file.
    """
    key = (path, member, filesystem.modified_ns(path))
    return borrowed_cursor(key, first, lambda: ArrayCursor(path, member))


def _damaged(path: str, error: Exception | str) -> DataError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(
        f"{path}: expected an array that can be read, got: {reason}. Copy it again, or set "
        "source.damaged to 'reject'."
    )


def _read_header(file: BinaryIO, path: str) -> ArrayFormat:
    head = file.read(8)
    if head.startswith(_NPY):
        file.seek(0)
        found = _read_npy_header(file, path)
    elif head[:2] == b"\0\0" and len(head) > 3 and head[2] in _IDX_TYPES and head[3]:
        file.seek(0)
        found = _read_idx_header(file)
    else:
        what = "an empty file" if not head else "other bytes"
        raise DataError(
            f"{path}: expected an array (.npy, .npz or IDX), got {what}. Copy it again, or leave "
            "it out of source.files."
        )
    if found.dtype.hasobject:
        raise DataError(
            f"{path}: expected an array of numbers, got one of Python objects, which are not "
            "loaded: they could run any program. Save it again as numbers."
        )
    if not found.shape:
        raise DataError(f"{path}: expected an array of records, got a single value. Leave it out.")
    return found


def _read_npy_header(file: BinaryIO, path: str) -> ArrayFormat:
    readers: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise _damaged(path, f"version {version} of the format")
    shape, fortran_order, dtype = readers[version](file, max_header_size=_MOST_HEADER_BYTES)
    if any(side < 0 for side in shape):
        raise _damaged(path, f"the shape {shape}")
    return ArrayFormat(dtype, shape, fortran_order and len(shape) > 1, file.tell())


def _read_idx_header(file: BinaryIO) -> ArrayFormat:
    _, kind, axes = struct.unpack(">HBB", file.read(4))
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    return ArrayFormat(np.dtype(_IDX_TYPES[kind]), shape, False, 4 + 4 * axes)

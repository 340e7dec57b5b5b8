"""ArrayRecord: the records of a TFRecord shard, each to be had by its number.

The library knows local paths only. Elsewhere a file is written here, then copied,
and copied here to be read. It is imported when it is first used.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fsq.dataset.formats.base import ShardFormat
from fsq.dataset.formats.tfrecord import payload
from fsq.errors import DataError
from fsq.storage import filesystem

# Groups of one, because a group is read as a whole; uncompressed, because tokens hardly shrink;
# one thread, so that the bytes cannot depend on several.
WRITER_OPTIONS = "group_size:1,uncompressed,max_parallelism:1"
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
RECORDS_PER_READ = 1024


class _Writer:
    def __init__(self, library_writer: Any, path: str):
        self.digest = hashlib.sha256()
        self._writer, self._path = library_writer, path

    def write(self, frames: Sequence[bytes]) -> None:
        with _as_os_error(self._path):
            for framed in frames:
                data = payload(framed)
                self.digest.update(data)
                self._writer.write(data)

    def close(self) -> None:
        with _as_os_error(self._path):
            self._writer.close()


@contextlib.contextmanager
def open_writer(path: str) -> Iterator[_Writer]:
    """Opens a file for writing; see `ShardFormat`."""
    from array_record.python.array_record_module import ArrayRecordWriter

    with _place_to_write(path) as place:
        with _as_os_error(path):
            writer = _Writer(ArrayRecordWriter(place, WRITER_OPTIONS), path)
        yield writer
        writer.close()
        found = hashlib.sha256()
        for record in _read_local(place, path):
            found.update(record)
        if found.digest() != writer.digest.digest():
            raise DataError(
                f"{path}: expected the records that were written, got others when they were read "
                "back. The disk is at fault; write to another."
            )


def read_file(path: str) -> Iterator[bytes]:
    """Yields the records of a file in order; see `ShardFormat`."""
    with _place_to_read(path) as place:
        yield from _read_local(place, path)


def _read_local(place: str, where: str) -> Iterator[bytes]:
    reader = open_reader(place, where)
    count = reader.num_records()
    for first in range(0, count, RECORDS_PER_READ):
        yield from reader.read(first, min(first + RECORDS_PER_READ, count))


class _Reader:
    def __init__(self, place: str, where: str):
        from array_record.python.array_record_module import ArrayRecordReader

        self._where = where
        os.stat(place)
        with _as_data_error(where):
            self._reader = ArrayRecordReader(place, READER_OPTIONS)
            # It opens anything, and finds no records in what it cannot read.
            if not self._reader.ok():
                raise RuntimeError("a damaged one")

    def num_records(self) -> int:
        return int(self._reader.num_records())

    def read(self, first: int, end: int) -> Sequence[bytes]:
        with _as_data_error(self._where):
            return self._reader.read(first, end)


def open_reader(place: str, where: str) -> _Reader:
    """Opens a local file.

    Args:
      place: Its path.
      where: Its name, for messages.

    Raises:
      OSError: There is none.
      DataError: It is no such file, or damaged.
    """
    return _Reader(place, where)


@contextlib.contextmanager
def _as_data_error(where: str) -> Iterator[None]:
    """Turns what the library raises when it reads into a DataError."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: expected a whole ArrayRecord file, got: {reason}. Copy the file anew."
        ) from error


@contextlib.contextmanager
def _place_to_write(path: str) -> Iterator[str]:
    if not filesystem.is_local(path):
        with tempfile.TemporaryDirectory() as folder:
            place = str(Path(folder, "waiting"))
            yield place
            with open(place, "rb") as source, filesystem.open_write(path) as target:
                shutil.copyfileobj(source, target)
        return
    with filesystem.temporary_file(path) as place:
        yield place


@contextlib.contextmanager
def _place_to_read(path: str) -> Iterator[str]:
    if filesystem.is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "copy"))
        with filesystem.open_read(path) as source, open(place, "wb") as target:
            shutil.copyfileobj(source, target)
        yield place


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    """Turns what the library raises when it writes into the error that a full disk gives."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        names = (errno.ENOSPC, errno.EDQUOT)
        code = next((code for code in names if os.strerror(code) in text), errno.EIO)
        raise OSError(code, os.strerror(code), path) from error


ARRAY_RECORD = ShardFormat(
    "array_record",
    "ArrayRecord",
    open_writer,
    read_file,
    known_to_tfds=True,
    open_reader=open_reader,
)

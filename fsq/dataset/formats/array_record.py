"""ArrayRecord files: the records of a TFRecord shard, each to be had by its number.

The library knows local paths only. Elsewhere a file is written here, then copied,
and copied here to be read. It is imported when it is first used.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fsq.errors import DataError
from fsq.storage import filesystem

# Groups of one, because a group is read as a whole; uncompressed, because tokens hardly shrink;
# one thread, so that the bytes cannot depend on several.
WRITER_OPTIONS = "group_size:1,uncompressed,max_parallelism:1"
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
RECORDS_PER_READ = 1024


@contextlib.contextmanager
def open_array_record(path: str) -> Iterator[Callable[[bytes], None]]:
    """Opens a file that appears under its name when the block ends, whole, or not at all.

    Yields:
      A function that writes one record.

    Raises:
      OSError: It cannot be written.
      DataError: When it is read back it does not hold what was written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    digest = hashlib.sha256()
    with _place_to_write(path) as place:
        with _as_os_error(path):
            writer = ArrayRecordWriter(place, WRITER_OPTIONS)

        def write(data: bytes) -> None:
            digest.update(data)
            with _as_os_error(path):
                writer.write(data)

        yield write
        with _as_os_error(path):
            writer.close()
        found = hashlib.sha256()
        for record in _read_local(place, path):
            found.update(record)
        if found.digest() != digest.digest():
            raise DataError(
                f"{path}: expected the records that were written, got others when they were read "
                "back. The disk is at fault; write to another."
            )


def read_array_record(path: str) -> Iterator[bytes]:
    """Yields the records of a file in order.

    Raises:
      OSError: It cannot be read.
      DataError: It is damaged.
    """
    with _place_to_read(path) as place:
        yield from _read_local(place, path)


def _read_local(place: str, where: str) -> Iterator[bytes]:
    reader = open_reader(place, where)
    count = reader.num_records()
    for first in range(0, count, RECORDS_PER_READ):
        with reading(where):
            records = reader.read(first, min(first + RECORDS_PER_READ, count))
        yield from records


def open_reader(place: str, where: str) -> Any:
    """Opens a local file: `reader.num_records()`, `reader.read(first, end)`.

    Args:
      place: Its path.
      where: Its name, for messages.

    Raises:
      OSError: There is none.
      DataError: It is no such file, or damaged.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    os.stat(place)
    with reading(where):
        reader = ArrayRecordReader(place, READER_OPTIONS)
        # It opens anything, and finds no records in what it cannot read.
        if not reader.ok():
            raise RuntimeError("a damaged one")
        return reader


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
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
    place = filesystem.temporary_name(path)
    try:
        yield place
        with open(place, "rb") as file:
            os.fsync(file.fileno())
        filesystem.rename(place, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            filesystem.remove(place)
        if isinstance(error, OSError) and error.filename == place:
            raise OSError(error.errno, error.strerror, path) from error
        raise


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

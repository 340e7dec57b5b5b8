"""ArrayRecord files: the records of a shard with random access by index.

The library supports only local paths, so a file in an object store is written and
read through a local temporary copy. The library is imported when it is first used.
"""

import contextlib
import errno
import hashlib
import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fsq.dataset.formats.base import ShardFormat
from fsq.dataset.formats.tfrecord import payload
from fsq.errors import DataError
from fsq.storage import filesystem
from fsq.storage.temporary import temporary_folder

# Groups of one record, because a whole group is read for each; uncompressed, because tokens
# hardly compress; one thread, so that the bytes do not depend on scheduling.
WRITER_OPTIONS = "group_size:1,uncompressed,max_parallelism:1"
LIBRARY = "array_record.python.array_record_module"
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
RECORDS_PER_READ = 1024


def _import_library() -> Any:
    return importlib.import_module(LIBRARY)


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
    with _local_file_to_write(path) as local_path:
        with _as_os_error(path):
            writer = _Writer(_import_library().ArrayRecordWriter(local_path, WRITER_OPTIONS), path)
        yield writer
        writer.close()
        found = hashlib.sha256()
        for record in _read_local(local_path, path):
            found.update(record)
        if found.digest() != writer.digest.digest():
            raise DataError(
                f"{path}: expected to read back the records that were written, got different "
                "ones. The disk is faulty; write to another."
            )


def read_file(path: str) -> Iterator[bytes]:
    """Yields the records of a file in order; see `ShardFormat`."""
    with local_file_to_read(path) as local_path:
        yield from _read_local(local_path, path)


def _read_local(local_path: str, where: str) -> Iterator[bytes]:
    reader = open_reader(local_path, where)
    count = reader.num_records()
    for first in range(0, count, RECORDS_PER_READ):
        yield from reader.read(first, min(first + RECORDS_PER_READ, count))


class _Reader:
    def __init__(self, local_path: str, where: str):
        self._where = where
        os.stat(local_path)
        with _as_data_error(where):
            self._reader = _import_library().ArrayRecordReader(local_path, READER_OPTIONS)
            # The library opens any file, and reports no records if it cannot read it.
            if not self._reader.ok():
                raise RuntimeError("a damaged one")

    def num_records(self) -> int:
        return int(self._reader.num_records())

    def read(self, first: int, end: int) -> Sequence[bytes]:
        with _as_data_error(self._where):
            return self._reader.read(first, end)


def open_reader(local_path: str, where: str) -> _Reader:
    """Opens a local file for random access.

    Args:
      local_path: Path of the file.
      where: Name of the file, for messages.

    Raises:
      OSError: There is no such file.
      DataError: It is not an ArrayRecord file, or is damaged.
    """
    return _Reader(local_path, where)


@contextlib.contextmanager
def _as_data_error(where: str) -> Iterator[None]:
    """Converts the library's read errors to DataError."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: expected an intact ArrayRecord file, got: {reason}. Copy the file again."
        ) from error


@contextlib.contextmanager
def _local_file_to_write(path: str) -> Iterator[str]:
    if not filesystem.is_local(path):
        with temporary_folder() as folder:
            local_path = str(Path(folder, "waiting"))
            yield local_path
            with open(local_path, "rb") as source, filesystem.open_write(path) as target:
                shutil.copyfileobj(source, target)
        return
    with filesystem.temporary_file(path) as local_path:
        yield local_path


@contextlib.contextmanager
def local_file_to_read(path: str) -> Iterator[str]:
    """Yields the path of a local file with the content: its own, or that of a copy."""
    if filesystem.is_local(path):
        yield path
        return
    with temporary_folder() as folder:
        local_path = str(Path(folder, "copy"))
        with filesystem.open_read(path) as source, open(local_path, "wb") as target:
            shutil.copyfileobj(source, target)
        yield local_path


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    """Converts the library's write errors to OSError, with the code of a full disk if it is."""
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
    import_library=_import_library,
)

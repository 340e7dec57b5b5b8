"""A Beam file system on the local disk that behaves like an object store: disk://some/path.

It has no folders: only files exist, and a folder is removed with its last file.
A missing file is noticed when it is first read, with an error of the store's own
type. A rename is a copy and a deletion.
"""

import io
import os
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

SCHEME = "disk"
PREFIX = f"{SCHEME}://"


class StoreError(Exception):
    """An error as clients of object stores raise it: not an OSError."""


class DiskFileSystem(FileSystem):
    """The file system; paths are relative to the current directory."""

    @classmethod
    def scheme(cls) -> str:
        """Returns the scheme of its paths."""
        return SCHEME

    def join(self, basepath: str, *paths: str) -> str:
        """Joins with '/'."""
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        """Splits off the last name."""
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self) -> bool:
        """Returns False: an object store has no folders."""
        return False

    def mkdirs(self, path: str) -> None:
        """Does nothing: an object store has no folders."""

    def exists(self, path: str) -> bool:
        """Says whether there is a file of this name; folders do not count."""
        return os.path.isfile(_local(path))

    def size(self, path: str) -> int:
        """Returns a file's size in bytes."""
        return self.metadata(path).size_in_bytes

    def last_updated(self, path: str) -> float:
        """Returns when a file was last written, in seconds since 1970."""
        return self.metadata(path).last_updated_in_seconds

    def checksum(self, path: str) -> str:
        """Returns the size, as Beam's local file system does."""
        return str(self.size(path))

    def metadata(self, path: str) -> FileMetadata:
        """Returns path, size and time of a file."""
        try:
            stat = os.stat(_local(path))
        except OSError as error:
            raise BeamIOError("Metadata operation failed", {path: error}) from error
        return FileMetadata(path, stat.st_size, stat.st_mtime)

    def open(self, path: str, mime_type: str = "", compression_type: Any = None) -> BinaryIO:
        """Opens for reading; the file itself is opened at the first read."""
        return io.BufferedReader(_LazyReader(_local(path)))

    def create(self, path: str, mime_type: str = "", compression_type: Any = None) -> BinaryIO:
        """Opens for writing; makes the folders of the local disk."""
        local = _local(path)
        os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
        return open(local, "wb")

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        """Copies files one by one."""
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            try:
                shutil.copyfile(_local(source), _local(target))
            except OSError as error:
                raise BeamIOError("Copy operation failed", {(source, target): error}) from error

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        """Copies, then deletes: an object store cannot rename."""
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def delete(self, paths: list[str]) -> None:
        """Deletes files, and folders that become empty."""
        for path in paths:
            try:
                os.remove(_local(path))
            except OSError as error:
                raise BeamIOError("Delete operation failed", {path: error}) from error
            _remove_empty(os.path.dirname(_local(path)))

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        local = _local(dir_or_prefix)
        for folder, _, names in os.walk(os.path.dirname(local) or "."):
            for name in names:
                path = os.path.normpath(os.path.join(folder, name))
                if path.startswith(local):
                    try:
                        metadata = self.metadata(PREFIX + path)
                    except BeamIOError:  # renamed or removed meanwhile
                        continue
                    yield metadata


class _LazyReader(io.RawIOBase):
    """Opens the file at the first read, not before."""

    def __init__(self, path: str):
        self._path = path
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._opened().seek(offset, whence)

    def tell(self) -> int:
        return self._opened().tell() if self._file else 0

    def readinto(self, buffer: Any) -> int:
        data = self._opened().read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                self._file = open(self._path, "rb")  # noqa: SIM115
            except OSError as error:
                raise StoreError(f"404 {self._path}") from error
        return self._file


def _local(path: str) -> str:
    return path.removeprefix(PREFIX)


def _remove_empty(folder: str) -> None:
    while folder:
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)

"""Paths with a scheme (gs://, s3://, ...), by way of Apache Beam's FileSystems.

The one module of `fsq` that knows Beam, imported when such a path is first used:
whoever keeps to local paths needs no Beam. Stores have no folders, only names that
begin alike.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from fsq.errors import FsqError, RequestError


def open_read(path: str) -> BinaryIO:
    """Opens an object for reading, seekable and never decompressed.

    Raises:
      OSError: There is none, or it cannot be read.
    """
    with os_errors(path):
        _check_scheme(path)
        # Some stores find out only when they are read, in words of their own.
        if not FileSystems.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        file: BinaryIO = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return file


def create(path: str) -> BinaryIO:
    """Opens an object for writing."""
    _check_scheme(path)
    file: BinaryIO = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def rename(source: str, target: str) -> None:
    """Moves an object onto another name; stores copy and delete."""
    _check_scheme(source)
    with os_errors(target):
        FileSystems.rename([source], [target])


def copy(source: str, target: str) -> None:
    """Copies an object."""
    _check_scheme(source)
    FileSystems.copy([source], [target])


def delete(paths: list[str]) -> None:
    """Deletes objects."""
    _check_scheme(paths[0])
    with os_errors(paths[0]):
        FileSystems.delete(paths)


def exists(path: str) -> bool:
    """Says whether there is such an object, or any whose name continues with a slash."""
    _check_scheme(path)
    return FileSystems.exists(path) or next(list_objects(path, recursive=True), None) is not None


def modified_ns(path: str) -> int:
    """Returns when an object was written, in nanoseconds of the epoch."""
    _check_scheme(path)
    return int(FileSystems.last_updated(path) * 10**9)


def list_objects(folder: str, *, recursive: bool) -> Iterator[tuple[str, int, int]]:
    """Yields name relative to the folder, size in bytes and time in nanoseconds of each object."""
    _check_scheme(folder)
    root = folder.rstrip("/") + "/"
    (result,) = FileSystems.match([root + ("**" if recursive else "*")])
    for metadata in result.metadata_list:
        modified = metadata.last_updated_in_seconds or 0
        name = metadata.path.removeprefix(root)
        yield name, metadata.size_in_bytes, int(modified * 10**9)


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Turns what the client of a store raises into the one kind of error that callers know."""
    try:
        yield
    except (OSError, FsqError):
        raise
    except Exception as error:
        raise OSError(errno.EIO, str(error), path) from error


def _check_scheme(path: str) -> None:
    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        raise RequestError(
            f"{path}: expected a path that Beam reaches, got an unknown kind. "
            "Install apache-beam with the extra for it (gcp, aws, azure), or correct the path."
        ) from error

"""Object stores: paths with a scheme (gs://, s3://, ...), through Apache Beam's FileSystems.

The only module of `fsq` that imports Beam, loaded when such a path is first used, so
that local paths need no Beam. Stores have no folders, only common prefixes of names.
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
        # Some stores fail only when the object is read, with an error of their own type.
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
    """Renames an object; stores do so by copying and deleting."""
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
    """Returns whether an object exists, or any object with the path as a folder."""
    _check_scheme(path)
    return FileSystems.exists(path) or next(list_objects(path, recursive=True), None) is not None


def modified_ns(path: str) -> int:
    """Returns the modification time of an object, in nanoseconds since the epoch."""
    _check_scheme(path)
    return int(FileSystems.last_updated(path) * 10**9)


def list_objects(folder: str, *, recursive: bool) -> Iterator[tuple[str, int, int]]:
    """Yields each object's name relative to the folder, size in bytes and time in nanoseconds."""
    _check_scheme(folder)
    root = folder.rstrip("/") + "/"
    (result,) = FileSystems.match([root + ("**" if recursive else "*")])
    for metadata in result.metadata_list:
        modified = metadata.last_updated_in_seconds or 0
        name = metadata.path.removeprefix(root)
        yield name, metadata.size_in_bytes, int(modified * 10**9)


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Converts the errors of a store's client to OSError."""
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
            f"{path}: expected a path that Beam supports, got an unknown scheme. "
            "Install apache-beam with the extra for it (gcp, aws, azure), or correct the path."
        ) from error

"""Paths with a scheme: s3:// and gs:// by pyarrow, hf:// by huggingface_hub.

Loaded when such a path is first used, so that local paths need neither. Stores have no
folders, only common prefixes of names. Every error is an OSError with a number, a
reason of one line and the path, or a RequestError if the path itself is wrong.
"""

import contextlib
import errno
from collections.abc import Iterator
from typing import BinaryIO

from fsq.errors import RequestError
from fsq.storage.arrow_clients import ALIASES, ANONYMOUS, MAKERS
from fsq.storage.arrow_store import ArrowStore
from fsq.storage.hub_store import HubStore, writing_error
from fsq.storage.store_errors import os_errors
from fsq.storage.temporary import open_temporary

HUB = "hf"
# Their paths begin with a bucket.
BUCKETS = ("s3", "gs")


def open_read(path: str) -> BinaryIO:
    """Opens an object for reading, seekable and never decompressed.

    Raises:
      OSError: There is none, or it cannot be read.
    """
    with os_errors(path):
        return _at(path).open_read()


@contextlib.contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    """Opens an object that appears complete when the block ends, or not at all.

    Raises:
      OSError: It cannot be written.
      RequestError: It is on the hub, where nothing is written.
    """
    store = _to_write(path)
    with open_temporary() as file:
        yield file
        file.seek(0)
        with os_errors(path):
            try:
                store.upload(file)
            except FileNotFoundError as error:  # there are no folders that could be missing
                raise FileNotFoundError(errno.ENOENT, "no such bucket", path) from error


def refuse_read_only(path: str) -> None:
    """Raises a RequestError for a path on the hub, which is only read; asks nobody."""
    if path.startswith(f"{HUB}://"):
        raise writing_error(path)


def rename(source: str, target: str) -> None:
    """Renames an object; stores do so by copying and deleting."""
    with os_errors(target):
        _to_write(source).move_to(_to_write(target))


def copy(source: str, target: str) -> None:
    """Copies an object."""
    with os_errors(target):
        _to_write(source).copy_to(_to_write(target))


def remove(path: str) -> None:
    """Removes an object, or all below a folder, if there are any."""
    with os_errors(path):
        _to_write(path).remove()


def exists(path: str) -> bool:
    """Returns whether an object exists, or any object with the path as a folder."""
    with os_errors(path):
        return _at(path).exists()


def modified_ns(path: str) -> int:
    """Returns the modification time of an object, in nanoseconds since the epoch.

    On the hub, a number that changes with the content.
    """
    with os_errors(path):
        return _at(path).modified_ns()


def list_objects(folder: str, *, recursive: bool) -> Iterator[tuple[str, int, int]]:
    """Yields each object's name relative to the folder, size in bytes and time in nanoseconds.

    In the order of the store. Yields nothing if there is no such folder.
    """
    with os_errors(folder):
        yield from _at(folder).list_objects(recursive=recursive)


def _at(path: str) -> ArrowStore | HubStore:
    scheme, _, rest = path.partition("://")
    if scheme == HUB:
        return HubStore.at(path)
    return _arrow_store(path, ALIASES.get(scheme, scheme), rest)


def _to_write(path: str) -> ArrowStore:
    refuse_read_only(path)
    store = _at(path)
    assert isinstance(store, ArrowStore)
    return store


def _arrow_store(path: str, scheme: str, rest: str) -> ArrowStore:
    if scheme not in MAKERS:
        raise RequestError(
            f"{path}: expected a local path, s3://, gs:// or hf://, got the scheme {scheme!r}. "
            "Correct the path."
        )
    place, _, key = rest.partition("/")
    user, at, bucket = place.rpartition("@")
    if at and user != ANONYMOUS:
        # The message must not repeat them.
        raise RequestError(
            f"{scheme}://...@{bucket}/{key}: expected no credentials in a path, which is written "
            "into configs and manifests. Set them in the environment; docs/places.md says how."
        )
    if not bucket and scheme in BUCKETS:
        raise RequestError(f"{path}: expected {scheme}://bucket/name. Correct the path.")
    return ArrowStore.at(path, scheme, bucket, key, user)

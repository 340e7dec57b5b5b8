"""Temporary files and folders in TMPDIR; one that has no room is named in the error."""

import contextlib
import errno
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from fsq.errors import DataError, FsqError, RequestError

ROOM_BYTES = 1 << 16


class _TemporaryFile(io.FileIO):
    def __init__(self, number: int, folder: str):
        super().__init__(number, "r+")
        self._folder = folder

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _no_room(self._folder, error) from error


def open_temporary() -> BinaryIO:
    """Opens a file without a name for writing and reading; it is gone when it is closed.

    Raises:
      RequestError: No folder for temporary files can be written.
      DataError: On a later write: there is no room.
    """
    folder = _folder()
    with _made_in(folder), tempfile.TemporaryFile(buffering=0, dir=folder) as file:
        return io.BufferedRandom(_TemporaryFile(os.dup(file.fileno()), folder))


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Yields a folder that is removed when the block ends.

    Raises:
      RequestError: No folder for temporary files can be written.
      DataError: The block failed because there is no room in it.
    """
    folder = _folder()
    with _made_in(folder):
        made = tempfile.TemporaryDirectory(dir=folder)
    with made as path:
        try:
            yield path
        except FsqError:
            raise
        # Libraries that write a file themselves raise errors of their own.
        except Exception as error:
            if (reason := _write_error(path)) is not None:
                raise _no_room(folder, reason) from error
            raise


@contextlib.contextmanager
def _made_in(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_room(folder, error) from error


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise RequestError(
            "TMPDIR: expected a folder for temporary files that can be written, got: "
            f"{error.strerror}. Set TMPDIR to a folder with room."
        ) from error


def _write_error(folder: str) -> OSError | None:
    """Returns why nothing can be written into a folder; None if it can."""
    try:
        with open(os.path.join(folder, "room"), "wb") as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        return error
    return None


def _no_room(folder: str, error: OSError) -> DataError:
    reason = error.strerror or errno.errorcode.get(error.errno or 0, "an error")
    return DataError(
        f"{folder}: expected room for temporary files, got: {reason}. "
        "Make room, or set TMPDIR to another folder."
    )

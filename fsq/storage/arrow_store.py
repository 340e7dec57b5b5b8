"""Objects of S3, Google Cloud Storage and other file systems of pyarrow."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from fsq.storage.arrow_clients import client_of
from fsq.storage.ranged_reader import RangedReader
from fsq.storage.store_errors import os_errors

BLOCK_BYTES = 1 << 23


class ArrowStore(NamedTuple):
    """A path in a store: as it was given, its client, and 'bucket/key', as the client takes it."""

    url: str
    client: Any
    path: str

    @classmethod
    def at(cls, url: str, scheme: str, bucket: str, key: str, user: str) -> "ArrowStore":
        """Returns the place of an object or folder; `user` is 'anonymous' or empty."""
        return cls(url, client_of(scheme, bucket, user), f"{bucket}/{key}".rstrip("/"))

    def open_read(self) -> BinaryIO:
        """Opens the object for reading."""
        file = self.client.open_input_file(self.path)

        def read_range(offset: int, length: int) -> bytes:
            with os_errors(self.url):
                data: bytes = file.read_at(length, offset)
            return data

        return cast(BinaryIO, RangedReader(read_range, file.size(), file.close))

    def upload(self, file: BinaryIO) -> None:
        """Writes the object, which appears when it is complete."""
        target = self.client.open_output_stream(self.path)
        try:
            shutil.copyfileobj(file, target, BLOCK_BYTES)
        except BaseException:
            # Closing completes an upload, of whatever was written.
            with contextlib.suppress(OSError):
                target.close()
                self.client.delete_file(self.path)
            raise
        target.close()

    def copy_to(self, target: "ArrowStore") -> None:
        """Copies the object, inside the store if both are in one."""
        if self.client is target.client:
            self.client.copy_file(self.path, target.path)
            return
        with self.open_read() as source:
            target.upload(source)

    def move_to(self, target: "ArrowStore") -> None:
        """Renames the object; stores do so by copying and deleting."""
        if self.client is target.client:
            self.client.move(self.path, target.path)
            return
        self.copy_to(target)
        self.client.delete_file(self.path)

    def remove(self) -> None:
        """Removes the object, or all objects below the path; nothing if there are none."""
        from pyarrow.fs import FileType

        with contextlib.suppress(FileNotFoundError):
            match self._info().type:
                case FileType.File:
                    self.client.delete_file(self.path)
                case FileType.Directory:
                    self.client.delete_dir(self.path)

    def exists(self) -> bool:
        """Returns whether there is an object of the path, or any below it."""
        from pyarrow.fs import FileType

        return bool(self._info().type != FileType.NotFound)

    def modified_ns(self) -> int:
        """Returns the modification time of the object, in nanoseconds since the epoch.

        Raises:
          FileNotFoundError: There is none.
        """
        from pyarrow.fs import FileType

        info = self._info()
        if info.type != FileType.File:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.url)
        return info.mtime_ns or 0

    def list_objects(self, *, recursive: bool) -> Iterator[tuple[str, int, int]]:
        """Yields the name relative to the path, size and time of the objects below it.

        An empty object whose name ends with '/', with which some tools stand for a
        folder, is none.
        """
        from pyarrow.fs import FileSelector, FileType

        found = self.client.get_file_info(
            FileSelector(self.path, allow_not_found=True, recursive=recursive)
        )
        start = len(self.path) + 1
        for info in found:
            if info.type == FileType.File:
                yield info.path[start:], info.size, info.mtime_ns or 0

    def _info(self) -> Any:
        (info,) = self.client.get_file_info([self.path])
        return info

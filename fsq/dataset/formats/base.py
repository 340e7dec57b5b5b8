"""Shard format interface: how the records of a shard are stored in a file."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file


@dataclasses.dataclass(frozen=True)
class WrittenFile:
    """Size and digest of a finished file, as in the manifest."""

    bytes: int
    sha256: str


class ShardWriter(Protocol):
    """Writes the records of one shard, some thousands at a time."""

    def write(self, frames: Sequence[bytes]) -> None:
        """Appends records, each framed as in a TFRecord file; see `tfrecord.payload`."""
        ...


class RecordReader(Protocol):
    """An open file with random access to its records."""

    def num_records(self) -> int:
        """Returns the number of records."""
        ...

    def read(self, first: int, end: int) -> Sequence[bytes]:
        """Returns the records [first, end)."""
        ...


@dataclasses.dataclass(frozen=True)
class ShardFormat:
    """A shard format, as listed in the registry.

    Attributes:
      name: Name in configs, manifests and file names.
      title: Name in messages.
      open_writer: Opens a file that appears under its name when the block ends, complete
        and verified, or not at all. Raises OSError if it cannot be written, DataError if
        other data is read back.
      read: Yields the records of a file in order. Raises OSError if it cannot be read,
        DataError if it is damaged.
      known_to_tfds: Whether tensorflow-datasets reads it too, by the same name.
      open_reader: Opens a local file for random access, given its path and its name in
        messages; None if the format has none.
      import_library: Imports what the format needs, in the main thread of a job.
    """

    name: str
    title: str
    open_writer: Callable[[str], AbstractContextManager[ShardWriter]]
    read: Callable[[str], Iterator[bytes]]
    known_to_tfds: bool = False
    open_reader: Callable[[str, str], RecordReader] | None = None
    import_library: Callable[[], object] = lambda: None


def describe_file(path: str) -> WrittenFile:
    """Returns the size and digest of a file."""
    with filesystem.open_read(path) as file:
        size_bytes = file.seek(0, os.SEEK_END)
    return WrittenFile(size_bytes, sha256_of_file(path))

"""A shard format: how the records of a shard lie in a file."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file


@dataclasses.dataclass(frozen=True)
class WrittenFile:
    """A finished file, as the manifest speaks of it."""

    bytes: int
    sha256: str


class ShardWriter(Protocol):
    """Takes the records of one shard, some thousands at a time."""

    def write(self, frames: Sequence[bytes]) -> None:
        """Appends records, each framed as in a TFRecord file; see `unframe_payload`."""
        ...


class RecordReader(Protocol):
    """An open file whose records are had by their numbers."""

    def num_records(self) -> int:
        """Says how many records there are."""
        ...

    def read(self, first: int, end: int) -> Sequence[bytes]:
        """Returns the records from number `first` to before `end`."""
        ...


@dataclasses.dataclass(frozen=True)
class ShardFormat:
    """One member of the registry.

    Attributes:
      name: In configs, in manifests and in the names of files.
      title: In messages.
      open_writer: Opens a file that appears under its name when the block ends, whole
        and read back, or not at all. OSError: it cannot be written; DataError: it does
        not hold what was written.
      read: Yields the records of a file in order. OSError: it cannot be read;
        DataError: it is damaged.
      known_to_tfds: Whether tensorflow-datasets reads it too, by the same name.
      open_reader: Opens a local file, the second argument being its name in messages,
        where records can be had by their numbers.
    """

    name: str
    title: str
    open_writer: Callable[[str], AbstractContextManager[ShardWriter]]
    read: Callable[[str], Iterator[bytes]]
    known_to_tfds: bool = False
    open_reader: Callable[[str, str], RecordReader] | None = None


def describe_file(path: str) -> WrittenFile:
    """Reads size and digest of a file."""
    with filesystem.open_read(path) as file:
        size_bytes = file.seek(0, os.SEEK_END)
    return WrittenFile(size_bytes, sha256_of_file(path))

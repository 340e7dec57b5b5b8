"""The listing of a source's input: its files, their records, and where these begin."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from fsq.dataset.records import CarriedFeature
from fsq.storage import filesystem
from pipeline.core.records import Span, Unit


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A file of records.

    Attributes:
      path: Where a unit of it is read from.
      name: The name that stands in keys and messages.
      size_bytes: Its size.
      modified_ns: When it was written.
      num_readable: How many records can be read.
      offsets: int64 byte offsets of every `stride`-th of these.
      stride: See offsets.
      num_unreadable: Records that come after them and cannot be read; one, if
        nobody knows how many.
      damage: Why.
    """

    path: str
    name: str
    size_bytes: int
    modified_ns: int
    num_readable: int
    offsets: np.ndarray
    stride: int
    num_unreadable: int = 0
    damage: str | None = None

    @property
    def num_records(self) -> int:
        """All records, readable or lost."""
        return self.num_readable + self.num_unreadable

    def spans(self, first: int, count: int) -> tuple[Span, ...]:
        """Says how to read some of the records; `first` is a multiple of the stride."""
        readable = max(0, min(count, self.num_readable - first))
        spans = []
        if readable:
            spans.append(Span(int(self.offsets[first // self.stride]), first, readable))
        if count > readable:
            spans.append(Span(0, first + readable, count - readable, self.damage))
        return tuple(spans)


@dataclasses.dataclass(frozen=True)
class Listing:
    """All of a source's input.

    Attributes:
      files: In the order of their records.
      features: What is carried along with each record.
      groups: Records and bytes of every source file; of every folder, where
        each image is a file of its own.
      text: Where each image is a file of its own: the content of the one listed
        file, which names them. It is temporary until it is written to a folder.
      text_sha256: Of the text, without the times in it.
      ignored: How many files are no images, by extension.
    """

    files: tuple[ListedFile, ...]
    features: tuple[CarriedFeature, ...]
    groups: Mapping[str, tuple[int, int]]
    text: BinaryIO | None = None
    text_sha256: str = ""
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """The records of all files."""
        return sum(file.num_records for file in self.files)

    def digest(self) -> str:
        """sha256 over names, sizes and counts of the input, wherever it lies."""
        content = [(file.name, file.size_bytes, file.num_records) for file in self.files]
        return hashlib.sha256(json.dumps([content, self.text_sha256]).encode()).hexdigest()

    def describe(self) -> dict[str, object]:
        """The input as a job's fingerprint names it."""
        groups = {
            name: {"records": records, "bytes": size_bytes}
            for name, (records, size_bytes) in self.groups.items()
        }
        return {"files": groups, "sha256": self.digest()}

    def file_of(self, unit: Unit) -> ListedFile | None:
        """Returns the file that a unit is read from; None if it is not listed here."""
        if self.text is not None:
            return self.files[0]
        return next((file for file in self.files if file.path == unit.path), None)

    def locate(self, unit: Unit) -> Unit:
        """Returns the unit with its path where `write_to` has put the text; else as it is."""
        if self.text is None:
            return unit
        return dataclasses.replace(unit, path=self.files[0].path)

    def write_to(self, folder: str) -> "Listing":
        """Writes the text, if there is one, to a folder, and returns the listing that lies there.

        Units of the result can be read: their files exist.
        """
        if self.text is None:
            return self
        (file,) = self.files
        path = filesystem.join(folder, file.path)
        self.text.seek(0)
        with filesystem.open_write(path) as target:
            shutil.copyfileobj(self.text, target)
        return dataclasses.replace(self, files=(dataclasses.replace(file, path=path),))

    @contextlib.contextmanager
    def on_disk(self) -> Iterator["Listing"]:
        """Yields the listing, with its text in a temporary folder until the block ends."""
        if self.text is None:
            yield self
            return
        with tempfile.TemporaryDirectory() as folder:
            yield self.write_to(folder)


def file_name(path: str) -> str:
    """Returns the last part of a path: the name of a source file in keys and messages."""
    return path.rpartition("/")[2]

"""What a source says of its input before the first record, and how that is cut into units."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import BinaryIO, Protocol

import numpy as np

from fsq.dataset.records import CarriedFeature
from fsq.storage import filesystem
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit

Beat = Callable[[], None]


NOTHING: Mapping[int, str] = types.MappingProxyType({})


def no_beat() -> None:
    """Tells nobody that the reading goes on."""


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
      num_lost: Records that come after them and cannot be read; one, if
        nobody knows how many.
      lost: Why.
    """

    path: str
    name: str
    size_bytes: int
    modified_ns: int
    num_readable: int
    offsets: np.ndarray
    stride: int
    num_lost: int = 0
    lost: str | None = None

    @property
    def num_records(self) -> int:
        """Records that can be read, and those that damage has lost."""
        return self.num_readable + self.num_lost

    def spans(self, first: int, count: int) -> tuple[Span, ...]:
        """Says how to read some of the records; `first` is a multiple of the stride."""
        readable = max(0, min(count, self.num_readable - first))
        spans = []
        if readable:
            spans.append(Span(int(self.offsets[first // self.stride]), first, readable))
        if count > readable:
            spans.append(Span(0, first + readable, count - readable, self.lost))
        return tuple(spans)


@dataclasses.dataclass(frozen=True)
class Listing:
    """All of a source's input.

    Attributes:
      files: In the order of their records.
      features: What is carried along with each record.
      groups: Records and bytes of every source file; of every folder, where
        each image is a file of its own.
      text: For a source without record files: its one listed file, temporary
        until the job keeps it in its work folder.
      text_sha256: Of the text, without the times in it.
      left_out: How many files are no images, by extension.
    """

    files: tuple[ListedFile, ...]
    features: tuple[CarriedFeature, ...]
    groups: Mapping[str, tuple[int, int]]
    text: BinaryIO | None = None
    text_sha256: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """Records of all files."""
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


class Source(Protocol):
    """One input format."""

    def list(self, stride: int = 1, beat: Beat = no_beat) -> Listing:
        """Lists the input.

        Args:
          stride: Note the place of every so many records only.
          beat: Called now and then, for whoever watches that nothing hangs.

        Raises:
          RequestError: There is none, or it lacks what the config names.
          DataError: A file is damaged, and damage is not to be rejected.
        """
        ...

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        given_up: Mapping[int, str] = NOTHING,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Yields exactly `unit.num_records` records, in order.

        Args:
          unit: What to read.
          features: What to carry along.
          given_up: Records that stalled too often, by number, and why: not to
            be asked for again.

        Raises:
          OSError: The unit's file cannot be read.
          DataError: It is damaged, and damage is not to be rejected.
        """
        ...

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Yields units that hold all records of some entries of `Listing.groups`.

        The listing is one with the stride 1.
        """
        ...

    def group_of(self, unit: Unit, key: str) -> str:
        """Returns the entry of `Listing.groups` that a record belongs to."""
        ...


@contextlib.contextmanager
def materialize(listing: Listing) -> Iterator[Listing]:
    """Puts the listing's own text, if it has one, into a temporary folder while it is read."""
    if listing.text is None:
        yield listing
        return
    with tempfile.TemporaryDirectory() as folder:
        yield place_text(listing, folder)


def place_text(listing: Listing, folder: str) -> Listing:
    """Writes the listing's own text, if it has one, into a folder, and points at it."""
    if listing.text is None:
        return listing
    (file,) = listing.files
    path = filesystem.join(folder, file.path)
    listing.text.seek(0)
    with filesystem.open_write(path) as target:
        shutil.copyfileobj(listing.text, target)
    return dataclasses.replace(listing, files=(dataclasses.replace(file, path=path),))

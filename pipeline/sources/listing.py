"""What a source says of its input before the first record, and how that is cut into units."""

import contextlib
import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from pipeline import storage
from pipeline.records import BadRecord, CarriedFeature, ImageRecord, Unit, unit_name

# Units are alike on every machine: their size follows from the input alone.
UNITS_WANTED = 64
MAX_UNIT_RECORDS = 4096


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A file of records.

    Attributes:
      path: Where a unit of it is read from.
      name: The name that stands in keys and messages.
      offsets: int64 byte offsets of its records, shape [records].
      size_bytes: Its size.
    """

    path: str
    name: str
    offsets: np.ndarray
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """All of a source's input.

    Attributes:
      files: In the order of their records.
      features: What is carried along with each record.
      text: For a source without record files: the content of its one listed
        file, which the job keeps in its work folder.
    """

    files: tuple[ListedFile, ...]
    features: tuple[CarriedFeature, ...]
    text: bytes | None = None

    @property
    def num_records(self) -> int:
        return sum(len(file.offsets) for file in self.files)

    def digest(self) -> str:
        """sha256 over names, sizes and counts of the input, wherever it lies."""
        content = [(file.name, file.size_bytes, len(file.offsets)) for file in self.files]
        text = hashlib.sha256(self.text or b"").hexdigest()
        return hashlib.sha256(json.dumps([content, text]).encode()).hexdigest()


class Source(Protocol):
    """One input format."""

    def list(self) -> Listing:
        """Lists the input.

        Raises:
          RequestError: There is none, or it lacks what the config names.
          DataError: A file is damaged.
        """
        ...

    def read(
        self, unit: Unit, features: tuple[CarriedFeature, ...]
    ) -> Iterator[ImageRecord | BadRecord]:
        """Yields exactly `unit.num_records` records, in order.

        Raises:
          OSError: The unit's file cannot be read.
          DataError: It is damaged.
        """
        ...


def unit_records(total: int, batch_size: int) -> int:
    """Returns how many records a unit takes: full batches, some 64 units, at most 4096."""
    wanted = min(math.ceil(total / UNITS_WANTED), MAX_UNIT_RECORDS)
    return max(1, wanted // batch_size) * batch_size


def cut_units(listing: Listing, batch_size: int, limit: int | None = None) -> list[Unit]:
    """Cuts the listing into units; a unit never spans two files.

    Args:
      listing: The input.
      batch_size: Images per batch.
      limit: Take just the first so many records.
    """
    left = listing.num_records if limit is None else min(limit, listing.num_records)
    size = unit_records(left, batch_size)
    units: list[Unit] = []
    for file in listing.files:
        count = min(len(file.offsets), left)
        for first in range(0, count, size):
            units.append(
                Unit(
                    name=unit_name(len(units)),
                    path=file.path,
                    offset=int(file.offsets[first]),
                    first=first,
                    num_records=min(size, count - first),
                )
            )
        left -= count
    return units


def one_unit_per_file(listing: Listing) -> list[Unit]:
    """Returns the whole input, for a reader that keeps no parts."""
    return [
        Unit(unit_name(number), file.path, 0, 0, len(file.offsets))
        for number, file in enumerate(listing.files)
        if len(file.offsets)
    ]


@contextlib.contextmanager
def materialize(listing: Listing) -> Iterator[Listing]:
    """Puts the listing's own text, if it has one, into a temporary file while it is read."""
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
    path = storage.join(folder, file.path)
    storage.write(path, listing.text)
    return dataclasses.replace(listing, files=(dataclasses.replace(file, path=path),))

"""Listed rows: a listing as a file with one line per row, with its path and carried values."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.dataset.records import CarriedFeature, encode_key
from fsq.errors import DataError
from fsq.storage.temporary import open_temporary
from pipeline.core.records import hex_of_hashes
from pipeline.sources.listing import ListedFile, Listing
from pipeline.sources.listing_text import LISTING_NAME, NO_TIME, numbered_lines

UNKNOWN = -1
_encode = json.JSONEncoder(separators=(",", ":")).encode


class ListedRow(NamedTuple):
    """A line of the listing.

    Attributes:
      key: The key.
      path: The file to read, as `to_utf8` gives it.
      size_bytes: Its size; `UNKNOWN` where it is in an object store.
      modified_ns: Its modification time in ns since the epoch; 0 where it is unknown.
      values: A value for each feature; text stands for bytes, as `decode_key` gives it.
      refused: Why the row is not read; it has no values then.
    """

    key: str
    path: str = ""
    size_bytes: int = UNKNOWN
    modified_ns: int = 0
    values: tuple[int | float | str, ...] = ()
    refused: str | None = None

    def to_line(self) -> bytes:
        """Returns the line as bytes; the time has a fixed width, as in `ListedImage`."""
        path = None if self.path == self.key else self.path
        content = _encode([self.key, path, self.refused, *self.values])
        return b"%d %020d %b\n" % (self.size_bytes, self.modified_ns, content.encode())

    @classmethod
    def from_line(cls, line: bytes) -> "ListedRow":
        """The inverse of `to_line`.

        Raises:
          DataError: The line is damaged.
        """
        try:
            size, modified_ns, content = line.split(b" ", 2)
            key, path, refused, *values = json.loads(content)
            path = key if path is None else path
            return cls(key, path, int(size), int(modified_ns), tuple(values), refused)
        except ValueError as error:
            raise DataError(f"expected a line of {LISTING_NAME}, got {line[:100]!r}.") from error


class RowListing:
    """Makes the listing of rows, a line at a time; 16 bytes of memory for each.

    Args:
      stride: See `Source.list`.

    Attributes:
      num_usable: Number of rows whose images are to be read.
      num_refused: Number of the others.
      first_refused: The first of these.
    """

    def __init__(self, stride: int):
        self._stride = stride
        self._text = open_temporary()
        self._digest = hashlib.sha256()
        self._files: list[ListedFile] = []
        self._offsets, self._count, self._size_bytes = array("q"), 0, 0
        self._keys = array("Q")
        self._groups: dict[str, tuple[int, int]] = {}
        self._hashes: Counter[str] = Counter()
        self.num_usable = self.num_refused = 0
        self.first_refused: ListedRow | None = None

    def start_group(self, group: str) -> None:
        """Names a group that may stay without rows."""
        self._groups[group] = (0, 0)

    def add(self, row: ListedRow, group: str) -> None:
        """Adds a row, counted in a group; see `Listing.groups`."""
        if row.refused is None:
            self.num_usable += 1
        else:
            self.num_refused += 1
            self.first_refused = self.first_refused or row
        if self._count % self._stride == 0:
            self._offsets.append(self._size_bytes)
        line = row.to_line()
        self._size_bytes += self._text.write(line)
        self._count += 1
        size, _, content = line.split(b" ", 2)
        self._digest.update(b"%b %b %b" % (size, NO_TIME, content))
        hashed = hashlib.blake2b(b"%b %b" % (size, content), digest_size=16).digest()
        self._hashes[group] += int.from_bytes(hashed, "big")
        self._keys.append(_hash_of(row.key))
        records, size_bytes = self._groups.get(group, (0, 0))
        self._groups[group] = records + 1, size_bytes + max(0, row.size_bytes)

    def end_file(self, name: str, split: str | None, *, first: int = 0) -> None:
        """Ends a section of the listing; what was added since the last one is in it.

        Args:
          name: The name of its file in keys and messages.
          split: The split of its records.
          first: The number of its first record in the file.
        """
        offsets = np.array(self._offsets, np.int64)
        self._files.append(
            ListedFile(
                LISTING_NAME, name, 0, 0, self._count, offsets, self._stride, 0, None, first, split
            )
        )
        self._offsets, self._count = array("q"), 0

    def finish(
        self,
        features: tuple[CarriedFeature, ...],
        remedy: str,
        left_out: Mapping[str, int] | None = None,
        metadata: str = "",
    ) -> Listing:
        """Returns the listing.

        Args:
          features: The features that the rows have values of.
          remedy: What to do about a key that comes twice.
          left_out: See `Listing.left_out`.
          metadata: See `Listing.metadata`.

        Raises:
          DataError: A key comes twice.
        """
        self._check_keys(remedy)
        return Listing(
            files=tuple(self._files),
            features=features,
            groups=dict(sorted(self._groups.items())),
            text=self._text,
            text_sha256=self._digest.hexdigest(),
            images={name: hex_of_hashes(total) for name, total in sorted(self._hashes.items())},
            left_out=left_out or {},
            metadata=metadata,
        )

    def _check_keys(self, remedy: str) -> None:
        """Compares the hashes of all keys; keys that have one in common are read again."""
        hashes = np.frombuffer(self._keys, np.uint64).copy()
        hashes.sort()
        again = {*hashes[1:][hashes[1:] == hashes[:-1]].tolist()}
        if not again:
            return
        first: dict[str, str] = {}
        for file, number, line in numbered_lines(self._files, self._text):
            key = ListedRow.from_line(line).key
            if _hash_of(key) not in again:
                continue
            place = f"row {number} of {file.name}"
            if (other := first.setdefault(key, place)) != place:
                raise DataError(
                    f"{key}: expected each key once, got it in {other} and in {place}. {remedy}"
                )


def _hash_of(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(encode_key(key), digest_size=8).digest(), "little")


def first_changed_row(before: BinaryIO, after: BinaryIO) -> str | None:
    """Describes the first row that differs between two listings, ignoring times."""
    before.seek(0)
    after.seek(0)
    number = 0
    while True:
        lines = before.readline(), after.readline()
        if lines == (b"", b""):
            return None
        old, new = (ListedRow.from_line(line) if line else None for line in lines)
        if old is None or new is None or old._replace(modified_ns=0) != new._replace(modified_ns=0):
            return _describe_change(number, old, new)
        number += 1


def _describe_change(number: int, old: ListedRow | None, new: ListedRow | None) -> str:
    if old is None or new is None or old.key != new.key:
        was, now = (row.key if row else "absent" for row in (old, new))
        return f"row {number} was {was}, is {now}"
    if (old.size_bytes, old.refused) == (new.size_bytes, new.refused):
        return f"{new.key} was carried with {_show(old)}, is with {_show(new)}"
    return f"{new.key} was {_show_size(old)}, is {_show_size(new)}"


def _show(row: ListedRow) -> str:
    return ascii(list(row.values))[:100]


def _show_size(row: ListedRow) -> str:
    return row.refused or f"{row.size_bytes:,} bytes"

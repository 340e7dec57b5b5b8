"""Image listing: a file with one line per image of a folder."""

import hashlib
import itertools
from array import array
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.dataset.records import decode_key, encode_key
from fsq.errors import DataError
from fsq.storage.temporary import open_temporary
from pipeline.sources.directory_walk import REFUSALS, FoundFile
from pipeline.sources.listing_text import LISTING_NAME, NO_TIME


class ListedImage(NamedTuple):
    """A line of the listing: size or refusal, label, modification time and name of an image."""

    key: str
    size_bytes: int
    label: int
    modified_ns: int
    refused: str | None

    @classmethod
    def of(cls, found: FoundFile, label: int) -> "ListedImage":
        """Makes the line of a file that the walk found."""
        return cls(found.name, found.size_bytes, label, found.modified_ns, found.refused)

    def to_line(self) -> bytes:
        """Returns the line as bytes; backslashes and newlines in the name are escaped."""
        size = self.size_bytes if self.refused is None else -1 - REFUSALS.index(self.refused)
        name = encode_key(self.key)
        if b"\\" in name or b"\n" in name:
            name = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        # The time has a fixed width, so that a change of it moves no other line.
        return b"%d %d %020d %s\n" % (size, self.label, self.modified_ns, name)

    @classmethod
    def from_line(cls, line: bytes) -> "ListedImage":
        """The inverse of `to_line`.

        Raises:
          DataError: The line is damaged.
        """
        try:
            size_text, label, modified_ns, key = line[:-1].split(b" ", 3)
            size = int(size_text)
            refused = REFUSALS[-1 - size] if size < 0 else None
            if b"\\" in key:
                key = b"\\".join(part.replace(b"\\n", b"\n") for part in key.split(b"\\\\"))
            return cls(decode_key(key), max(0, size), int(label), int(modified_ns), refused)
        except (ValueError, IndexError) as error:
            raise DataError(f"expected a line of {LISTING_NAME}, got {line[:100]!r}.") from error


def folder_of(key: str) -> str:
    """Returns the folder of an image, relative to the root: 'n01440764' of 'n01440764/x.JPEG'."""
    return key.rpartition("/")[0] or "."


def first_change(before: BinaryIO, after: BinaryIO) -> str | None:
    """Describes the first image that differs between two listings, ignoring times."""
    missing = "absent"
    before.seek(0)
    after.seek(0)
    while True:
        lines = before.readline(), after.readline()
        if lines == (b"", b""):
            return None
        old, new = (ListedImage.from_line(line) if line else None for line in lines)
        if old is not None and new is not None and old.key == new.key:
            if old._replace(modified_ns=0) != new._replace(modified_ns=0):
                return f"{old.key} was {_describe(old)}, is {_describe(new)}"
        elif new is None or (old is not None and encode_key(old.key) < encode_key(new.key)):
            assert old is not None
            return f"{old.key} was {_describe(old)}, is {missing}"
        else:
            return f"{new.key} was {missing}, is {_describe(new)}"


def _describe(image: ListedImage) -> str:
    return image.refused or f"{image.size_bytes:,} bytes"


class FinishedText(NamedTuple):
    """The text of a listing.

    Attributes:
      file: The text, positioned at its end.
      sha256: Its digest without the times.
      offsets: For each section int64 byte offsets of every `stride`-th line in it.
      hashes: For each folder number the sum of the hashes of names and sizes.
    """

    file: BinaryIO
    sha256: str
    offsets: list[np.ndarray]
    hashes: list[int]


def finish_listing(
    draft: BinaryIO, labels: list[int], stride: int, counts: Sequence[int]
) -> "FinishedText":
    """Copies the lines of a draft and replaces folder numbers by labels.

    Args:
      draft: The lines as the directory walk wrote them.
      labels: Label by folder number.
      stride: Return the offset of every `stride`-th line only.
      counts: Number of lines in each section.

    """
    # Open as long as the listing is used; the system removes it when it is closed.
    text = open_temporary()
    digest = hashlib.sha256()
    sections = [array("q") for _ in counts]
    hashes = [0] * len(labels)
    offset = 0
    names = [b"%d" % label for label in labels]
    for count, offsets in zip(counts, sections, strict=True):
        for number, line in enumerate(itertools.islice(draft, count)):
            size, folder, modified_ns, key = line.split(b" ", 3)
            head = b"%b %b " % (size, names[int(folder)])
            if number % stride == 0:
                offsets.append(offset)
            offset += text.write(b"%b%b %b" % (head, modified_ns, key))
            digest.update(b"%b%b %b" % (head, NO_TIME, key))
            image = hashlib.blake2b(b"%b %b" % (size, key), digest_size=16).digest()
            hashes[int(folder)] += int.from_bytes(image, "big")
    offsets_of = [np.array(offsets, np.int64) for offsets in sections]
    return FinishedText(text, digest.hexdigest(), offsets_of, hashes)

"""The listing of an image folder: a file with one line per image."""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.dataset.records import encode_key
from fsq.errors import DataError
from pipeline.sources.directory_walk import REFUSALS, FoundFile

NO_TIME = b"%020d" % 0


class ListedImage(NamedTuple):
    """A line of the listing: size or refusal, label, time and name of an image."""

    key: str
    size_bytes: int
    label: int
    modified_ns: int
    refused: str | None

    @classmethod
    def of(cls, found: FoundFile, label: int) -> "ListedImage":
        """Makes the line of a file that was found."""
        return cls(found.name, found.size_bytes, label, found.modified_ns, found.refused)

    def to_line(self) -> bytes:
        """Renders the line; bytes of the name that would break it are escaped."""
        size = self.size_bytes if self.refused is None else -1 - REFUSALS.index(self.refused)
        name = encode_key(self.key)
        if b"\\" in name or b"\n" in name:
            name = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        # The time has a fixed width, so that another one moves no other line.
        return b"%d %d %020d %s\n" % (size, self.label, self.modified_ns, name)

    @classmethod
    def from_line(cls, line: bytes) -> "ListedImage":
        """The inverse of `to_line`.

        Raises:
          DataError: It is none.
        """
        try:
            size_text, label, modified_ns, key = line[:-1].split(b" ", 3)
            size = int(size_text)
            refused = REFUSALS[-1 - size] if size < 0 else None
            if b"\\" in key:
                key = b"\\".join(part.replace(b"\\n", b"\n") for part in key.split(b"\\\\"))
            name = key.decode("utf-8", "surrogateescape")
            return cls(name, max(0, size), int(label), int(modified_ns), refused)
        except (ValueError, IndexError) as error:
            raise DataError(f"expected a line of a listing, got {line[:100]!r}.") from error


def folder_of(key: str) -> str:
    """Returns the folder of an image, relative to the root: 'n01440764' of 'n01440764/x.JPEG'.

    A folder that is refused as a whole counts as its own, so that classes keep their numbers.
    """
    return key.rpartition("/")[0] or "."


def first_change(before: BinaryIO, after: BinaryIO) -> str | None:
    """Names the first image in which two listings differ, times aside: what it was and is."""
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
        elif new is None or (old is not None and old.key < new.key):
            assert old is not None
            return f"{old.key} was {_describe(old)}, is {missing}"
        else:
            return f"{new.key} was {missing}, is {_describe(new)}"


def first_rewritten(before: BinaryIO, after: BinaryIO, numbers: Iterable[int]) -> str | None:
    """Names the first of the images with these numbers whose lines differ, times included."""
    wanted = set(numbers)
    before.seek(0)
    after.seek(0)
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        if number in wanted and old != new:
            return f"{ListedImage.from_line(new).key} was written anew"
    return None


def _describe(image: ListedImage) -> str:
    return image.refused or f"{image.size_bytes:,} bytes"


def finish_listing(
    draft: BinaryIO, labels: list[int], stride: int
) -> tuple[BinaryIO, str, np.ndarray]:
    """Copies the lines of a draft, whose labels are numbers of folders, with their final labels.

    Args:
      draft: The lines as the directory walk wrote them.
      labels: By number of the folder, the label of its images.
      stride: Note the offset of every so many lines only.

    Returns:
      The text, at its end; its sha256 without the times; the offsets of every
      stride-th line.
    """
    # It lives as long as the listing; the system removes it with the process at the latest.
    text = tempfile.TemporaryFile()  # noqa: SIM115
    digest = hashlib.sha256()
    offsets = array("q")
    offset = 0
    names = [b"%d" % label for label in labels]
    for number, line in enumerate(draft):
        size, folder, modified_ns, key = line.split(b" ", 3)
        head = b"%b %b " % (size, names[int(folder)])
        if number % stride == 0:
            offsets.append(offset)
        offset += text.write(b"%b%b %b" % (head, modified_ns, key))
        digest.update(b"%b%b %b" % (head, NO_TIME, key))
    return text, digest.hexdigest(), np.array(offsets, np.int64)

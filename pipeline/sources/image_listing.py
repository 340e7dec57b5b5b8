"""The listing of an image folder: a file with one line per image."""

import hashlib
import tempfile
from array import array
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.dataset.records import encode_key
from fsq.errors import DataError
from pipeline.sources.directory_walk import REFUSALS, Found

NO_TIME = b"%020d" % 0


class ListedImage(NamedTuple):
    """A line of the listing: size or refusal, label, time and name of an image."""

    key: str
    size_bytes: int
    label: int
    modified_ns: int
    refused: str | None

    @classmethod
    def of(cls, found: Found, label: int) -> "ListedImage":
        """Makes the entry of a file that was found."""
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


def group_of(key: str) -> str:
    """The folder an image lies in, relative to the root; that of ImageNet's 'n01440764/x.JPEG'.

    A folder that is refused as a whole accounts for itself, so that classes keep their numbers.
    """
    return key.rpartition("/")[0] or "."


def first_change(before: BinaryIO, after: BinaryIO) -> str | None:
    """Names the first image in which two listings differ, with what it was and is."""
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


def _describe(image: ListedImage) -> str:
    return image.refused or f"{image.size_bytes:,} bytes"


def _finish(rough: BinaryIO, labels: list[int], stride: int) -> tuple[BinaryIO, str, np.ndarray]:
    """Copies the lines with their final labels.

    Returns:
      The text, at its end; its sha256 without the times; the offsets of every
      stride-th line.
    """
    # Its life is that of the listing; the system removes it with the process at the latest.
    text = tempfile.TemporaryFile()  # noqa: SIM115
    digest = hashlib.sha256()
    offsets = array("q")
    offset = 0
    names = [b"%d" % label for label in labels]
    for number, line in enumerate(rough):
        size, folder, modified_ns, key = line.split(b" ", 3)
        head = b"%b %b " % (size, names[int(folder)])
        if number % stride == 0:
            offsets.append(offset)
        offset += text.write(b"%b%b %b" % (head, modified_ns, key))
        digest.update(b"%b%b %b" % (head, NO_TIME, key))
    return text, digest.hexdigest(), np.array(offsets, np.int64)

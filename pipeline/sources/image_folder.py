"""A folder of image files, of any depth."""

import hashlib
import itertools
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.errors import DataError, RequestError
from pipeline import storage
from pipeline.config import ImageFolderSource
from pipeline.records import (
    BadRecord,
    CarriedFeature,
    ImageRecord,
    Unit,
    encode_key,
    record_numbers,
)
from pipeline.sources.folder import REFUSALS, Found, walk
from pipeline.sources.listing import NOTHING, Beat, ListedFile, Listing, no_beat, spans_of

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LISTING_NAME = "listing.txt"
NO_TIME = b"%020d" % 0


class ImageFolder:
    """Keys are paths relative to the folder; files and folders with a leading dot are left out.

    The listing is a file of one line per image (`ListedImage`), so that
    memory does not grow with the number of images.
    """

    def __init__(self, config: ImageFolderSource):
        self.config = config

    def list(self, stride: int = 1, beat: Beat = no_beat) -> Listing:
        with tempfile.TemporaryFile() as rough:
            tally = self._walk_into(rough, beat)
            classes = self._classes(tally) if self.config.labels else ()
            # Folders were numbered as they came; classes are numbered by name.
            ranks = {name: rank for rank, name in enumerate(classes)}
            numbers = [ranks.get(name, -1) for name in tally.records]
            rough.seek(0)
            text, digest, offsets = _finish(rough, numbers, stride)
        file = ListedFile(
            path=LISTING_NAME,
            name=LISTING_NAME,
            size_bytes=text.tell(),
            modified_ns=0,
            num_readable=sum(tally.records.values()),
            offsets=offsets,
            stride=stride,
        )
        return Listing(
            files=(file,),
            features=(CarriedFeature("label", "", "int64", classes),) if classes else (),
            groups={
                name: (count, tally.size_bytes[name])
                for name, count in sorted(tally.records.items())
            },
            text=text,
            text_sha256=digest,
            left_out=dict(sorted(tally.left_out.items())),
        )

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        given_up: Mapping[int, str] = NOTHING,
    ) -> Iterator[ImageRecord | BadRecord]:
        lines: list[bytes] = []
        # All lines before the first image: it may take long to come.
        with storage.open_read(unit.path) as listing:
            for span in unit.spans:
                listing.seek(span.offset)
                lines += itertools.islice(listing, span.num_records)
        # A listing that is read where it was made bears no stamp.
        if unit.stamp and hashlib.sha256(b"".join(lines)).hexdigest() != unit.stamp:
            raise DataError(
                f"{unit.path}: expected the {unit.num_records:,} images that were listed, got "
                "others. The folder of the job is damaged; run the same command again."
            )
        for number, line in zip(record_numbers(unit), lines, strict=True):
            image = ListedImage.from_line(line)
            if number in given_up:
                yield BadRecord(image.key, given_up[number])
            else:
                yield self._read(image, labelled=bool(features))

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        assert listing.text is not None
        (file,) = listing.files
        listing.text.seek(0)
        numbers = [
            number
            for number, line in enumerate(listing.text)
            if group_of(ListedImage.from_line(line).key) in groups
        ]
        yield Unit("", file.path, spans_of(file, numbers))

    def group_of(self, unit: Unit, key: str) -> str:
        return group_of(key)

    def _read(self, image: "ListedImage", *, labelled: bool) -> ImageRecord | BadRecord:
        if image.refused is not None:
            return BadRecord(image.key, image.refused)
        try:
            path = storage.join(self.config.directory, image.key)
            data = storage.read_sized(path, image.size_bytes)
        except OSError as error:
            return BadRecord(
                image.key, f"expected a file that can be read, got: {error.strerror or error}"
            )
        if len(data) != image.size_bytes:
            return BadRecord(
                image.key,
                f"expected {image.size_bytes:,} bytes as listed, got {len(data):,}: it changed",
            )
        return ImageRecord(image.key, data, (image.label,) if labelled else ())

    def _walk_into(self, target: BinaryIO, beat: Beat) -> "_Tally":
        """Writes a line for every image, with the number of its folder for a label."""
        folder = self.config.directory
        tally = _Tally({}, {}, Counter(), Counter())
        numbers: dict[str, int] = {}
        for found in walk(folder, follow_links=self.config.follow_links, beat=beat):
            if not (found.name.lower().endswith(EXTENSIONS) or found.name.endswith("/")):
                tally.left_out[os.path.splitext(found.name)[1].lower() or "no extension"] += 1
                continue
            group = group_of(found.name)
            number = numbers.setdefault(group, len(numbers))
            tally.first.setdefault(group, found.name)
            tally.records[group] = tally.records.get(group, 0) + 1
            tally.size_bytes[group] += found.size_bytes
            target.write(ListedImage.of(found, number).to_line())
        if not tally.records:
            raise RequestError(
                f"source.directory: expected images ({' '.join(EXTENSIONS)}), "
                f"found none in {folder!r}. Check the path."
            )
        return tally

    def _classes(self, tally: "_Tally") -> tuple[str, ...]:
        folder = self.config.directory
        if "." in tally.records:
            raise RequestError(
                f"{storage.join(folder, tally.first['.'])}: expected each image in the folder of "
                f"its class, found {tally.records['.']:,} outside. Move them, or set "
                "source.labels to false."
            )
        for name in tally.records:
            # tensorflow-datasets keeps the names in a text file, one per line.
            if "\n" in name or encode_key(name) != name.encode("utf-8", "replace"):
                raise RequestError(
                    f"{storage.join(folder, name)!a}: expected the name of a class in UTF-8 "
                    "and on one line. Rename the folder, or set source.labels to false."
                )
        return tuple(sorted(tally.records))


class _Tally(NamedTuple):
    """Images, bytes and the first image of each folder, as they came; other files."""

    records: dict[str, int]
    first: dict[str, str]
    size_bytes: Counter[str]
    left_out: Counter[str]


class ListedImage(NamedTuple):
    """A line of the listing: size or refusal, label, time and name of an image."""

    key: str
    size_bytes: int
    label: int
    modified_ns: int
    refused: str | None

    @classmethod
    def of(cls, found: Found, label: int) -> "ListedImage":
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

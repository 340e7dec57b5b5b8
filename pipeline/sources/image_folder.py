"""A folder of image files, of any depth."""

import itertools
from collections.abc import Iterator

import numpy as np

from fsq.errors import DataError, RequestError
from pipeline import storage
from pipeline.config import ImageFolderSource
from pipeline.records import BadRecord, CarriedFeature, ImageRecord, Unit, encode_key
from pipeline.sources.listing import ListedFile, Listing

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LISTING_NAME = "listing.txt"


class ImageFolder:
    """Keys are paths relative to the folder; files and folders with a leading dot are left out.

    The listing is one line per image: its size, its class number, its name
    with the bytes escaped that would break a line.
    """

    def __init__(self, config: ImageFolderSource):
        self.config = config

    def list(self) -> Listing:
        folder = self.config.directory
        entries = [
            entry
            for entry in storage.list_files(folder, recursive=True)
            if entry.name.lower().endswith(EXTENSIONS)
            and not any(part.startswith(".") for part in entry.name.split("/"))
        ]
        if not entries:
            raise RequestError(
                f"source.directory: expected images ({' '.join(EXTENSIONS)}), "
                f"found none in {folder!r}. Check the path."
            )
        classes: tuple[str, ...] = ()
        if self.config.labels:
            loose = next((entry.name for entry in entries if "/" not in entry.name), None)
            if loose is not None:
                raise RequestError(
                    f"{storage.join(folder, loose)}: expected each image in the folder of its "
                    "class, found one outside. Move it, or set source.labels to false."
                )
            classes = tuple(sorted({_class_of(entry.name) for entry in entries}))
            for name in classes:
                # tensorflow-datasets keeps the names in a text file, one per line.
                if "\n" in name or encode_key(name) != name.encode("utf-8", "replace"):
                    raise RequestError(
                        f"{storage.join(folder, name)!a}: expected the name of a class in UTF-8 "
                        "and on one line. Rename the folder, or set source.labels to false."
                    )
        numbers = {name: number for number, name in enumerate(classes)}
        lines = [
            b"%d %d %s\n"
            % (
                entry.size_bytes,
                numbers[_class_of(entry.name)] if classes else -1,
                encode_key(entry.name).replace(b"\\", b"\\\\").replace(b"\n", b"\\n"),
            )
            for entry in entries
        ]
        offsets = np.array([0, *itertools.accumulate(map(len, lines))], np.int64)
        text = b"".join(lines)
        features = (CarriedFeature("label", "", "int64", classes),) if classes else ()
        file = ListedFile(LISTING_NAME, LISTING_NAME, offsets[:-1], len(text))
        return Listing((file,), features, text)

    def read(
        self, unit: Unit, features: tuple[CarriedFeature, ...]
    ) -> Iterator[ImageRecord | BadRecord]:
        with storage.open_read(unit.path) as listing:
            listing.seek(unit.offset)
            lines = [listing.readline() for _ in range(unit.num_records)]
        if not all(line.endswith(b"\n") for line in lines):
            raise DataError(f"{unit.path}: expected {unit.num_records} lines, got fewer.")
        for line in lines:
            size, number, name = line[:-1].split(b" ", 2)
            key = _unescape(name).decode("utf-8", "surrogateescape")
            try:
                data = storage.read(storage.join(self.config.directory, key))
            except OSError as error:
                yield BadRecord(key, f"expected a file that can be read, got: {error.strerror}")
                continue
            if len(data) != int(size):
                yield BadRecord(
                    key, f"expected {int(size):,} bytes as listed, got {len(data):,}: it changed"
                )
                continue
            yield ImageRecord(key, data, (int(number),) if features else ())


def _class_of(name: str) -> str:
    """The folder an image lies in, relative to the root; that of ImageNet's 'n01440764/x.JPEG'."""
    return name.rpartition("/")[0]


def _unescape(name: bytes) -> bytes:
    return b"\\".join(part.replace(b"\\n", b"\n") for part in name.split(b"\\\\"))

"""Listing: the files of a source, their numbers of records, and the record offsets."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from fsq.dataset.records import CarriedFeature
from fsq.storage import filesystem
from fsq.storage.path_encoding import to_utf8
from fsq.storage.temporary import temporary_folder
from pipeline.core.records import Span, Unit


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A file of records, or a section of it.

    Attributes:
      path: The path that units are read from.
      name: The name in keys and messages.
      size_bytes: File size.
      modified_ns: Modification time in ns since the epoch.
      num_readable: Number of records that can be read.
      offsets: int64 byte offsets of every `stride`-th of these.
      stride: See offsets.
      num_unreadable: Number of unreadable records after them; 1 if unknown.
      damage: Why these cannot be read.
      first: Number in the file of its first record.
      split: The split of its records, if the source lists parts for the splits.
      digest: Hash over sizes of its parts, where padding hides them from its own size.
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
    first: int = 0
    split: str | None = None
    digest: str = ""

    @property
    def num_records(self) -> int:
        """Number of records, readable or not."""
        return self.num_readable + self.num_unreadable

    @property
    def numbers(self) -> range:
        """The numbers of its records in the file."""
        return range(self.first, self.first + self.num_records)

    def offset_before(self, number: int) -> tuple[int, int]:
        """Returns number and byte offset of the last record up to this one that has an offset."""
        index = (number - self.first) // self.stride
        return self.first + index * self.stride, int(self.offsets[index])

    def unit(self, name: str, spans: tuple[Span, ...], etag: str = "") -> Unit:
        """Returns a unit of some of its records."""
        return Unit(name, self.path, spans, etag, self.split, self.name)

    def spans(self, first: int, count: int) -> tuple[Span, ...]:
        """Returns the spans of some records, by number in the file.

        There must be a multiple of the stride before them in the section.
        """
        readable = max(0, min(count, self.first + self.num_readable - first))
        spans = []
        if readable:
            spans.append(Span(self.offset_before(first)[1], first, readable))
        if count > readable:
            spans.append(Span(0, first + readable, count - readable, self.damage))
        return tuple(spans)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files and records of a source.

    Attributes:
      files: The files, in order.
      features: Features carried along with each record.
      groups: Number of records and bytes by source file; by folder, where each
        image is a file of its own.
      text: Where each image is a file of its own: a temporary file with a line
        per image, which `files` are sections of.
      text_sha256: sha256 of the text without modification times.
      images: Hash over names and sizes of image files, by folder.
      left_out: Number of files that are not images, by ending.
      metadata: What is read of the metadata files beside images, for the plan.
    """

    files: tuple[ListedFile, ...]
    features: tuple[CarriedFeature, ...]
    groups: Mapping[str, tuple[int, int]]
    text: BinaryIO | None = None
    text_sha256: str = ""
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    metadata: str = ""

    @property
    def num_records(self) -> int:
        """Number of records in all files."""
        return sum(file.num_records for file in self.files)

    @property
    def records_by_split(self) -> dict[str | None, int]:
        """Number of records by split, if the source lists parts; otherwise all of them as None."""
        found: dict[str | None, int] = {}
        for file in self.files:
            found[file.split] = found.get(file.split, 0) + file.num_records
        return found

    def digest(self) -> str:
        """Returns the sha256 of the names, sizes and counts of the files."""
        content = [(f.name, f.size_bytes, f.num_records, f.first, f.split) for f in self.files]
        digests = [file.digest for file in self.files if file.digest]
        facts = [content, self.text_sha256, *([digests] if digests else [])]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def describe(self) -> dict[str, object]:
        """Returns the input as it stands in a job's fingerprint."""
        groups = {
            name: {"records": records, "bytes": size_bytes, "images": self.images.get(name)}
            for name, (records, size_bytes) in self.groups.items()
        }
        classes = {
            feature.name: {name: label for label, name in enumerate(feature.class_names)}
            for feature in self.features
            if feature.class_names
        }
        return {"classes": classes or None, "files": groups, "sha256": self.digest()}

    @functools.cached_property
    def _indices(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, file in enumerate(self.files):
            found.setdefault(file.name, []).append(index)
        return found

    def index_of(self, name: str, number: int) -> int | None:
        """Returns the index of the file, or section, that holds a record; None if there is none.

        Args:
          name: Name of the file; where each image is a file of its own, its group will do.
          number: Number of the record in the file.
        """
        everywhere = range(len(self.files)) if self.text is not None else ()
        indices = self._indices.get(name, everywhere)
        return next((index for index in indices if number in self.files[index].numbers), None)

    def file_of(self, unit: Unit) -> ListedFile | None:
        """Returns the file that a unit is read from; None if it is not listed here."""
        if not unit.spans:
            return None
        index = self.index_of(unit.file, unit.spans[0].first)
        return None if index is None else self.files[index]

    def locate(self, unit: Unit) -> Unit:
        """Returns the unit with the path that `write_to` gave the text, if there is one."""
        if self.text is None:
            return unit
        return dataclasses.replace(unit, path=self.files[0].path)

    def write_to(self, folder: str) -> "Listing":
        """Writes the text, if there is one, to a folder; returns the listing with its path.

        Units of the result can be read: their files exist.
        """
        if self.text is None:
            return self
        path = filesystem.join(folder, self.files[0].path)
        self.text.seek(0)
        with filesystem.open_write(path) as target:
            shutil.copyfileobj(self.text, target)
        files = tuple(dataclasses.replace(file, path=path) for file in self.files)
        return dataclasses.replace(self, files=files)

    @contextlib.contextmanager
    def on_disk(self) -> Iterator["Listing"]:
        """Yields the listing with its text in a temporary folder, removed after the block."""
        if self.text is None:
            yield self
            return
        with temporary_folder() as folder:
            yield self.write_to(folder)


def file_name(path: str, *, parts: int = 1) -> str:
    """Returns the last part of a path, or more: the name of a file in keys and messages."""
    name = "/".join(path.split("/")[-parts:])
    return to_utf8(name) if filesystem.is_local(path) else name


def listing_of(
    files: tuple[ListedFile, ...],
    features: tuple[CarriedFeature, ...],
    left_out: Mapping[str, int] | None = None,
) -> Listing:
    """Returns the listing of record files; each file is a group."""
    groups = {file.name: (file.num_records, file.size_bytes) for file in files}
    return Listing(files, features, groups, left_out=dict(sorted((left_out or {}).items())))

"""Containers: the base of a source whose files hold named images and can be read one by one.

A subclass says which images a file holds and how one is read; keys, labels by folder, units,
damage and accounts follow.
"""

import abc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from fsq.dataset.records import CarriedFeature, encode_key
from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.base import NO_TIMEOUTS, no_heartbeat
from pipeline.sources.damage import read_spans
from pipeline.sources.equal_keys import refuse_equal_keys
from pipeline.sources.input_files import (
    FileFacts,
    FilesConfig,
    FilesSource,
    InputFile,
    Patterns,
    facts_of,
    numbered_file,
)
from pipeline.sources.listing import ListedFile, Listing, listing_of

__all__ = ["ContainerConfig"]


class ContainerConfig(FilesConfig):
    """Base class of the configs of containers.

    Attributes:
      labels: Whether the folder in the name of an image is its class.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    # What reading a damaged file raises, besides OSError.
    errors: ClassVar[tuple[type[Exception], ...]] = (ValueError, EOFError)

    labels: bool = False

    @abc.abstractmethod
    def names(self, path: str) -> Sequence[str]:
        """Returns the names of the images in a file; they are the keys of their records."""

    @abc.abstractmethod
    def images(self, path: str, names: Sequence[str]) -> Iterator[bytes | np.ndarray]:
        """Yields images of a file: the bytes of an image file, or uint8 pixels [H, W, C]."""

    def open_files(self, patterns: Patterns) -> "ContainerSource":
        """Returns the source that reads the files of some patterns; reads nothing yet."""
        return ContainerSource(self, patterns)


class ContainerSource(FilesSource[ContainerConfig]):
    """Keys are the names of the images, labels the numbers of their folders."""

    @property
    def keys_are_numbers(self) -> bool:
        """Whether keys are '<file>__<number>'."""
        return False

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config = self.config
        files, keys = [], []
        folders: set[str] = set()
        for one in self.find(heartbeat):
            heartbeat()
            names, damage = self._names(one.path)
            if damage is not None and config.damaged == "refuse":
                raise DataError(f"{one.path}: {damage}. Copy it again.")
            files.append(_listed(one, len(names), damage, stride))
            folders.update(map(_folder, names))
            keys += [(encode_key(name), one.path, number) for number, name in enumerate(names)]
        refuse_equal_keys(keys)
        classes = tuple(sorted(folders))
        labels = (CarriedFeature("label", "", "int64", classes),) if config.labels else ()
        return listing_of(tuple(files), labels)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        return read_spans(
            unit,
            self.config.damaged,
            timed_out,
            lambda span, numbers: self._read(unit, span, numbers, features),
        )

    def _read(
        self,
        unit: Unit,
        span: Span,
        numbers: Iterator[int],
        features: Collection[CarriedFeature],
    ) -> Iterator[ImageRecord | BadRecord]:
        all_names, damage = self._names(unit.path)
        names = all_names[span.first : span.first + span.num_records]
        if damage is not None or len(names) != span.num_records:
            raise DataError(
                f"{unit.path}: expected {span.num_records:,} images from image {span.first:,} on, "
                f"got {len(names):,}. The file changed after it was listed."
            )
        images = self.config.images(unit.path, names)
        for name in names:
            carried = [(one.class_names or ()).index(_folder(name)) for one in features]
            try:
                data = next(images)
            except self.config.errors as error:
                raise DataError(
                    f"{unit.path}: {name}: expected an image that can be read, got: {error}. Copy "
                    "the file again, or set source.damaged to 'reject'."
                ) from error
            next(numbers)
            yield ImageRecord(name, data, tuple(carried))

    def _names(self, path: str) -> tuple[Sequence[str], str | None]:
        """Returns the names of the images in a file, or why it cannot be read."""
        try:
            return self.config.names(path), None
        except OSError as error:
            return (), f"expected a file that can be read, got: {error.strerror or error}"
        except self.config.errors as error:
            return (), f"expected one of {self.config.noun} that can be read, got: {error}"


def _listed(one: InputFile, count: int, damage: str | None, stride: int) -> ListedFile:
    facts = facts_of(one.path) if filesystem.exists(one.path) else FileFacts()
    lost = 0 if damage is None else 1
    return numbered_file(one, facts, count, stride, lost=lost, damage=damage)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]

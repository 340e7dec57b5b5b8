"""Manifest source: images that a CSV, JSON Lines or Parquet file names, with its columns."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from reprlib import repr as brief
from typing import Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from fsq.storage.path_expansion import expand_path
from fsq.yaml_config import PathStr
from pipeline.sources.base import BaseSourceConfig, no_heartbeat
from pipeline.sources.carry import Carry
from pipeline.sources.class_folders import Classes, read_classes
from pipeline.sources.image_paths import Places
from pipeline.sources.input_files import (
    Damaged,
    Files,
    InputFile,
    Patterns,
    describe_patterns,
    find_files,
)
from pipeline.sources.listed_rows import RowListing
from pipeline.sources.listing import Listing
from pipeline.sources.listing_text import unreadable
from pipeline.sources.manifest_columns import (
    ColumnScan,
    Labels,
    check_column,
    image_column,
)
from pipeline.sources.manifest_files import ManifestFile, Row, open_manifest, with_heartbeat
from pipeline.sources.manifest_rows import Converter, RowLister
from pipeline.sources.row_source import RowSource


class ManifestConfig(BaseSourceConfig):
    """A file with a row per image: its path, and columns with labels, captions or anything else.

    The file is CSV (with a first line that names the columns; `.tsv` and `;` too), JSON Lines or
    a list of JSON, or Parquet. A row is a reject if its image is missing, its path is refused, or
    a value that is carried is missing without a default or does not fit its column's type.

    Attributes:
      file: Name or pattern of the manifest, or a list of these. Required unless `output.split`
        has names or patterns.
      image: Column with the paths; by default `file_name`, or the only one of `image`,
        `image_path`, `path`, `filepath`, `file_path`, `filename`, `file`, `image_file`, `img`,
        `img_path` and `image_name` that there is.
      root: Folder that the paths are relative to; by default the folder of the manifest.
      outside: Whether paths may lead out of `root`: absolute ones, and those with '..'.
      key: Column with the keys of the records; by default they are the paths as written.
      carry: Columns to carry along, by their names in the token records; 'a.b' is the field b in
        the object a. The types of CSV columns are those that hold all of their cells.
      labels: Column with the names of classes; the records carry their numbers as `label`.
      classes: Names of the classes in the order of their labels: a list, a text file with a name
        per line, or the directory of a dataset whose labels are to be shared. By default they are
        those in the column, sorted by name.
      damaged: Refuse a missing manifest and rows that cannot be read, or reject each of these.
    """

    kind: Literal["manifest"]
    file: Files | None = None
    image: str | None = None
    root: PathStr | None = None
    outside: bool = False
    key: str | None = None
    carry: Carry = pydantic.Field(default_factory=dict)
    labels: str | None = None
    classes: Classes | None = None
    damaged: Damaged = "refuse"

    @pydantic.model_validator(mode="after")
    def _classes_are_labels(self) -> "ManifestConfig":
        if self.classes is not None and self.labels is None:
            raise ValueError("expected 'labels', the column of the class names, with 'classes'")
        return self

    def open(self) -> "ManifestSource":
        """Returns the source that this config describes; reads nothing yet."""
        if self.file is None:
            raise RequestError(
                "source.file: expected the name or pattern of a manifest, got none. Add the key "
                "'file'."
            )
        patterns = (self.file,) if isinstance(self.file, str) else self.file
        return ManifestSource(self, {None: patterns})

    def open_parts(self, parts: Mapping[str, str]) -> "ManifestSource":
        """Returns the source of some parts, which are names or patterns of manifests."""
        if self.file is not None:
            raise RequestError(
                f"source.file: expected none beside the patterns in output.split, "
                f"got {brief(self.file)}. Remove it."
            )
        return ManifestSource(self, {split: (expand_path(part),) for split, part in parts.items()})


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A manifest whose columns are known; or why it cannot be read."""

    found: InputFile
    file: ManifestFile | None = None
    image: str = ""
    damage: str | None = None


class ManifestSource(RowSource):
    """Keys are the paths as written, without './' and '//', or the values of a column.

    Of manifests with one base name, which are told apart by their folders, the keys begin with
    these folders. A row without a key has '<file>__<number>'.

    Local images are looked at while the manifest is listed, so that changed ones are noticed;
    those in object stores, where that takes a request each, are not.
    """

    def __init__(self, config: ManifestConfig, patterns: Patterns):
        self.config = config
        self._patterns = patterns

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return describe_patterns(self._patterns)

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config = self.config
        found = find_files(
            self._patterns, "manifests", config.damaged, heartbeat, where="source.file"
        )
        labels = None
        if config.labels is not None:
            given = None if config.classes is None else read_classes(config.classes)
            labels = Labels(config.labels, given)
        scan = ColumnScan(config.carry, labels)
        opened = [self._open(one, scan, heartbeat) for one in found]
        features = scan.features()
        listing = RowListing(stride)
        for one in opened:
            listing.start_group(one.found.name)
            self._add_rows(one, listing, features, labels, heartbeat)
            listing.end_file(one.found.name, one.found.split)
        if listing.first_refused is not None and not listing.num_usable:
            refused = listing.first_refused
            raise DataError(
                f"{self.describe()}: expected rows with images, got none in "
                f"{listing.num_refused:,}; the first, {refused.key[:200]!a}: {refused.refused}. "
                "Correct the config or the manifest."
            )
        if not listing.num_usable:
            raise DataError(f"{self.describe()}: expected rows, got none. Check source.file.")
        remedy = "Remove one of the two rows, or name a column of other values in source.key."
        if config.key is not None:
            remedy = "Name another column in source.key, or leave it out."
        return listing.finish(features, remedy)

    def _open(self, found: InputFile, scan: ColumnScan, heartbeat: Callable[[], None]) -> _Opened:
        config, path = self.config, found.path
        file = open_manifest(path, found.name)
        heartbeat()
        try:
            columns = file.columns()
            image = image_column(path, columns, config.image)
            if config.key is not None:
                check_column(path, columns, config.key, "source.key")
            if config.labels is not None:
                check_column(path, columns, config.labels, "source.labels")
            for name, field in config.carry.items():
                if field.default is None:
                    check_column(path, columns, field.field, f"source.carry.{name}")
            scan.add(file, columns, heartbeat)
        except (OSError, DataError) as error:
            if config.damaged == "refuse":
                raise _data_error(path, error) from error
            return _Opened(found, damage=_reason(path, error))
        return _Opened(found, file, image)

    def _add_rows(
        self,
        opened: _Opened,
        listing: RowListing,
        features: tuple[CarriedFeature, ...],
        labels: Labels | None,
        heartbeat: Callable[[], None],
    ) -> None:
        found, converter = opened.found, Converter(features, labels)
        folder = found.path.rpartition("/")[0] or ("/" if found.path.startswith("/") else ".")
        places = Places(self.config.root or folder, outside=self.config.outside)
        lister = RowLister(found.name, places, self.config.key, converter)
        rows = with_heartbeat(self._rows(opened, converter), heartbeat)
        for number, row in enumerate(rows):
            if row.damage is not None and self.config.damaged == "refuse":
                raise DataError(
                    f"{found.path}: row {number}: {row.damage}. Correct it, or set source.damaged "
                    "to 'reject', which counts such a row as a reject."
                )
            listing.add(lister.listed(row, number), found.name)

    def _rows(self, opened: _Opened, converter: Converter) -> Iterator[Row]:
        """Yields path, key if there is a column for it, and the values of the features."""
        if opened.file is None:
            yield Row(damage=opened.damage)
            return
        keys = [self.config.key] if self.config.key is not None else []
        try:
            yield from opened.file.rows([opened.image, *keys, *converter.columns])
        except (OSError, DataError) as error:
            if self.config.damaged == "refuse":
                raise _data_error(opened.found.path, error) from error
            yield Row(damage=_reason(opened.found.path, error))


def _reason(path: str, error: OSError | DataError) -> str:
    return unreadable(error) if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")


def _data_error(path: str, error: OSError | DataError) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"{path}: {unreadable(error)}. Copy it again.")

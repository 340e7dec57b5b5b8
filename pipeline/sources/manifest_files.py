"""Manifest files: rows of CSV, JSON Lines and Parquet as the same values."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

from fsq.dataset.records import FeatureKind
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.sources.manifest_values import Value
from pipeline.sources.other_formats import HEAD_BYTES, other_format

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """A row of a manifest.

    Attributes:
      values: The values of the columns asked for; None where there is none.
      damage: Why the row cannot be read; it has no values then.
    """

    values: Sequence[Value] = ()
    damage: str | None = None


class ManifestFile(abc.ABC):
    """A file of rows; each format has a class.

    Args:
      path: The file, local or in an object store.
    """

    # Whether every value is text, whose type is to be found.
    is_text: ClassVar[bool] = False

    def __init__(self, path: str):
        self.path = path

    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Returns the names of the columns; for JSON those of the first objects.

        Raises:
          OSError: The file cannot be read.
          DataError: It has no columns.
        """

    def kinds(self, wanted: Sequence[str]) -> Mapping[str, FeatureKind] | None:
        """Returns the types of some columns, without those that are not there; None if unknown.

        Raises:
          RequestError: A column has a type that is not carried.
        """
        return None

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Returns the names of classes, by column, that the schema of the file holds.

        Raises:
          OSError, DataError: The file cannot be read.
        """
        return {}

    @abc.abstractmethod
    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Yields the rows, with the values of some columns; a column that is not there is None.

        Raises:
          OSError: The file cannot be read.
          DataError: It is damaged, so that no further row is known.
        """


def check_text(path: str) -> None:
    """Refuses a file that is no text in UTF-8 by its first bytes.

    Raises:
      OSError: The file cannot be read.
      DataError: It is something else.
    """
    head = filesystem.read_head(path, HEAD_BYTES)
    if head.startswith(_UTF16):
        raise DataError(f"{path}: expected text in UTF-8, got UTF-16. Save it as UTF-8.")
    other = other_format(head)
    if other is not None and other.name != "text":
        raise DataError(
            f"{path}: expected text, got {other.name}. Name the manifest in source.file."
        )


def with_heartbeat(rows: Iterator[Row], heartbeat: Callable[[], None]) -> Iterator[Row]:
    """Yields rows, and tells now and then that they come."""
    for number, row in enumerate(rows):
        if number % 16 == 0:
            heartbeat()
        yield row


def open_manifest(path: str, name: str) -> ManifestFile:
    """Returns the reader of a manifest, by its ending; reads nothing yet.

    Raises:
      RequestError: The ending is none of those known.
    """
    from pipeline.sources.manifest_csv import CsvFile
    from pipeline.sources.manifest_json import JsonFile
    from pipeline.sources.manifest_parquet import ParquetFile

    match name.lower().rpartition(".")[2]:
        case "csv" | "tsv":
            return CsvFile(path)
        case "jsonl" | "ndjson" | "json":
            return JsonFile(path)
        case "parquet":
            return ParquetFile(path)
    raise RequestError(
        f"source.file: expected a manifest that ends with .csv, .tsv, .jsonl, .json or .parquet, "
        f"got {path!r}. Rename it, or convert it to one of these; unpack it if it is compressed."
    )

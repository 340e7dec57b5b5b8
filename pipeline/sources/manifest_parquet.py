"""Parquet manifests: typed columns, read in batches of rows."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pyarrow import compute, parquet

from fsq.dataset.records import FeatureKind
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.sources.manifest_files import ManifestFile, Row
from pipeline.sources.manifest_values import Value
from pipeline.sources.parquet_columns import (
    kind_of,
    names_of_classes,
    path_of_column,
    show_type,
)

_BATCH_ROWS = 4096
# Reading damaged pages ends in an OSError too, one without a number; names of columns are decoded.
_ARROW_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)


class ParquetFile(ManifestFile):
    """Columns have the types of their schema; `a.b` is the field b of the struct a.

    A row group that cannot be read is lost as a whole: each of its rows is damaged.
    """

    def columns(self) -> tuple[str, ...]:
        """Returns the names of the columns; see `ManifestFile`."""
        with self._open() as file:
            return tuple(file.schema_arrow.names)

    def kinds(self, wanted: Sequence[str]) -> Mapping[str, FeatureKind]:
        """Returns the types of some columns; see `ManifestFile`."""
        with self._open() as file:
            schema = file.schema_arrow
        found: dict[str, FeatureKind] = {}
        for name in wanted:
            path = path_of_column(schema, name)
            if path is None or (shown := show_type(schema, path)) == "null":
                continue
            if (kind := kind_of(schema, path)) is None:
                raise RequestError(
                    f"{self.path}: expected a column of integers, numbers, text or bytes, got "
                    f"{shown} in {name!r}. Leave it out, or convert it."
                )
            found[name] = kind
        return found

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Returns the names of classes, as `datasets` writes them; see `ManifestFile`."""
        with self._open() as file:
            return names_of_classes(file.schema_arrow)

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Yields the rows; see `ManifestFile`."""
        with self._open() as file:
            schema = file.schema_arrow
            paths = [path_of_column(schema, name) for name in wanted]
            present = sorted({".".join(path) for path in paths if path is not None})
            for group in range(file.num_row_groups):
                left = file.metadata.row_group(group).num_rows
                damage = "expected a row group that can be read, got fewer rows"
                try:
                    batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=present)
                    for batch in batches:
                        left -= batch.num_rows
                        yield from _rows_of(batch, paths)
                except _ARROW_ERRORS as error:
                    damage = f"expected a row group that can be read, got: {_line(error)}"
                yield from (Row(damage=damage) for _ in range(left))

    @contextlib.contextmanager
    def _open(self) -> Iterator[parquet.ParquetFile]:
        with filesystem.open_read(self.path) as file:
            try:
                opened = parquet.ParquetFile(pa.PythonFile(file, mode="r"))
                _ = opened.schema_arrow
            except _ARROW_ERRORS as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DataError(
                    f"{self.path}: expected a Parquet file, got: {_line(error)}. Copy it again."
                ) from error
            yield opened


def _line(error: Exception) -> str:
    """Returns an error of Arrow as one line, without the bytes that it may quote."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return "".join(mark if mark.isprintable() else "?" for mark in line).rstrip(".")


def _rows_of(batch: pa.RecordBatch, paths: Sequence[tuple[str, ...] | None]) -> Iterator[Row]:
    nothing: list[Value] = [None] * batch.num_rows
    columns = [nothing if path is None else _values(batch, path) for path in paths]
    if not columns:
        yield from (Row() for _ in range(batch.num_rows))
    for values in zip(*columns, strict=True):
        yield Row(values)


def _values(batch: pa.RecordBatch, path: tuple[str, ...]) -> list[Value]:
    column = batch.column(path[0])
    if len(path) > 1:
        column = compute.struct_field(column, path[1:])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    types = pa.types
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        return list(column.to_pylist())
    # Text that is not UTF-8 is found value by value.
    texts = column.cast(pa.large_binary()).to_pylist()
    return [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]

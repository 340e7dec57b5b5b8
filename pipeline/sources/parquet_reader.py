"""Reading images from the rows of tables."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fsq.dataset.records import CarriedFeature, FeatureKind, encode_key
from fsq.errors import DataError
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.arrow_files import arrow_errors
from pipeline.sources.input_files import Damaged
from pipeline.sources.parquet_columns import ImageColumn
from pipeline.sources.referenced_image import BadReferenceError, read_referenced
from pipeline.sources.table_cursors import borrowed_table

_INT64 = range(-(2**63), 2**63)


class Columns(NamedTuple):
    """Where the values of a row are.

    Attributes:
      image: The image.
      key: Path of the column of the key; None if the key is made of the row's number.
      carried: Path and feature of each carried column; no path where the file lacks it.
    """

    image: ImageColumn
    key: tuple[str, ...] | None
    carried: tuple[tuple[tuple[str, ...] | None, CarriedFeature], ...]

    @property
    def names(self) -> list[str]:
        """The columns to read, by their paths with dots."""
        paths = [self.image.path, self.key, *(path for path, _ in self.carried)]
        return list(dict.fromkeys(".".join(path) for path in paths if path is not None))


class _BadValueError(ValueError):
    pass


def read_rows(
    unit: Unit, span: Span, numbers: Iterator[int], columns: Columns, damaged: Damaged
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a span; see `damage.read_spans`.

    With `damaged: reject`, a group of rows that cannot be read gives bad records, and the next
    group is read.
    """
    # Where the groups lie is known once the file is open.
    with borrowed_table(unit.path, columns.names, span.first) as cursor:
        places = list(cursor.groups(span.first, span.num_records))
    if sum(count for _, count in places) != span.num_records:
        raise DataError(
            f"{unit.path}: expected {span.num_records:,} rows from row {span.first:,} on, got "
            f"{sum(count for _, count in places):,}. The file changed after it was listed."
        )
    for first, count in places:
        done = 0
        try:
            with borrowed_table(unit.path, columns.names, first) as cursor:
                for batch in cursor.read(first, count):
                    records = _records(unit, batch, first + done, columns)
                    for _ in range(batch.num_rows):
                        done += 1
                        next(numbers)
                        yield next(records)
        except DataError as error:
            if damaged == "refuse":
                raise
            reason = str(error).removeprefix(f"{unit.path}: ")
            for _ in range(count - done):
                yield BadRecord(f"{unit.file}__{next(numbers)}", reason)


def keys_of(batch: pa.RecordBatch, path: tuple[str, ...]) -> list[bytes | None]:
    """Returns the keys in a column; None where there is none."""
    values = _values(batch, path)
    return [None if value is None else encode_key(_key(value)) for value in values]


def _records(
    unit: Unit, batch: pa.RecordBatch, first: int, columns: Columns
) -> Iterator[ImageRecord | BadRecord]:
    folder = unit.path.rpartition("/")[0] or ("/" if unit.path.startswith("/") else ".")
    with arrow_errors(unit.path, f": row {first}"):
        images = list(_images(batch, columns.image))
        keys = None if columns.key is None else _values(batch, columns.key)
        carried = [(_values(batch, path), feature) for path, feature in columns.carried]
    for number in range(batch.num_rows):
        key = f"{unit.file}__{first + number}"
        try:
            if keys is not None:
                key = _key(keys[number])
            data, path = images[number]
            yield ImageRecord(
                key=key,
                data=_data(data, path, folder),
                carried=tuple(_carried(values[number], one) for values, one in carried),
            )
        except (_BadValueError, BadReferenceError) as error:
            yield BadRecord(key, str(error))


def _images(batch: pa.RecordBatch, column: ImageColumn) -> Iterator[tuple[bytes | None, Any]]:
    """Yields the encoded image and the path of each row."""
    values = _values(batch, column.path)
    for value in values:
        match column.form:
            case "struct":
                yield (None, None) if value is None else (value["bytes"], value.get("path"))
            case "bytes":
                yield value, None
            case "path":
                yield None, value


def _data(data: bytes | None, path: Any, folder: str) -> bytes:
    if data is not None:
        return data
    if path is None or path in ("", b""):
        raise _BadValueError("expected an image, got none (a null)")
    if isinstance(path, bytes):
        raise _BadValueError("expected the path of an image in UTF-8, got other bytes")
    return read_referenced(folder, path)


def _values(batch: pa.RecordBatch, path: tuple[str, ...] | None) -> list[Any]:
    """Returns the values of a column; text that is not UTF-8 as bytes."""
    if path is None:
        return [None] * batch.num_rows
    array: Any = batch.column(path[0])
    for name in path[1:]:
        array = pc.struct_field(array, name)
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in array]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if isinstance(scalar, pa.StructScalar):
            return {name: _value(scalar[name]) for name in scalar}
        buffer = scalar.as_buffer()
        return None if buffer is None else buffer.to_pybytes()


def _key(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise _BadValueError("expected a key, got none (a null)")


def _carried(value: Any, feature: CarriedFeature) -> int | float | bytes:
    if value is None:
        if (default := feature.default_value) is not None:
            return default
        raise _BadValueError(f"expected a value in column {feature.field!r}, got none (a null)")
    converted: int | float | bytes = _CONVERT[feature.kind](value, feature)
    return converted


def _integer(value: Any, feature: CarriedFeature) -> int:
    if int(value) not in _INT64:
        raise _BadValueError(f"expected an int64 in column {feature.field!r}, got {value}")
    return int(value)


def _number(value: Any, feature: CarriedFeature) -> float:
    with np.errstate(over="ignore"):
        found = float(np.float32(value))
    if math.isinf(found) and not math.isinf(value):
        raise _BadValueError(f"expected a float32 in column {feature.field!r}, got {value}")
    return found


def _bytes(value: Any, feature: CarriedFeature) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


_CONVERT: dict[FeatureKind, Any] = {"int64": _integer, "float32": _number, "bytes": _bytes}

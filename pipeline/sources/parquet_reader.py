"""Reading images from the rows of tables."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fsq.dataset.records import CarriedFeature, FeatureKind, decode_key, encode_key
from fsq.errors import DataError
from fsq.storage import filesystem
from fsq.storage.path_encoding import from_utf8
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.arrow_files import BYTES_OF_TEXT, arrow_errors
from pipeline.sources.image_paths import Places
from pipeline.sources.input_files import Damaged
from pipeline.sources.parquet_columns import ImageColumn
from pipeline.sources.table_cursors import borrowed_table

_INT64 = range(-(2**63), 2**63)


class Columns(NamedTuple):
    """Where the values of a row are.

    Attributes:
      image: The image.
      key: Path of the column of the key; None if the key is made of the row's number.
      carried: Path and feature of each carried column; no path where the file lacks it.
      places: Where the image files lie that rows name.
    """

    image: ImageColumn
    key: tuple[str, ...] | None
    carried: tuple[tuple[tuple[str, ...] | None, CarriedFeature], ...]
    places: Places

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The columns to read."""
        paths = [self.image.path, self.key, *(path for path, _ in self.carried)]
        return tuple(dict.fromkeys(path for path in paths if path is not None))


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
    with borrowed_table(unit.path, columns.paths, span.first) as cursor:
        places = list(cursor.groups(span.first, span.num_records))
    if sum(count for _, count in places) != span.num_records:
        raise DataError(
            f"{unit.path}: expected {span.num_records:,} rows from row {span.first:,} on, got "
            f"{sum(count for _, count in places):,}. The file changed after it was listed."
        )
    for first, count in places:
        done = 0
        try:
            with borrowed_table(unit.path, columns.paths, first) as cursor:
                for batch in cursor.read(first, count):
                    records = _records(unit, batch, first + done, columns)
                    for _ in range(batch.num_rows):
                        record = next(records)
                        done += 1
                        next(numbers)
                        yield record
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
                data=_data(data, path, columns.places),
                carried=tuple(_carried(values[number], one) for values, one in carried),
            )
        except _BadValueError as error:
            yield BadRecord(key, str(error))


def _images(
    batch: pa.RecordBatch, column: ImageColumn
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yields the encoded image and the path of each row."""
    match column.form:
        case "struct":
            array = _array(batch, column.path)
            names = [field.name for field in array.type]
            data = _values(batch, (*column.path, "bytes"))
            has_path = names.count("path") == 1
            paths = _values(batch, (*column.path, "path")) if has_path else [None] * len(data)
            # A path of another type than text is none.
            yield from (
                (one, path if isinstance(path, bytes) else None)
                for one, path in zip(data, paths, strict=True)
            )
        case "bytes":
            yield from ((value, None) for value in _values(batch, column.path))
        case "path":
            yield from ((None, value) for value in _values(batch, column.path))


def _data(data: bytes | None, path: bytes | None, places: Places) -> bytes:
    if data is not None:
        return data
    if path is None:
        raise _BadValueError("expected an image, got none (a null)")
    place = places.find(decode_key(path))
    if place.refused is not None:
        raise _BadValueError(place.refused)
    try:
        is_local = filesystem.is_local(place.path)
        return filesystem.read(from_utf8(place.path) if is_local else place.path)
    except OSError as error:
        raise _BadValueError(
            f"expected a file that can be read, got: {error.strerror or error}"
        ) from error


def _values(batch: pa.RecordBatch, path: tuple[str, ...] | None) -> list[Any]:
    """Returns the values of a column; text as bytes, which need not be UTF-8."""
    if path is None:
        return [None] * batch.num_rows
    array = _array(batch, path)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    as_bytes = BYTES_OF_TEXT.get(str(array.type))
    values: list[Any] = (array if as_bytes is None else array.cast(as_bytes)).to_pylist()
    return values


def _array(batch: pa.RecordBatch, path: tuple[str, ...]) -> Any:
    array: Any = batch.column(path[0])
    for name in path[1:]:
        array = pc.struct_field(_stored(array), name)
    return _stored(array)


def _stored(array: Any) -> Any:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _key(value: Any) -> str:
    if isinstance(value, bytes):
        return decode_key(value)
    if isinstance(value, int) and not isinstance(value, bool):
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
    return bytes(value)


_CONVERT: dict[FeatureKind, Any] = {"int64": _integer, "float32": _number, "bytes": _bytes}

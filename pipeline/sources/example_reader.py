"""Reading images from records of tf.train.Example."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import WRONG_DATA
from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import DataError
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.damage import read_spans
from pipeline.sources.input_files import Damaged
from pipeline.sources.record_formats import RecordFormat

_LIST_OF: dict[FeatureKind, str] = {
    "int64": "int64_list",
    "float32": "float_list",
    "bytes": "bytes_list",
}


class Fields(NamedTuple):
    """Names of the fields to read; without a `key`, the key is made of the record's number."""

    image: str
    key: str | None
    carried: tuple[CarriedFeature, ...]


def read_examples(
    unit: Unit,
    record_format: RecordFormat,
    fields: Fields,
    damaged: Damaged,
    timed_out: Mapping[int, str],
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a unit from a file of examples.

    A record that is no Example, or lacks a field, gives a BadRecord; so does a
    damaged one, unless `damaged` is 'refuse'.
    """
    return read_spans(
        unit,
        damaged,
        timed_out,
        lambda span, numbers: _read_span(unit, record_format, span, fields, damaged, numbers),
    )


def _read_span(
    unit: Unit,
    record_format: RecordFormat,
    span: Span,
    fields: Fields,
    damaged: Damaged,
    numbers: Iterator[int],
) -> Iterator[ImageRecord | BadRecord]:
    path = unit.path
    records = record_format.read(path, span.offset, span.first)
    left = span.num_records
    prefix = f"{unit.file}__"
    for data in islice(records, span.num_records):
        number = next(numbers)
        left -= 1
        key = f"{prefix}{number}"
        if data is None:
            if damaged == "refuse":
                raise DataError(
                    f"{path}: record {number}: {WRONG_DATA}. Copy the file again, or set "
                    "source.damaged to 'reject'."
                )
            yield BadRecord(key, WRONG_DATA)
            continue
        try:
            feature = Example.FromString(data).features.feature
            if fields.key is not None:
                key = _scalar(feature, fields.key, "bytes").decode("utf-8", "surrogateescape")
            yield ImageRecord(
                key=key,
                data=_scalar(feature, fields.image, "bytes"),
                carried=tuple(
                    _scalar(feature, f.field, f.kind, f.default_value) for f in fields.carried
                ),
            )
        except DecodeError:
            yield BadRecord(key, "expected a tf.train.Example, got other bytes")
        except _BadFieldError as error:
            yield BadRecord(key, str(error))
    if left:
        raise DataError(
            f"{path}: expected {span.num_records:,} records from record {span.first} on, "
            f"got {span.num_records - left:,}. The file changed after it was listed."
        )


class _BadFieldError(ValueError):
    pass


def _scalar(feature: Any, name: str, kind: FeatureKind, default: Any = None) -> Any:
    entry = feature[name]
    match kind:
        case "bytes":
            values = entry.bytes_list.value
        case "int64":
            values = entry.int64_list.value
        case "float32":
            values = entry.float_list.value
    if len(values) != 1:
        # The lookup has added an empty field if it was missing.
        found = entry.WhichOneof("kind")
        if default is not None and not values and found in (None, _LIST_OF[kind]):
            return default
        if found is None:
            raise _BadFieldError(f"expected a field {name!r}, got none")
        raise _BadFieldError(f"expected one {kind} in field {name!r}, got {len(values)}")
    return values[0]

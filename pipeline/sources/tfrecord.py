"""TFRecord files of tf.train.Example with named fields."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from fsq.errors import DataError, RequestError
from pipeline import storage
from pipeline.config import TfrecordSource
from pipeline.records import (
    RESERVED_FEATURES,
    BadRecord,
    CarriedFeature,
    FeatureKind,
    ImageRecord,
    Unit,
)
from pipeline.sources.listing import ListedFile, Listing
from pipeline.tfrecord import read_records, scan

_LISTS: dict[str, FeatureKind] = {
    "int64_list": "int64",
    "float_list": "float32",
    "bytes_list": "bytes",
}


class Tfrecord:
    """Keys are a field of the record, or '<file>__<number>'."""

    def __init__(self, config: TfrecordSource):
        self.config = config

    def list(self) -> Listing:
        paths = storage.glob(self.config.files)
        if not paths:
            raise RequestError(
                f"source.files: expected TFRecord files, found none that fit "
                f"{self.config.files!r}. Check the path."
            )
        files = list_record_files(paths)
        wanted = [self.config.image, *self.config.carry.values()]
        wanted += [self.config.key] if self.config.key else []
        kinds = first_record_kinds(files, wanted)
        if kinds[self.config.image] != "bytes":
            raise RequestError(
                f"source.image: expected a field of bytes, got {kinds[self.config.image]} "
                f"in {self.config.image!r}. Name the field that holds the encoded image."
            )
        if self.config.key and kinds[self.config.key] != "bytes":
            raise RequestError(
                f"source.key: expected a field of bytes, got {kinds[self.config.key]} "
                f"in {self.config.key!r}. Name another, or leave the key out."
            )
        check_names(self.config.carry)
        features = tuple(
            CarriedFeature(name, field, kinds[field]) for name, field in self.config.carry.items()
        )
        return Listing(files, features)

    def read(
        self, unit: Unit, features: tuple[CarriedFeature, ...]
    ) -> Iterator[ImageRecord | BadRecord]:
        return read_examples(unit, self.config.image, self.config.key, features)


def check_names(names: Any) -> None:
    """Raises a RequestError if a carried name is one of the record's own."""
    for name in names:
        if name in RESERVED_FEATURES:
            raise RequestError(
                f"source.carry: expected names other than {', '.join(RESERVED_FEATURES)}, "
                f"got {name!r}. The token record uses it itself."
            )


def list_record_files(paths: list[str]) -> tuple[ListedFile, ...]:
    """Scans TFRecord files for the offsets of their records.

    Raises:
      RequestError: A file cannot be opened.
      DataError: A file is damaged.
    """
    files = []
    for path in paths:
        try:
            with storage.open_read(path) as file:
                if file.read(2) == b"\x1f\x8b":
                    raise DataError(
                        f"{path}: expected an uncompressed TFRecord, got GZIP. Unpack it first."
                    )
                size_bytes = file.seek(0, os.SEEK_END)
                offsets = scan(file, size_bytes, path)
        except OSError as error:
            raise RequestError(
                f"{path}: expected a file that can be read, got: {error.strerror or error}."
            ) from error
        files.append(ListedFile(path, path.rpartition("/")[2], offsets, size_bytes))
    if not any(len(file.offsets) for file in files):
        raise RequestError(f"{paths[0]}: expected records, got none in {len(files)} file(s).")
    return tuple(files)


def first_record_kinds(files: tuple[ListedFile, ...], wanted: list[str]) -> dict[str, FeatureKind]:
    """Looks at the first record for the types of the wanted fields.

    Raises:
      RequestError: It lacks one of them.
    """
    from tensorflow.core.example import example_pb2

    listed = next(file for file in files if len(file.offsets))
    with storage.open_read(listed.path) as file:
        data = next(read_records(file, listed.path))
    try:
        feature = example_pb2.Example.FromString(data).features.feature
    except Exception as error:  # protobuf's DecodeError has no stable place to import it from
        raise RequestError(
            f"{listed.path}: record 0: expected a tf.train.Example, got other bytes."
        ) from error
    kinds: dict[str, FeatureKind] = {}
    for name in wanted:
        kind = feature[name].WhichOneof("kind") if name in feature else None
        if kind is None:
            raise RequestError(
                f"{listed.path}: expected a field {name!r}, "
                f"got {', '.join(sorted(feature))}. Correct the name in the config."
            )
        kinds[name] = _LISTS[kind]
    return kinds


def read_examples(
    unit: Unit, image: str, key_field: str | None, features: tuple[CarriedFeature, ...]
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a unit from a TFRecord file.

    A record that is no Example, or lacks a field, comes out as a BadRecord.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.example import example_pb2

    name = unit.path.rpartition("/")[2]
    with storage.open_read(unit.path) as file:
        file.seek(unit.offset)
        records = islice(read_records(file, unit.path), unit.num_records)
        count = 0
        for count, data in enumerate(records, start=1):
            key = f"{name}__{unit.first + count - 1}"
            try:
                feature = example_pb2.Example.FromString(data).features.feature
                if key_field is not None:
                    key = _scalar(feature, key_field, "bytes").decode("utf-8", "surrogateescape")
                yield ImageRecord(
                    key=key,
                    data=_scalar(feature, image, "bytes"),
                    carried=tuple(_scalar(feature, f.field, f.kind) for f in features),
                )
            except DecodeError:
                yield BadRecord(key, "expected a tf.train.Example, got other bytes")
            except _BadFieldError as error:
                yield BadRecord(key, str(error))
    if count != unit.num_records:
        raise DataError(
            f"{unit.path}: expected {unit.num_records:,} records from {unit.first}, "
            f"got {count:,}. The file changed after the job began."
        )


class _BadFieldError(ValueError):
    pass


def _scalar(feature: Any, name: str, kind: Literal["int64", "float32", "bytes"]) -> Any:
    # A lookup would add the missing field to the message.
    if name not in feature:
        raise _BadFieldError(f"expected a field {name!r}, got none")
    entry = feature[name]
    match kind:
        case "bytes":
            values = entry.bytes_list.value
        case "int64":
            values = entry.int64_list.value
        case "float32":
            values = entry.float_list.value
    if len(values) != 1:
        raise _BadFieldError(f"expected one {kind} in field {name!r}, got {len(values)}")
    return values[0]

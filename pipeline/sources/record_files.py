"""TFRecord files of tf.train.Example: listed by their headers, read unit by unit."""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import WRONG_DATA, Scan, read_frames, scan
from fsq.dataset.records import RESERVED_FEATURES, CarriedFeature, FeatureKind
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.listing import ListedFile, Listing, file_name

# What becomes of a damaged or missing record file: the job refuses it, or every record that is
# known to be lost is a reject.
Damaged = Literal["refuse", "reject"]


_LISTS: dict[str, FeatureKind] = {
    "int64_list": "int64",
    "float_list": "float32",
    "bytes_list": "bytes",
}


def check_names(names: Any) -> None:
    """Raises a RequestError if a carried name is one of the record's own."""
    for name in names:
        if name in RESERVED_FEATURES:
            raise RequestError(
                f"source.carry: expected names other than {', '.join(RESERVED_FEATURES)}, "
                f"got {name!r}. The token record uses it itself."
            )


def list_groups(files: tuple[ListedFile, ...], features: tuple[CarriedFeature, ...]) -> Listing:
    """Makes the listing of record files, each of which is a group of its own."""
    groups = {file.name: (file.num_records, file.size_bytes) for file in files}
    return Listing(files, features, groups)


def missing_shards(paths: list[str]) -> list[str]:
    """Returns the files that others speak of as '<name>-00001-of-00004'."""
    counted = [match for path in paths if (match := _SHARD.fullmatch(path))]
    wanted = {
        f"{match['head']}{number:0{len(match['number'])}d}-of-{match['total']}{match['tail']}"
        for match in counted
        for number in range(int(match["total"]))
    }
    return sorted(wanted - set(paths))


_SHARD = re.compile(r"(?P<head>.*-)(?P<number>\d{5})-of-(?P<total>\d{5})(?P<tail>.*)", re.DOTALL)


def list_record_files(
    expected: Sequence[tuple[str, int | None]],
    damaged: Damaged,
    stride: int,
    heartbeat: Callable[[], None],
) -> tuple[ListedFile, ...]:
    """Scans TFRecord files for the offsets of their records.

    Args:
      expected: Their paths, and how many records they ought to hold if that is known.
      damaged: Refuse what is damaged, missing or of another length, or list
        the records that are lost by it.
      stride: See `Source.list`.
      heartbeat: See `Source.list`.

    Raises:
      DataError: A file is damaged, or cannot be opened.
    """
    files = [_list_file(path, count, stride, heartbeat) for path, count in expected]
    for file in files:
        if file.lost is not None and damaged == "refuse":
            raise DataError(
                f"{file.path}: {file.lost}. Copy it anew, or set source.damaged to 'reject' "
                "to count what is lost."
            )
    if not any(file.num_readable for file in files):
        raise DataError(f"{files[0].path}: expected records, got none in {len(files)} file(s).")
    return tuple(files)


def _list_file(
    path: str, expected: int | None, stride: int, heartbeat: Callable[[], None]
) -> ListedFile:
    heartbeat()
    size_bytes = modified_ns = 0
    damage: str | None = None
    found = Scan(0, np.zeros(0, np.int64), None)
    try:
        modified_ns = filesystem.modified_ns(path)
        with filesystem.open_read(path) as file:
            if file.read(2) == b"\x1f\x8b":
                raise DataError(
                    f"{path}: expected an uncompressed TFRecord, got GZIP. Unpack it first."
                )
            size_bytes = file.seek(0, os.SEEK_END)
            found = scan(file, size_bytes, stride=stride, heartbeat=heartbeat)
            damage = found.damage
            if size_bytes == 0 and expected != 0:
                damage = "expected records, got an empty file"
    except OSError as error:
        damage = f"expected a file that can be read, got: {error.strerror or error}"
    readable = found.num_records if expected is None else min(found.num_records, expected)
    if damage is not None:
        # Without a count nobody knows how many more there were: at least one.
        lost = 1 if expected is None else max(1, expected - readable)
    elif expected is not None and found.num_records != expected:
        lost = abs(expected - found.num_records)
        damage = (
            f"expected {expected:,} records as dataset_info.json says, got {found.num_records:,}"
        )
    else:
        lost = 0
    return ListedFile(
        path=path,
        name=file_name(path),
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        num_readable=readable,
        offsets=found.offsets,
        stride=stride,
        num_lost=lost,
        lost=damage,
    )


def first_record_kinds(
    files: Sequence[ListedFile], wanted: list[str], heartbeat: Callable[[], None]
) -> dict[str, FeatureKind]:
    """Looks at the first record that can be read for the types of the wanted fields.

    Raises:
      RequestError: It lacks one of them, or there is no such record.
    """
    path, feature = _first_features(files, heartbeat)
    kinds: dict[str, FeatureKind] = {}
    for name in wanted:
        kind = feature[name].WhichOneof("kind") if name in feature else None
        if kind is None:
            raise RequestError(
                f"{path}: expected a field {name!r}, "
                f"got {', '.join(sorted(feature))}. Correct the name in the config."
            )
        kinds[name] = _LISTS[kind]
    return kinds


def _first_features(files: Sequence[ListedFile], heartbeat: Callable[[], None]) -> tuple[str, Any]:
    # What is damaged here is refused or counted when its turn comes.
    whole = [file for file in files if file.num_readable]
    for listed in whole:
        with filesystem.open_read(listed.path) as file:
            for data in islice(read_frames(file, listed.path), listed.num_readable):
                heartbeat()
                with contextlib.suppress(DecodeError):
                    if data is not None:
                        return listed.path, Example.FromString(data).features.feature
    raise RequestError(
        f"{whole[0].path}: record 0: expected a tf.train.Example, got other bytes, "
        "and none in any other record."
    )


class Fields(NamedTuple):
    """The fields of an Example that are wanted; without a `key` the number is one."""

    image: str
    key: str | None
    carried: tuple[CarriedFeature, ...]


def read_examples(
    unit: Unit, fields: Fields, damaged: Damaged, timed_out: Mapping[int, str]
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a unit from a TFRecord file.

    A record that is no Example, or lacks a field, comes out as a BadRecord; so
    does a damaged one unless damage is refused.
    """
    for span in unit.spans:
        numbers = iter(range(span.first, span.first + span.num_records))
        reason = next(iter(timed_out.values()), span.lost)
        if timed_out and damaged == "refuse":
            raise TimeoutError(errno.ETIMEDOUT, reason, unit.path)
        if reason is None:
            try:
                yield from _read_span(unit.path, span, fields, damaged, numbers)
            except OSError as error:
                if damaged == "refuse":
                    raise
                reason = f"expected a file that can be read, got: {error.strerror or error}"
            except DataError as error:
                if damaged == "refuse":
                    raise
                reason = str(error).removeprefix(f"{unit.path}: ")
        # What the span still lacks.
        for number in numbers:
            yield BadRecord(_numbered(unit.path, number), reason or "")


def _read_span(
    path: str, span: Span, fields: Fields, damaged: Damaged, numbers: Iterator[int]
) -> Iterator[ImageRecord | BadRecord]:
    with filesystem.open_read(path) as file:
        file.seek(span.offset)
        left = span.num_records
        prefix = _numbered(path, "")
        for data in islice(read_frames(file, path, span.first), span.num_records):
            number = next(numbers)
            left -= 1
            key = f"{prefix}{number}"
            if data is None:
                if damaged == "refuse":
                    raise DataError(
                        f"{path}: record {number}: {WRONG_DATA}. Copy the file anew, or set "
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
                    carried=tuple(_scalar(feature, f.field, f.kind) for f in fields.carried),
                )
            except DecodeError:
                yield BadRecord(key, "expected a tf.train.Example, got other bytes")
            except _BadFieldError as error:
                yield BadRecord(key, str(error))
    if left:
        raise DataError(
            f"{path}: expected {span.num_records:,} records from {span.first} on, "
            f"got {span.num_records - left:,}. The file changed after the job began."
        )


def _numbered(path: str, number: int | str) -> str:
    return f"{file_name(path)}__{number}"


class _BadFieldError(ValueError):
    pass


def _scalar(feature: Any, name: str, kind: Literal["int64", "float32", "bytes"]) -> Any:
    entry = feature[name]
    match kind:
        case "bytes":
            values = entry.bytes_list.value
        case "int64":
            values = entry.int64_list.value
        case "float32":
            values = entry.float_list.value
    if len(values) != 1:
        # The lookup has added a missing field to the message, which is then an empty one.
        if entry.WhichOneof("kind") is None:
            raise _BadFieldError(f"expected a field {name!r}, got none")
        raise _BadFieldError(f"expected one {kind} in field {name!r}, got {len(values)}")
    return values[0]

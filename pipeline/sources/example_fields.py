"""A first look at the fields of TFRecord files: their types, and whether their keys differ.

Not every record is read before a job: a field may be absent from some records, and keys that
differ in those read here are compared again when the shards are merged.
"""

import contextlib
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from fsq.dataset.example.proto import Example
from fsq.dataset.records import FeatureKind
from fsq.errors import RequestError
from pipeline.sources.equal_keys import refuse_equal_keys
from pipeline.sources.listing import ListedFile
from pipeline.sources.record_formats import RecordFormat

# Records and bytes are shared equally by the files; of each file at least one record is read.
MAX_FILES = 1000
MAX_RECORDS = 10_000
MAX_BYTES = 1 << 26
_NAMES_SHOWN = 20

_LISTS: dict[str, FeatureKind] = {
    "int64_list": "int64",
    "float_list": "float32",
    "bytes_list": "bytes",
}


class _Record(NamedTuple):
    path: str
    number: int
    feature: Any


def field_kinds(
    files: Sequence[ListedFile],
    record_format: RecordFormat,
    wanted: list[str],
    optional: list[str],
    heartbeat: Callable[[], None],
) -> dict[str, FeatureKind]:
    """Returns the type of each field, from the first record that has it.

    Args:
      files: The files.
      record_format: How they are read.
      wanted: Fields that there must be.
      optional: Fields that may be in no record that is looked at; these have no type then.
      heartbeat: See `Source.list`.

    Raises:
      RequestError: None of the records that are looked at has one of them, or none can be read.
    """
    kinds: dict[str, FeatureKind] = {}
    names: set[str] = set()
    count = 0
    for record in _first_records(files, record_format, heartbeat):
        count += 1
        names.update(record.feature)
        for name in (*wanted, *optional):
            kind = record.feature[name].WhichOneof("kind") if name in record.feature else None
            if kind is not None:
                kinds.setdefault(name, _LISTS[kind])
        if len(kinds) == len({*wanted, *optional}):
            return kinds
    path = next(file.path for file in files if file.num_readable)
    if not count:
        raise RequestError(
            f"{path}: record 0: expected a tf.train.Example, got other bytes, "
            "as in all other records. Check source.files."
        )
    missing = [name for name in wanted if name not in kinds]
    if missing:
        raise RequestError(_describe_missing(missing[0], path, sorted(names), count))
    return kinds


def check_keys(
    files: Sequence[ListedFile],
    record_format: RecordFormat,
    field: str,
    heartbeat: Callable[[], None],
) -> None:
    """Compares the keys of the records that are looked at, before anything is encoded.

    Raises:
      DataError: Two are equal; the message says which.
    """
    refuse_equal_keys(
        (values[0], record.path, record.number)
        for record in _first_records(files, record_format, heartbeat)
        if field in record.feature and len(values := record.feature[field].bytes_list.value) == 1
    )


def _describe_missing(name: str, path: str, names: list[str], count: int) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return (
        f"{path}: expected a field {name!r}, got {shown or 'no fields'} in the {count:,} records "
        f"looked at.{hint} Correct the name in the config."
    )


def _first_records(
    files: Sequence[ListedFile], record_format: RecordFormat, heartbeat: Callable[[], None]
) -> Iterator[_Record]:
    """Yields the first records of every file that can be read, within the limits above."""
    readable = [file for file in files if file.num_readable][:MAX_FILES]
    for listed in readable:
        left_bytes = MAX_BYTES // len(readable)
        most = min(listed.num_readable, math.ceil(MAX_RECORDS / len(readable)))
        frames = record_format.read(listed.path, 0, 0)
        for number, data in enumerate(islice(frames, most)):
            heartbeat()
            # Damaged records are refused or rejected when their unit is read.
            with contextlib.suppress(DecodeError):
                if data is not None:
                    yield _Record(listed.path, number, Example.FromString(data).features.feature)
            left_bytes -= len(data or b"")
            if left_bytes <= 0:
                break

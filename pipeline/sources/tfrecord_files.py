"""Listing of TFRecord files: finds record offsets by reading only the record headers."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from fsq.dataset.formats.tfrecord import Scan, scan
from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.input_files import Damaged
from pipeline.sources.listing import ListedFile, file_name
from pipeline.sources.other_formats import HEAD_BYTES, other_format

_EMPTY = "expected records, got an empty file"
_EMPTY_UNLESS_ALLOWED = f"{_EMPTY} (if its writer leaves such, set source.empty_files to 'allow')"


class Expected(NamedTuple):
    """A file to list, or a section of it.

    Attributes:
      path: Its path.
      records: Number of records that the file should have; None if unknown.
      section: The numbers of the records to list; None for all of them.
      may_be_empty: Whether a file of 0 bytes is a file without records, not a damaged one.
      split: The split of its records; None if there is only one.
      name: Its name in keys and messages; by default the last part of the path.
    """

    path: str
    records: int | None = None
    section: range | None = None
    may_be_empty: bool = False
    split: str | None = None
    name: str | None = None


def list_record_files(
    expected: Sequence[Expected],
    damaged: Damaged,
    stride: int,
    heartbeat: Callable[[], None],
) -> tuple[ListedFile, ...]:
    """Scans TFRecord files for the offsets of their records.

    Args:
      expected: The files and sections to list.
      damaged: Whether to refuse a file that is damaged, missing or of another
        length, or to list its unreadable records.
      stride: See `Source.list`.
      heartbeat: See `Source.list`.

    Raises:
      DataError: A file is damaged, or cannot be opened.
    """
    files = []
    for one in expected:
        file = _list_file(one, stride, heartbeat)
        if file.damage is not None and damaged == "refuse":
            raise DataError(f"{file.path}: {file.damage}. {_remedy(file, one)}")
        files.append(file)
    if not any(file.num_readable for file in files):
        raise DataError(f"{files[0].path}: expected records, got none in {len(files)} file(s).")
    return tuple(files)


def _remedy(file: ListedFile, expected: Expected) -> str:
    """Returns what to do about a damaged file."""
    if expected.records is None and file.size_bytes > 0 and file.num_readable == 0:
        return "Copy it again, or leave it out of source.files if it is no TFRecord."
    return "Copy it again, or set source.damaged to 'reject' to reject its unreadable records."


def _refuse_other_format(path: str, file: BinaryIO) -> None:
    """Raises a DataError if a file, whose first record is damaged, is of another format."""
    file.seek(0)
    other = other_format(file.read(HEAD_BYTES))
    if other is not None:
        uncompressed = "an uncompressed" if other.advice.startswith("Unpack it first") else "a"
        raise DataError(
            f"{path}: expected {uncompressed} TFRecord, got {other.name}. {other.advice}"
        )


def _list_file(wanted: Expected, stride: int, heartbeat: Callable[[], None]) -> ListedFile:
    if wanted.section is None:
        whole = _list_whole(wanted, stride, heartbeat)
        return dataclasses.replace(whole, split=wanted.split)
    # A section may begin at any record.
    whole = _list_whole(wanted, 1, heartbeat)
    section = whole.numbers[wanted.section.start : wanted.section.stop]
    readable = range(whole.num_readable)[section.start : section.stop]
    return dataclasses.replace(
        whole,
        num_readable=len(readable),
        offsets=whole.offsets[readable.start : readable.stop : stride].copy(),
        stride=stride,
        num_unreadable=len(section) - len(readable),
        first=section.start,
        split=wanted.split,
    )


def _list_whole(wanted: Expected, stride: int, heartbeat: Callable[[], None]) -> ListedFile:
    heartbeat()
    path, expected = wanted.path, wanted.records
    size_bytes = modified_ns = 0
    damage: str | None = None
    found = Scan(0, np.zeros(0, np.int64), None)
    try:
        modified_ns = filesystem.modified_ns(path)
        with filesystem.open_read(path) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            found = scan(file, size_bytes, stride=stride, heartbeat=heartbeat)
            if found.damage is not None and found.num_records == 0:
                _refuse_other_format(path, file)
            damage = found.damage
            if size_bytes == 0 and expected != 0 and not wanted.may_be_empty:
                damage = _EMPTY if expected is not None else _EMPTY_UNLESS_ALLOWED
    except OSError as error:
        damage = f"expected a file that can be read, got: {error.strerror or error}"
    readable = found.num_records if expected is None else min(found.num_records, expected)
    if damage is not None:
        # Without an expected number, at least one record is unreadable.
        unreadable = 1 if expected is None else max(1, expected - readable)
    elif expected is not None and found.num_records != expected:
        unreadable = abs(expected - found.num_records)
        damage = (
            f"expected {expected:,} records as dataset_info.json says, got {found.num_records:,}"
        )
    else:
        unreadable = 0
    return ListedFile(
        path=path,
        name=wanted.name or file_name(path),
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        num_readable=readable,
        offsets=found.offsets,
        stride=stride,
        num_unreadable=unreadable,
        damage=damage,
    )

"""ArrayRecord source: files of tf.train.Example with named fields, read by number."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import ClassVar, Literal

import numpy as np

from fsq.dataset.formats import FORMATS
from fsq.dataset.formats.array_record import local_file_to_read, open_reader
from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.cursor_pool import borrowed_cursor
from pipeline.sources.example_source import ExampleConfig
from pipeline.sources.input_files import Damaged
from pipeline.sources.listing import ListedFile, file_name
from pipeline.sources.record_formats import RecordFormat
from pipeline.sources.tfrecord_files import Expected

RECORDS_PER_READ = 64
# Blocks of 64 KiB, of which the last ones hold the places of all chunks.
_FOOTER_BYTES = 1 << 17


class ArrayRecordConfig(ExampleConfig):
    """ArrayRecord files of tf.train.Example with named fields.

    Attributes:
      files: Name or pattern of the files, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      image: Field with the encoded image.
      key: Field with the key of the record; by default '<file>__<number>'.
      carry: Fields to carry along, by their names in the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    noun: ClassVar[str] = "ArrayRecord files"

    kind: Literal["array_record"]

    @property
    def record_format(self) -> RecordFormat:
        """How the files are listed and read."""
        FORMATS["array_record"].import_library()  # not in a thread
        return ARRAY_RECORD


class _Cursor:
    """An open file; one in a store is copied to this machine while it is open."""

    def __init__(self, path: str):
        with ExitStack() as stack:
            local = stack.enter_context(local_file_to_read(path))
            self.size_bytes = os.stat(local).st_size
            with open(local, "rb") as file:
                file.seek(-min(self.size_bytes, _FOOTER_BYTES), os.SEEK_END)
                self.digest = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
            self.reader = open_reader(local, path)
            self._stack = stack.pop_all()

    def distance(self, record: int) -> int:
        return 0

    def close(self) -> None:
        self._stack.close()


def _read(path: str, offset: int, first: int) -> Iterator[bytes | None]:
    key = (path, filesystem.modified_ns(path))
    while True:
        with borrowed_cursor(key, first, lambda: _Cursor(path)) as cursor:
            end = min(first + RECORDS_PER_READ, cursor.reader.num_records())
            records = cursor.reader.read(first, end) if first < end else []
        if not records:
            return
        yield from records
        first = end


def _list(
    expected: Sequence[Expected], damaged: Damaged, stride: int, heartbeat: Callable[[], None]
) -> tuple[ListedFile, ...]:
    files = []
    for one in expected:
        heartbeat()
        file = _list_file(one, stride)
        if file.damage is not None and damaged == "refuse":
            raise DataError(
                f"{file.path}: {file.damage}. Copy it again, or set source.damaged to 'reject'."
            )
        files.append(file)
    if not any(file.num_readable for file in files):
        raise DataError(f"{files[0].path}: expected records, got none in {len(files)} file(s).")
    return tuple(files)


def _list_file(one: Expected, stride: int) -> ListedFile:
    size_bytes = modified_ns = count = 0
    damage, digest = None, ""
    try:
        modified_ns = filesystem.modified_ns(one.path)
        with borrowed_cursor((one.path, modified_ns), 0, lambda: _Cursor(one.path)) as cursor:
            size_bytes, count = cursor.size_bytes, cursor.reader.num_records()
            digest = cursor.digest
    except OSError as error:
        damage = f"expected a file that can be read, got: {error.strerror or error}"
    except DataError as error:
        damage = str(error).removeprefix(f"{one.path}: ").rpartition(". ")[0]
    wanted = count if one.records is None else one.records
    if damage is None and wanted != count:
        damage = f"expected {wanted:,} records as dataset_info.json says, got {count:,}"
    section = range(wanted)[one.section.start : one.section.stop] if one.section else range(wanted)
    readable = len(range(min(count, wanted))[section.start : section.stop])
    lost = len(section) - readable
    return ListedFile(
        path=one.path,
        name=one.name or file_name(one.path),
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        num_readable=readable,
        # Records are found by their numbers.
        offsets=np.zeros(-(-readable // stride), np.int64),
        stride=stride,
        num_unreadable=lost if damage is None else max(1, lost),
        damage=damage,
        first=section.start,
        split=one.split,
        digest=digest,
    )


ARRAY_RECORD = RecordFormat(_list, _read)

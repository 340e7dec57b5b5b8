"""Files of Arrow tables, Parquet or Arrow streams: their schema, groups of rows, and batches."""

import abc
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.other_formats import HEAD_BYTES, other_format

# Large photographs: a batch of rows is in memory at a time.
ROWS_PER_BATCH = 32
# Without a buffer, pyarrow reads a column of a whole row group at once.
BUFFER_BYTES = 1 << 20
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
BYTES_OF_TEXT = {
    "string": pa.binary(),
    "large_string": pa.large_binary(),
    "string_view": pa.binary_view(),
}

# The names of a column and, below it, of its fields.
ColumnPath = tuple[str, ...]


class TableFile(abc.ABC):
    """A file of rows, in groups that can be read on their own.

    Attributes:
      path: Its path.
      schema: Its schema.
      group_rows: Number of rows of each group.
      damage: Why there may be more rows, which cannot be read; None if the file is whole.
    """

    path: str
    schema: pa.Schema
    group_rows: tuple[int, ...]
    damage: str | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return sum(self.group_rows)

    @abc.abstractmethod
    def batches(self, group: int, columns: Sequence[ColumnPath]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a group, in small batches, with some columns.

        Other errors than `DataError` are pyarrow's.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the file."""


class ParquetTable(TableFile):
    """A Parquet file; its groups are row groups."""

    def __init__(self, path: str, file: BinaryIO):
        self.path = path
        self._file = file
        source = pa.OSFile(os.fsencode(path)) if filesystem.is_local(path) else file
        self._parquet = pq.ParquetFile(
            source, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )
        self.schema = self._parquet.schema_arrow
        metadata = self._parquet.metadata
        groups = range(metadata.num_row_groups)
        self.group_rows = tuple(metadata.row_group(group).num_rows for group in groups)
        if min(self.group_rows, default=0) < 0 or self.num_rows != metadata.num_rows:
            raise DataError(
                f"{path}: expected {metadata.num_rows:,} rows as its footer says, got "
                f"{self.num_rows:,} in its row groups. Copy it again."
            )

    def batches(self, group: int, columns: Sequence[ColumnPath]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a row group; see `TableFile.batches`."""
        yield from self._parquet.iter_batches(
            batch_size=ROWS_PER_BATCH,
            row_groups=[group],
            columns=[".".join(path) for path in columns],
            use_threads=False,
        )

    def close(self) -> None:
        """Closes the file."""
        self._parquet.close(force=True)
        self._file.close()


class ArrowTable(TableFile):
    """An Arrow stream, as `save_to_disk` of `datasets` writes it; its groups are record batches.

    The batches are found one after the other. Of a local file, which is mapped into memory, that
    reads only what is used; of any other, all that comes before.
    """

    def __init__(self, path: str, file: BinaryIO):
        self.path = path
        self._file = file
        self._open()
        rows = []
        for batch in self._stream:
            rows.append(batch.num_rows)
        self.group_rows = tuple(rows)
        # pyarrow takes the end of the file for that of the stream.
        size_bytes = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size_bytes - len(_END_OF_STREAM)))
        if self._file.read() != _END_OF_STREAM:
            self.damage = f"expected the end of the stream after {sum(rows):,} rows, got the file's"
        self._open()

    def batches(self, group: int, columns: Sequence[ColumnPath]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a record batch; see `TableFile.batches`."""
        if group < self._next:
            self._open()
        while self._next <= group:
            batch = self._stream.read_next_batch()
            self._next += 1
        batch = batch.select(list(dict.fromkeys(path[0] for path in columns)))
        for column in batch.columns:
            _check(column)
        for start in range(0, batch.num_rows, ROWS_PER_BATCH):
            yield batch.slice(start, ROWS_PER_BATCH)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> None:
        self._file.seek(0)
        local = filesystem.is_local(self.path)
        source = pa.memory_map(os.fsencode(self.path)) if local else pa.PythonFile(self._file)
        self._stream: Any = pa.ipc.open_stream(source)
        self.schema = self._stream.schema
        self._next = 0


def _check(array: pa.Array) -> None:
    """Raises pyarrow's error if an array of a stream points to bytes that are not its own.

    Those of Parquet are made by its reader. Text need not be UTF-8.
    """
    if isinstance(array, pa.ExtensionArray):
        _check(array.storage)
    elif pa.types.is_struct(array.type):
        array.validate()
        for number in range(array.type.num_fields):
            _check(array.field(number))
    elif pa.types.is_dictionary(array.type):
        _check(array.dictionary)
        most = pc.max(array.indices).as_py()
        least = pc.min(array.indices).as_py()
        if most is not None and not 0 <= least <= most < len(array.dictionary):
            raise pa.ArrowInvalid("an index outside of its dictionary")
    else:
        as_bytes = BYTES_OF_TEXT.get(str(array.type))
        (array if as_bytes is None else array.view(as_bytes)).validate(full=True)


def _read_names(fields: Iterable[pa.Field]) -> None:
    """Raises a UnicodeDecodeError if the name of a field is not UTF-8."""
    for field in fields:
        _ = field.name
        if pa.types.is_struct(field.type):
            _read_names(field.type)


def open_table(path: str) -> TableFile:
    """Opens a Parquet file or an Arrow stream.

    Raises:
      OSError: There is no such file, or it cannot be read.
      DataError: It is neither, or damaged.
    """
    file = filesystem.open_read(path)
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        head = file.read(HEAD_BYTES)
        file.seek(0)
        kind = other_format(head)
        name = "" if kind is None else kind.name
        if not head:
            raise DataError(f"{path}: expected a Parquet file, got an empty one. Copy it again.")
        if name not in ("Parquet", "an Arrow stream"):
            advice = "Copy it again." if kind is None else "Leave it out of source.files."
            raise DataError(
                f"{path}: expected a Parquet file, got {name or 'other bytes'}. {advice}"
            )
        with arrow_errors(path):
            table = (ParquetTable if name == "Parquet" else ArrowTable)(path, file)
            _read_names(table.schema)
        stack.pop_all()
    return table


@contextlib.contextmanager
def arrow_errors(path: str, place: str = "") -> Iterator[None]:
    """Converts what pyarrow raises for damaged files to a DataError.

    Args:
      path: The file.
      place: What is read there, such as ': row group 3'.
    """
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path}{place}: expected a Parquet file that can be read, got: {reason}. "
            "Copy it again, or set source.damaged to 'reject' to reject its unreadable records."
        ) from error

"""Files of Arrow tables, Parquet or Arrow streams: their schema, groups of rows, and batches."""

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.other_formats import HEAD_BYTES, other_format

# Large photographs: a batch of rows is in memory at a time.
ROWS_PER_BATCH = 32
# Without a buffer, pyarrow reads a column of a whole row group at once.
BUFFER_BYTES = 1 << 20


class TableFile(abc.ABC):
    """A file of rows, in groups that can be read on their own.

    Attributes:
      path: Its path.
      schema: Its schema.
      group_rows: Number of rows of each group.
    """

    path: str
    schema: pa.Schema
    group_rows: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return sum(self.group_rows)

    @abc.abstractmethod
    def batches(self, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a group, in small batches, with some columns.

        Columns are named by their paths, with dots. Other errors than `DataError` are pyarrow's.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the file."""


class ParquetTable(TableFile):
    """A Parquet file; its groups are row groups."""

    def __init__(self, path: str, file: BinaryIO):
        self.path = path
        self._file = file
        source = pa.OSFile(path) if filesystem.is_local(path) else file
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

    def batches(self, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a row group; see `TableFile.batches`."""
        yield from self._parquet.iter_batches(
            batch_size=ROWS_PER_BATCH, row_groups=[group], columns=columns, use_threads=False
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
        self._open()

    def batches(self, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a record batch; see `TableFile.batches`."""
        if group < self._next:
            self._open()
        while self._next <= group:
            batch = self._stream.read_next_batch()
            self._next += 1
        batch = batch.select(list(dict.fromkeys(column.split(".")[0] for column in columns)))
        for start in range(0, batch.num_rows, ROWS_PER_BATCH):
            yield batch.slice(start, ROWS_PER_BATCH)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> None:
        self._file.seek(0)
        local = filesystem.is_local(self.path)
        source = pa.memory_map(self.path) if local else pa.PythonFile(self._file)
        self._stream: Any = pa.ipc.open_stream(source)
        self.schema = self._stream.schema
        self._next = 0


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

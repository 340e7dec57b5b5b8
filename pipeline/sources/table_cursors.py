"""Cursors over tables: a unit goes on where an earlier one of the same file ended.

A row group is read from its begin only. So that a large one is not read again for every unit that
lies in it, the process keeps some files open, each at the row where the last unit ended.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

import pyarrow as pa

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.arrow_files import TableFile, arrow_errors, open_table

MOST_OPEN = 16

_Key = tuple[int, str, int, tuple[str, ...]]


class TableCursor:
    """Reads rows of a table, forward from any row.

    Attributes:
      table: The table.
      row: The next row.
    """

    def __init__(self, table: TableFile, columns: list[str]):
        self.table = table
        self.row = 0
        self._columns = columns
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._rest: pa.RecordBatch | None = None

    def distance(self, row: int) -> int:
        """Returns how many rows have to be read to get to a row."""
        start = self._group_of(row)[1]
        return row - (self.row if start <= self.row <= row and self._batches else start)

    def read(self, first: int, count: int) -> Iterator[pa.RecordBatch]:
        """Yields some rows, which lie in one group.

        Raises:
          DataError: They cannot be read, or there are fewer than the file says.
        """
        group, start = self._group_of(first)
        if self._batches is None or not start <= self.row <= first:
            self.row, self._rest = start, None
            self._batches = self.table.batches(group, self._columns)
        while self.row < first + count:
            with arrow_errors(self.table.path, f": row group {group}"):
                batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                raise DataError(
                    f"{self.table.path}: row group {group}: expected "
                    f"{self.table.group_rows[group]:,} rows as the footer says, got "
                    f"{self.row - start:,}. Copy it again, or set source.damaged to 'reject'."
                )
            skipped = min(max(first - self.row, 0), batch.num_rows)
            taken = min(first + count - self.row - skipped, batch.num_rows - skipped)
            used = skipped + taken
            self._rest = batch.slice(used) if used < batch.num_rows else None
            self.row += used
            if taken:
                yield batch.slice(skipped, taken)
        if self.row == start + self.table.group_rows[group]:
            self._batches = None

    def groups(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Yields first row and number of rows of each group's share of some rows."""
        start = 0
        for rows in self.table.group_rows:
            begin, end = max(first, start), min(first + count, start + rows)
            if begin < end:
                yield begin, end - begin
            start += rows

    def _group_of(self, row: int) -> tuple[int, int]:
        start = 0
        for group, rows in enumerate(self.table.group_rows):
            if row < start + rows:
                return group, start
            start += rows
        raise DataError(
            f"{self.table.path}: expected a row {row:,}, got {start:,} rows. "
            "The file changed after it was listed."
        )


_lock = threading.Lock()
_idle: list[tuple[_Key, TableCursor]] = []


@contextlib.contextmanager
def borrowed_cursor(path: str, columns: list[str], row: int) -> Iterator[TableCursor]:
    """Yields a cursor of a file that is as near before a row as any; it is kept for others.

    Raises:
      OSError, DataError: See `open_table`.
    """
    # Not one of the parent process, whose position in the file it would share.
    key: _Key = (os.getpid(), path, filesystem.modified_ns(path), tuple(columns))
    cursor = _take(key, row) or TableCursor(open_table(path), columns)
    whole = False
    try:
        yield cursor
        whole = True
    finally:
        if whole:
            _keep(key, cursor)
        else:
            cursor.table.close()


def _take(key: _Key, row: int) -> TableCursor | None:
    with _lock:
        fitting = [entry for entry in _idle if entry[0] == key]
        if not fitting:
            return None
        best = min(fitting, key=lambda entry: entry[1].distance(row))
        _idle.remove(best)
        return best[1]


def _keep(key: _Key, cursor: TableCursor) -> None:
    with _lock:
        _idle.append((key, cursor))
        old = _idle[:-MOST_OPEN]
        del _idle[:-MOST_OPEN]
    for (process, *_), other in old:
        if process == os.getpid():
            other.table.close()

"""Cursors over tables: rows are read forward, whatever the units that they lie in.

A row group is read from its begin only; a cursor is kept where the last unit ended, so that a
large one is not read again for every unit that lies in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.arrow_files import ColumnPath, TableFile, arrow_errors, open_table
from pipeline.sources.cursor_pool import borrowed_cursor


class TableCursor:
    """Reads rows of a table, forward from any row.

    Attributes:
      table: The table.
      row: The next row.
    """

    def __init__(self, table: TableFile, columns: Sequence[ColumnPath]):
        self.table = table
        self.row = 0
        self._columns = columns
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._rest: pa.RecordBatch | None = None

    def distance(self, row: int) -> int:
        """Returns how many rows have to be read to get to a row."""
        start = self._group_of(row)[1]
        return row - (self.row if start <= self.row <= row and self._batches else start)

    def close(self) -> None:
        """Closes the file."""
        self.table.close()

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


def borrowed_table(
    path: str, columns: Sequence[ColumnPath], row: int
) -> AbstractContextManager[TableCursor]:
    """Borrows the cursor of a table that is nearest before a row.

    Raises:
      OSError, DataError: See `open_table`.
    """
    key = (path, filesystem.modified_ns(path), tuple(columns))
    return borrowed_cursor(key, row, lambda: TableCursor(open_table(path), columns))

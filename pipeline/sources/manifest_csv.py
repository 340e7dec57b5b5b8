"""CSV manifests: a line with the names of the columns, then a row per image."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.manifest_files import ManifestFile, Row, check_text

_SEPARATORS = ",;\t"
# Long captions; a quote that is never closed ends here, not at the end of the file.
_LONGEST_CELL = 1 << 20


class _Header(NamedTuple):
    separator: str
    names: tuple[str, ...]


class CsvFile(ManifestFile):
    """Cells are text; the separator, a comma, semicolon or tab, is the one of the first line.

    Cells in quotes may hold separators, line breaks and doubled quotes. Lines without a cell
    are no rows. A cell without text has no value. Names of files may be of any bytes.
    """

    is_text: ClassVar[bool] = True

    def columns(self) -> tuple[str, ...]:
        """Returns the names of the columns; see `ManifestFile`."""
        check_text(self.path)
        with self._open() as text:
            return self._header(text).names

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Yields the rows; see `ManifestFile`."""
        with self._open() as text:
            header = self._header(text)
            for name in wanted:
                if header.names.count(name) > 1:
                    raise DataError(
                        f"{self.path}: expected each column once, got {name!r} twice. Rename one."
                    )
            at = [header.names.index(name) if name in header.names else None for name in wanted]
            reader = csv.reader(text, delimiter=header.separator, strict=True)
            while True:
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(damage=f"expected cells of CSV, got: {error}")
                    continue
                if not cells:
                    continue
                yield _row(cells, at, len(header.names))

    def _open(self) -> io.TextIOWrapper:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
        file = filesystem.open_read(self.path)
        return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _header(self, text: io.TextIOWrapper) -> _Header:
        """Reads the first line; a break in a quoted name belongs to it."""
        first = text.readline(_LONGEST_CELL)
        while first.count('"') % 2 and len(first) < _LONGEST_CELL:
            if not (more := text.readline(_LONGEST_CELL)):
                break
            first += more
        found = _Header(",", ())
        for separator in _SEPARATORS:
            try:
                (names,) = csv.reader(io.StringIO(first, newline=""), delimiter=separator)
            except (csv.Error, ValueError):
                continue
            if len(names) > len(found.names):
                found = _Header(separator, tuple(names))
        if not found.names:
            raise DataError(
                f"{self.path}: expected the names of columns in the first line, got none. Add them."
            )
        return found


def _row(cells: list[str], at: list[int | None], num_columns: int) -> Row:
    if len(cells) != num_columns:
        return Row(damage=f"expected {num_columns} cells as in the first line, got {len(cells)}")
    if "\0" in "".join(cells):
        return Row(damage="expected cells of text, got a NUL byte")
    return Row([None if index is None else cells[index] or None for index in at])

"""Metadata files: tables in an image folder that hold columns for the images below them."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from fsq.dataset.records import CarriedFeature, decode_key, encode_key
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.temporary import temporary_folder
from pipeline.sources.carry import CarryField
from pipeline.sources.image_paths import Places
from pipeline.sources.image_walk import path_of
from pipeline.sources.listing_text import unreadable
from pipeline.sources.manifest_columns import FILE_NAME, ColumnScan, check_column
from pipeline.sources.manifest_files import ManifestFile, Row, open_manifest, with_heartbeat
from pipeline.sources.manifest_rows import Converter, path_text
from pipeline.sources.manifest_values import OtherValueError

_SUFFIX = f"_{FILE_NAME}"
Values = tuple[int | float | str, ...]


class FoundRow(NamedTuple):
    """The row of an image: its values, or why they are not carried."""

    values: Values
    refused: str | None


class _Opened(NamedTuple):
    name: str
    file: ManifestFile
    column: str


class MetadataFiles:
    """The rows of all metadata files of an image folder, in a temporary database.

    A file speaks of the images in its folder and below, but for those below a folder with a
    file of its own. Memory does not grow with the number of rows.

    Args:
      root: The image folder.
      names: The metadata files, relative to it.
      carry: The columns to carry.
      heartbeat: See `Source.list`.

    Raises:
      RequestError: Two lie in one folder, or columns are missing.
      DataError: A file is damaged, or names an image twice.
    """

    def __init__(
        self,
        root: str,
        names: Iterable[str],
        carry: Mapping[str, CarryField],
        heartbeat: Callable[[], None],
    ):
        self._root, self._carry, self._heartbeat = root, carry, heartbeat
        self._by_folder: dict[str, str] = {}
        for name in names:
            folder = name.rpartition("/")[0]
            if (other := self._by_folder.setdefault(folder, name)) != name:
                raise RequestError(
                    f"{filesystem.join(root, name)}: expected one metadata file in a folder, got "
                    f"{other.rpartition('/')[2]} too. Remove one of the two."
                )
        scan = ColumnScan(carry, None)
        self._files = [self._open(name, scan) for name in self._by_folder.values()]
        self.features: tuple[CarriedFeature, ...] = scan.features()
        self._last: tuple[str, str | None] | None = None
        self.num_rows = self.num_found = 0

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Reads all rows, which can be looked up in the block."""
        with temporary_folder() as folder:
            self._rows = sqlite3.connect(f"{folder}/rows.sqlite")
            try:
                self._rows.execute("PRAGMA journal_mode = OFF")
                self._rows.execute("PRAGMA synchronous = OFF")
                self._rows.execute(
                    "CREATE TABLE rows (key BLOB PRIMARY KEY, number INTEGER, content TEXT) "
                    "WITHOUT ROWID"
                )
                for one in self._files:
                    self._read(one)
                yield
            finally:
                self._rows.close()

    def find(self, key: str) -> FoundRow | None:
        """Returns the row of an image; None if it has none."""
        query = "SELECT content FROM rows WHERE key = ?"
        found = self._rows.execute(query, (encode_key(key),)).fetchone()
        if found is None:
            return None
        self.num_found += 1
        refused, *values = json.loads(found[0])
        return FoundRow(tuple(values), refused)

    def missing(self, key: str) -> FoundRow:
        """Returns what stands for the row of an image that has none: defaults, or a reason."""
        name = self._file_of(key.rpartition("/")[0]) or "a metadata file above it"
        values = [one.default for one in self.features]
        known = tuple(value for value in values if value is not None)
        if len(known) < len(values):
            return FoundRow((), f"expected a row in {name}, got none")
        return FoundRow(known, None)

    def describe(self) -> str:
        """Returns the files and their rows, for the plan."""
        shown = next(iter(self._by_folder.values()))
        if len(self._by_folder) > 1:
            shown = f"{len(self._by_folder):,} files, from {shown} on"
        return f"{shown}, {self.num_rows:,} rows"

    def _file_of(self, folder: str) -> str | None:
        """Returns the metadata file of the images in a folder."""
        if self._last is None or self._last[0] != folder:
            above = folder
            while above not in self._by_folder and above:
                above = above.rpartition("/")[0]
            self._last = folder, self._by_folder.get(above)
        return self._last[1]

    def _open(self, name: str, scan: ColumnScan) -> _Opened:
        path = path_of(self._root, name)
        file = open_manifest(path, name)
        try:
            columns = file.columns()
            column = _image_column(path, columns)
            for carried, field in self._carry.items():
                if field.default is None:
                    check_column(path, columns, field.field, f"source.carry.{carried}")
            scan.add(file, columns, self._heartbeat)
        except OSError as error:
            raise DataError(f"{path}: {unreadable(error)}. Copy it again.") from error
        return _Opened(name, file, column)

    def _read(self, opened: _Opened) -> None:
        converter = Converter(self.features, None)
        rows = opened.file.rows([opened.column, *converter.columns])
        places = Places(".", outside=False)
        for number, row in enumerate(with_heartbeat(rows, self._heartbeat)):
            self.num_rows += 1
            key = self._key_of(opened, number, row, places)
            # Any other path is that of no image of this file.
            if key is not None and self._file_of(key.rpartition("/")[0]) == opened.name:
                self._insert(opened, encode_key(key), number, _content(converter, row))

    def _key_of(self, opened: _Opened, number: int, row: Row, places: Places) -> str | None:
        where = f"{opened.file.path}: row {number}"
        if row.damage is not None:
            raise DataError(f"{where}: {row.damage}. Correct it.")
        try:
            place = places.find(path_text(row.values[0]))
            encode_key(place.key)
        except (OtherValueError, UnicodeEncodeError):
            return None
        if place.refused is not None or place.path != place.key or place.key.startswith("/"):
            return None
        folder = opened.name.rpartition("/")[0]
        return f"{folder}/{place.key}" if folder else place.key

    def _insert(self, opened: _Opened, key: bytes, number: int, content: str) -> None:
        try:
            self._rows.execute("INSERT INTO rows VALUES (?, ?, ?)", (key, number, content))
        except sqlite3.IntegrityError as error:
            found = self._rows.execute("SELECT number FROM rows WHERE key = ?", (key,))
            raise DataError(
                f"{opened.file.path}: expected each image once, got {decode_key(key)!a} in rows "
                f"{found.fetchone()[0]} and {number}. Remove one of the two."
            ) from error


def _content(converter: Converter, row: Row) -> str:
    try:
        return json.dumps([None, *converter.convert(row.values[1:])])
    except OtherValueError as error:
        return json.dumps([str(error)])


def _image_column(path: str, columns: tuple[str, ...]) -> str:
    if FILE_NAME in columns:
        return FILE_NAME
    found = [name for name in columns if name.endswith(_SUFFIX)]
    if len(found) == 1:
        return found[0]
    several = f"several, {', '.join(found)}" if found else "none"
    raise RequestError(
        f"{path}: expected a column {FILE_NAME!r} or one that ends with {_SUFFIX!r} in a metadata "
        f"file, got {several}. Rename it, or leave source.carry out."
    )

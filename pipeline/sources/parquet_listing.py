"""Listing of tables: their numbers of rows from the footers, and what their columns are."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.sources.arrow_files import arrow_errors, open_table
from pipeline.sources.carry import carried_features
from pipeline.sources.dataset_card import classes_of_card
from pipeline.sources.equal_keys import refuse_equal_keys
from pipeline.sources.image_paths import Places
from pipeline.sources.input_files import (
    Damaged,
    FileFacts,
    InputFile,
    facts_of,
    numbered_file,
)
from pipeline.sources.listing import ListedFile
from pipeline.sources.parquet_columns import (
    find_column,
    find_image_column,
    is_empty,
    kind_of,
    names_of_classes,
    path_of_column,
    show_type,
)
from pipeline.sources.parquet_reader import Columns, keys_of
from pipeline.sources.table_cursors import borrowed_table

if TYPE_CHECKING:
    from pipeline.sources.parquet import ParquetConfig

MAX_KEYS = 10_000


def list_tables(
    found: Sequence[InputFile], damaged: Damaged, stride: int, heartbeat: Callable[[], None]
) -> tuple[ListedFile, ...]:
    """Lists the files by their footers.

    Raises:
      DataError: A file is damaged, or there are no rows.
    """
    files = []
    for one in found:
        heartbeat()
        file = _list_table(one, stride)
        if file.damage is not None and damaged == "refuse":
            raise DataError(f"{file.path}: {file.damage}")
        files.append(file)
    if not any(file.num_readable for file in files):
        raise DataError(f"{files[0].path}: expected rows, got none in {len(files)} file(s).")
    return tuple(files)


def find_features(
    files: Sequence[ListedFile], config: "ParquetConfig", heartbeat: Callable[[], None]
) -> tuple[CarriedFeature, ...]:
    """Finds the columns in every file, and returns the carried features.

    Raises:
      RequestError: A column is missing, or is not of a type that can be used.
      DataError: Two files give a column another type or other classes, or keys are equal.
    """
    kinds: dict[str, FeatureKind] = {}
    classes: dict[str, tuple[str, ...]] = {}
    readable = [file for file in files if file.num_readable]
    for file in readable:
        heartbeat()
        found = _types_of(file.path, config)
        for field, (kind, names) in found.items():
            if kinds.setdefault(field, kind) != kind or classes.setdefault(field, names) != names:
                raise DataError(
                    f"{file.path}: expected column {field!r} as in other files, "
                    f"{_describe(kinds[field], classes[field])}, got {_describe(kind, names)}. "
                    "Write all alike."
                )
    if config.key is not None:
        refuse_equal_keys(_first_keys(readable, config, heartbeat))
    labels = {field: names for field, names in classes.items() if names}
    return carried_features(config.carry, kinds, labels)


def columns_of(path: str, config: "ParquetConfig", features: Sequence[CarriedFeature]) -> Columns:
    """Returns where the values of a file's rows are."""
    schema = _table_facts(path, filesystem.modified_ns(path)).schema
    return Columns(
        find_image_column(schema, config.image, path),
        None if config.key is None else find_column(schema, config.key, path, "source.key"),
        tuple((path_of_column(schema, one.field), one) for one in features),
        Places(config.root or folder_of(path), outside=config.outside),
    )


def folder_of(path: str) -> str:
    """Returns the folder of a file."""
    folder, slash, _ = path.rpartition("/")
    return folder or (slash or ".")


class _TableFacts(NamedTuple):
    schema: pa.Schema
    num_rows: int
    damage: str | None


@functools.lru_cache(maxsize=4096)
def _table_facts(path: str, modified_ns: int) -> _TableFacts:
    table = open_table(path)
    table.close()
    return _TableFacts(table.schema, table.num_rows, table.damage)


def _list_table(one: InputFile, stride: int) -> ListedFile:
    facts, rows, damage = FileFacts(), 0, None
    try:
        facts = facts_of(one.path)
        _, rows, damage = _table_facts(one.path, facts.modified_ns)
    except OSError as error:
        damage = f"expected a file that can be read, got: {error.strerror or error}"
    except DataError as error:
        damage = str(error).removeprefix(f"{one.path}: ")
    lost = 0 if damage is None else 1
    return numbered_file(one, facts, rows, stride, lost=lost, damage=damage)


def _types_of(path: str, config: "ParquetConfig") -> dict[str, tuple[FeatureKind, tuple[str, ...]]]:
    """Returns type and names of classes of the carried columns that a file has."""
    schema = _table_facts(path, filesystem.modified_ns(path)).schema
    find_image_column(schema, config.image, path)
    if config.key is not None:
        key = find_column(schema, config.key, path, "source.key")
        if kind_of(schema, key) not in ("bytes", "int64"):
            raise RequestError(
                f"source.key: expected text or integers in column {config.key!r} of {path}, got "
                f"{show_type(schema, key)}. Name another, or leave the key out."
            )
    names = {**classes_of_card(path), **names_of_classes(schema)}
    found: dict[str, tuple[FeatureKind, tuple[str, ...]]] = {}
    for name, wanted in config.carry.items():
        column = path_of_column(schema, wanted.field)
        optional = wanted.default is not None
        if optional and (column is None or is_empty(schema, column)):
            continue
        column = find_column(schema, wanted.field, path, f"source.carry.{name}")
        kind = kind_of(schema, column)
        if kind is None:
            raise RequestError(
                f"source.carry.{name}: expected numbers or text in column {wanted.field!r} of "
                f"{path}, got {show_type(schema, column)}. Leave it out."
            )
        found[wanted.field] = (kind, names.get(wanted.field, ()) if kind == "int64" else ())
    return found


def _describe(kind: str, names: tuple[str, ...]) -> str:
    return f"{kind} with {len(names):,} classes from {names[0]!r}" if names else kind


def _first_keys(
    files: Sequence[ListedFile], config: "ParquetConfig", heartbeat: Callable[[], None]
) -> Iterator[tuple[bytes, str, int]]:
    """Yields the keys of the first rows of every file that can be read."""
    most = max(1, MAX_KEYS // max(1, len(files)))
    for file in files[:MAX_KEYS]:
        schema = _table_facts(file.path, file.modified_ns).schema
        column = find_column(schema, str(config.key), file.path, "source.key")
        # Damage is refused or rejected when the unit is read.
        with contextlib.suppress(DataError, OSError):
            for number, key in enumerate(_keys_of(file, column, most)):
                heartbeat()
                if key is not None:
                    yield key, file.path, number


def _keys_of(file: ListedFile, column: tuple[str, ...], most: int) -> Iterator[bytes | None]:
    with borrowed_table(file.path, (column,), 0) as cursor:
        for first, count in cursor.groups(0, min(most, file.num_readable)):
            for batch in cursor.read(first, count):
                with arrow_errors(file.path):
                    keys = keys_of(batch, column)
                yield from keys

"""Columns of a manifest: the one of the paths, and the types of those that are carried."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fsq.dataset.class_names import storable
from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import RequestError
from pipeline.sources.carry import CarryField, carried_features
from pipeline.sources.manifest_files import ManifestFile, with_heartbeat
from pipeline.sources.manifest_values import (
    Value,
    common_kind,
    converted,
    kind_of_cell,
    kind_of_value,
)

# The column of the paths where a config does not name it: the first, or exactly one of the others.
FILE_NAME = "file_name"
PATH_COLUMNS = (
    *("image", "image_path", "path", "filepath", "file_path", "filename", "file", "image_file"),
    *("img", "img_path", "image_name"),
)
_MOST_CLASSES = 1_000_000
_SHOWN = 12


class Labels(NamedTuple):
    """A column with the names of classes.

    Attributes:
      column: Its name.
      classes: The names in the order of their labels; None for those of the column, sorted.
    """

    column: str
    classes: tuple[str, ...] | None


def image_column(path: str, columns: Sequence[str], wanted: str | None) -> str:
    """Returns the column with the paths.

    Args:
      path: The manifest, for messages.
      columns: Its columns.
      wanted: The name that the config gives, if it does.

    Raises:
      RequestError: It is not there, or cannot be told.
    """
    if wanted is not None:
        check_column(path, columns, wanted, "source.image")
        return wanted
    if FILE_NAME in columns:
        return FILE_NAME
    found = [name for name in PATH_COLUMNS if name in columns]
    if len(found) == 1:
        return found[0]
    several = f"several that may be it, {', '.join(found)}" if found else _show(columns)
    raise RequestError(
        f"{path}: expected a column {FILE_NAME!r} or one other with the paths of images, got "
        f"{several}. Name it in source.image."
    )


def check_column(path: str, columns: Sequence[str], wanted: str, key: str) -> None:
    """Raises a RequestError if a manifest has no column that a config names."""
    if wanted in columns or wanted.partition(".")[0] in columns:
        return
    close = difflib.get_close_matches(wanted, columns, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise RequestError(
        f"{path}: expected a column {wanted!r}, got {_show(columns)}.{hint} Correct {key}; the "
        "first line of a CSV file must name the columns."
    )


def _show(columns: Sequence[str]) -> str:
    names = ", ".join(repr(name) for name in columns[:_SHOWN])
    return f"{names}{', ...' if len(columns) > _SHOWN else ''}" or "no columns"


class ColumnScan:
    """Finds the types of columns, and the names of classes, over all rows of all files.

    Args:
      carry: The columns of the config.
      labels: The column with class names, if there is one.
    """

    def __init__(self, carry: Mapping[str, CarryField], labels: Labels | None):
        self._carry, self._labels = carry, labels
        self._texts: dict[str, set[FeatureKind]] = defaultdict(set)
        self._typed: dict[str, set[FeatureKind]] = defaultdict(set)
        self._nested: set[str] = set()
        self._classes: set[str] = set()
        self._present: set[str] = set()
        self._names: dict[str, tuple[str, ...]] = {}

    def add(
        self, file: ManifestFile, columns: Sequence[str], heartbeat: Callable[[], None]
    ) -> None:
        """Looks at a file: at its schema, or at every row if that says too little.

        Raises:
          OSError, DataError: It cannot be read; see `ManifestFile`.
          RequestError: A column has a type that is not carried, or has too many classes.
        """
        fields = [field.field for field in self._carry.values()]
        self._present |= {name for name in fields if name.partition(".")[0] in columns}
        self._present |= {name for name in fields if name in columns}
        for name, classes in file.class_names().items():
            if name in fields and self._names.setdefault(name, classes) != classes:
                raise RequestError(
                    f"{file.path}: expected the classes of column {name!r} in all files, got "
                    f"{len(classes):,} others, from {classes[:1]} on. Read them in jobs of their "
                    "own, or leave the column out."
                )
        known = file.kinds(fields)
        untyped = []
        if known is None:
            untyped = [one.field for one in self._carry.values() if one.type is None]
        for name, kind in (known or {}).items():
            self._typed[name].add(kind)
        names_wanted = self._labels is not None and self._labels.classes is None
        wanted = [*untyped, *([self._labels.column] if self._labels and names_wanted else [])]
        if not wanted:
            return
        for row in with_heartbeat(file.rows(wanted), heartbeat):
            if row.damage is not None:
                continue
            for name, value in zip(untyped, row.values, strict=False):
                if value is not None:
                    self._see(name, value, is_text=file.is_text)
            if names_wanted:
                self._see_class(row.values[-1])

    def _see(self, name: str, value: Value, *, is_text: bool) -> None:
        if is_text:
            if "bytes" not in self._texts[name]:
                self._texts[name].add(kind_of_cell(str(value)))
        elif (kind := kind_of_value(value)) is not None:
            self._typed[name].add(kind)
        else:
            self._nested.add(name)

    def _see_class(self, value: Value) -> None:
        if isinstance(value, str | bytes) and value:
            self._classes.add(str(converted(value, "bytes")) if isinstance(value, bytes) else value)
        if len(self._classes) > _MOST_CLASSES:
            assert self._labels is not None
            raise RequestError(
                f"source.labels: expected the names of classes in {self._labels.column!r}, got "
                f"more than {_MOST_CLASSES:,} different ones. Name another column."
            )

    def features(self) -> tuple[CarriedFeature, ...]:
        """Returns the features: the label, if there is one, and what is carried.

        Raises:
          RequestError: See `carried_features`; or a column has values of several types, or a
            class a name that cannot be stored.
        """
        kinds = {
            one.field: kind
            for name, one in self._carry.items()
            if (kind := one.type if one.type and one.field in self._present else self._kind(name))
        }
        names = {name: some for name, some in self._names.items() if kinds.get(name) == "int64"}
        found = carried_features(self._carry, kinds, names)
        if self._labels is None:
            return found
        if "label" in self._carry:
            raise RequestError(
                "source.carry: expected names other than 'label' beside source.labels, which "
                "carries the class under this name. Rename it."
            )
        return (CarriedFeature("label", self._labels.column, "int64", self._class_names()), *found)

    def _kind(self, name: str) -> FeatureKind | None:
        field = self._carry[name].field
        texts, typed = self._texts[field], self._typed[field]
        if ("bytes" in texts | typed) and typed - {"bytes"}:
            raise RequestError(
                f"source.carry.{name}: expected values of one type in column {field!r}, got text "
                "and numbers. Correct the manifest; or set the type of the field, which rejects "
                "the rows with values of another."
            )
        if field in self._nested and not texts | typed:
            raise RequestError(
                f"source.carry.{name}: expected single values in column {field!r}, got lists or "
                f"objects. Name a field in it, as {field}.width, or leave it out."
            )
        return common_kind(texts | typed)

    def _class_names(self) -> tuple[str, ...]:
        assert self._labels is not None
        if self._labels.classes is not None:
            return self._labels.classes
        if not self._classes:
            raise RequestError(
                f"source.labels: expected the names of classes in column {self._labels.column!r}, "
                "found none. Name another column; carry numbers with source.carry."
            )
        names = sorted(self._classes, key=encode_class)
        for name in names:
            if not storable(name):
                raise RequestError(
                    f"source.labels: expected names of classes in {self._labels.column!r}, in "
                    "UTF-8, on one line and without white space around them, got "
                    f"{name[:100]!a}. Correct it."
                )
        return tuple(names)


def encode_class(name: str) -> bytes:
    """Returns what class names are sorted by, which lone surrogates do not break."""
    return name.encode("utf-8", "surrogatepass")

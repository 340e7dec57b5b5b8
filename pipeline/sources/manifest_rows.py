"""Rows of a manifest: where the image of each lies, and its values as they are carried."""

import os
import stat
from collections.abc import Sequence

from fsq.dataset.records import CarriedFeature, encode_key
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.path_encoding import from_utf8
from pipeline.sources.directory_walk import NOT_A_FILE
from pipeline.sources.image_paths import Place, Places
from pipeline.sources.listed_rows import ListedRow
from pipeline.sources.listing_text import unreadable
from pipeline.sources.manifest_columns import Labels
from pipeline.sources.manifest_files import Row
from pipeline.sources.manifest_values import OtherValueError, Value, converted

_BACKSLASH = "expected '/' between the folders of a path, got backslashes, as Windows has them"
_A_FOLDER = "expected a file, got a folder"


class Converter:
    """Converts the values of a row to those of the features.

    Args:
      features: The features, in order.
      labels: The column that the first is the class of, if it is one.
    """

    def __init__(self, features: Sequence[CarriedFeature], labels: Labels | None):
        self._features = features
        self._labels = labels
        names = (features[0].class_names or ()) if labels else ()
        self._ranks = {name: rank for rank, name in enumerate(names)}

    @property
    def columns(self) -> list[str]:
        """The columns that values are asked of, one for each feature."""
        return [feature.field for feature in self._features]

    def convert(self, values: Sequence[Value]) -> tuple[int | float | str, ...]:
        """Returns a value for each feature.

        Raises:
          OtherValueError: One is missing and has no default, or does not fit.
          RequestError: A class is none of those given.
        """
        return tuple(map(self._convert, self._features, values))

    def _convert(self, feature: CarriedFeature, value: Value) -> int | float | str:
        if value is None:
            if feature.default is None:
                raise OtherValueError(f"expected a value in column {feature.field!r}, got none")
            return feature.default
        if self._labels is not None and feature is self._features[0]:
            return self._rank(value)
        try:
            return converted(value, feature.kind)
        except OtherValueError as error:
            raise OtherValueError(
                f"{error} in column {feature.field!r}, got another value"
            ) from error

    def _rank(self, value: Value) -> int:
        assert self._labels is not None
        name = converted(value, "bytes") if isinstance(value, str | bytes) else None
        if name == "":
            name = None
        if not isinstance(name, str):
            raise OtherValueError(
                f"expected the name of a class in column {self._labels.column!r}, got another value"
            )
        if name not in self._ranks:
            raise RequestError(
                f"source.classes: expected all classes in column {self._labels.column!r}, "
                f"got {len(self._ranks):,} names without {name[:100]!r}. Add it."
            )
        return self._ranks[name]


class RowLister:
    """Lists the rows of a manifest.

    Args:
      name: The name of the manifest in keys.
      places: Where its images lie.
      key: The column of the keys; None if they are the paths.
      converter: Converts the values that are carried.
    """

    def __init__(self, name: str, places: Places, key: str | None, converter: Converter):
        self._name, self._places, self._key, self._converter = name, places, key, converter

    def listed(self, row: Row, number: int) -> ListedRow:
        """Returns a row as it is listed.

        Args:
          row: The path, the key if there is a column for it, and the values.
          number: Its number in the manifest.

        Raises:
          RequestError: See `Converter.convert`.
        """
        key = f"{self._name}__{number}"
        if row.damage is not None:
            return ListedRow(key, refused=row.damage)
        written, *values = row.values
        try:
            place = self._places.find(path_text(written))
            if self._key is not None:
                key = _key_text(self._key, values.pop(0))
            elif place.key:
                encode_key(place.key)
                key = _below_folder(self._name, place.key)
            return _look_at(key, place, self._converter.convert(values))
        except OtherValueError as error:
            return ListedRow(key, refused=str(error))
        except UnicodeEncodeError:
            return ListedRow(key, refused="expected a path in UTF-8, got lone surrogates")


def path_text(written: Value) -> str:
    """Returns the text in a column of paths; none is empty text.

    Raises:
      OtherValueError: It is a number or the like.
    """
    if isinstance(written, bytes):
        written = written.decode("utf-8", "surrogateescape")
    if written is None:
        return ""
    if not isinstance(written, str):
        raise OtherValueError("expected the path of an image, got no text")
    return written


def _key_text(column: str, value: Value) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise OtherValueError(f"expected a key in column {column!r}, got none")
    encode_key(value)
    return value


def _below_folder(name: str, key: str) -> str:
    """Returns the key of a path in a manifest whose name has folders."""
    folder = name.rpartition("/")[0]
    return f"{folder}/{key}" if folder and not key.startswith("/") and "://" not in key else key


def _look_at(key: str, place: Place, values: tuple[int | float | str, ...]) -> ListedRow:
    if place.refused is not None:
        return ListedRow(key, refused=place.refused)
    if not filesystem.is_local(place.path):
        return ListedRow(key, place.path, values=values)
    try:
        found = os.stat(from_utf8(place.path))
    except OSError as error:
        refused = unreadable(error)
        return ListedRow(key, refused=_BACKSLASH if "\\" in place.path else refused)
    if not stat.S_ISREG(found.st_mode):
        refused = _A_FOLDER if stat.S_ISDIR(found.st_mode) else NOT_A_FILE
        return ListedRow(key, refused=refused)
    return ListedRow(key, place.path, found.st_size, found.st_mtime_ns, values)

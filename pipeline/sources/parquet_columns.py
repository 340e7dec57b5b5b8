"""Columns of Arrow tables: which hold images, which can be carried, and names of classes."""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from fsq.dataset.records import FeatureKind
from fsq.errors import RequestError

_SHOWN = 20


class ImageColumn(NamedTuple):
    """Where the images of a table are.

    Attributes:
      path: The names of the column and, below it, of its fields.
      form: Whether its values are encoded images, paths of image files, or structs of both.
    """

    path: tuple[str, ...]
    form: Literal["bytes", "path", "struct"]


def find_image_column(schema: pa.Schema, name: str, where: str) -> ImageColumn:
    """Returns where the images are.

    Args:
      schema: Of the table.
      name: Name of the column; that of a field inside it after a dot or slash.
      where: The file, for messages.

    Raises:
      RequestError: There is no such column, or its type is not one of images.
    """
    path = path_of_column(schema, name)
    _refuse_twice(schema, path, where, "source.image")
    if path is not None and (form := _image_form(_type_of(schema, path))) is not None:
        return ImageColumn(path, form)
    images = [field.name for field in schema if _image_form(field.type) not in (None, "path")]
    others = f"images may be in {', '.join(map(repr, images))}" if images else _columns(schema)
    if path is None:
        raise RequestError(
            f"source.image: expected a column {name!r} in {where}, found none ({others}). "
            "Correct the name in the config."
        )
    raise RequestError(
        f"source.image: expected images in column {name!r} of {where}: encoded bytes, paths, or a "
        f"struct of 'bytes' and 'path', got {_show(_type_of(schema, path))} ({others}). "
        "Name another column."
    )


def find_column(schema: pa.Schema, name: str, where: str, key: str) -> tuple[str, ...]:
    """Returns the path of a column.

    Raises:
      RequestError: There is no such column; `key` is that of the config that names it.
    """
    path = path_of_column(schema, name)
    _refuse_twice(schema, path, where, key)
    if path is None:
        raise RequestError(
            f"{key}: expected a column {name!r} in {where}, found none ({_columns(schema)}). "
            "Correct the name in the config."
        )
    return path


def _refuse_twice(schema: pa.Schema, path: tuple[str, ...] | None, where: str, key: str) -> None:
    if path is not None and schema.names.count(path[0]) > 1:
        raise RequestError(
            f"{key}: expected one column {path[0]!r} in {where}, found "
            f"{schema.names.count(path[0])}. Rename one of them."
        )


def kind_of(schema: pa.Schema, path: tuple[str, ...]) -> FeatureKind | None:
    """Returns how the values of a column are carried; None if they have no plain meaning."""
    kind = _plain(_type_of(schema, path))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "float32"
    return "bytes" if _is_bytes(kind) or _is_text(kind) else None


def is_empty(schema: pa.Schema, path: tuple[str, ...]) -> bool:
    """Returns whether a column has no values at all, and so no type."""
    return bool(pa.types.is_null(_type_of(schema, path)))


def show_type(schema: pa.Schema, path: tuple[str, ...]) -> str:
    """Returns the type of a column, for messages."""
    return _show(_type_of(schema, path))


def names_of_classes(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Returns the names of classes by column, as `datasets` writes them to a schema."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])
        features = content["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return class_labels(features) if isinstance(features, dict) else {}


def class_labels(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Returns the names of classes of the features that are a `ClassLabel`."""
    found = {}
    for name, feature in features.items():
        is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        names = feature.get("names") if is_label else None
        if isinstance(names, list) and all(isinstance(one, str) for one in names):
            found[name] = tuple(names)
    return found


def path_of_column(schema: pa.Schema, name: str) -> tuple[str, ...] | None:
    """Returns the path of a column, whose name may lead into a struct; None if there is none."""
    if name in schema.names:
        return (name,)
    for mark in "./":
        path = tuple(name.split(mark))
        if len(path) > 1 and _has(schema, path):
            return path
    return None


def _has(schema: pa.Schema, path: tuple[str, ...]) -> bool:
    if schema.names.count(path[0]) != 1:
        return False
    kind = schema.field(path[0]).type
    for name in path[1:]:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return False
        kind = kind.field(name).type
    return True


def _type_of(schema: pa.Schema, path: tuple[str, ...]) -> pa.DataType:
    kind = schema.field(path[0]).type
    for name in path[1:]:
        kind = _plain(kind).field(name).type
    return kind


def _plain(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the values of a dictionary, or that an extension is stored as."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _image_form(kind: pa.DataType) -> Literal["bytes", "path", "struct"] | None:
    kind = _plain(kind)
    if pa.types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        types = {name: _plain(kind.field(name).type) for name in names if names.count(name) == 1}
        has_bytes = "bytes" in types and _is_bytes(types["bytes"])
        # A table whose images are all references may have no type for their bytes.
        is_null = "bytes" in types and pa.types.is_null(types["bytes"])
        has_path = "path" in types and (_is_text(types["path"]) or pa.types.is_null(types["path"]))
        return "struct" if has_bytes or (is_null and has_path) else None
    if _is_bytes(kind):
        return "bytes"
    return "path" if _is_text(kind) else None


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _show(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _columns(schema: pa.Schema) -> str:
    names = ", ".join(map(repr, schema.names[:_SHOWN]))
    return f"its columns are {names}{', ...' if len(schema.names) > _SHOWN else ''}"

"""JSON manifests: an object per line, or one list of objects."""

import codecs
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.manifest_files import ManifestFile, Row, check_text
from pipeline.sources.manifest_values import Value
from pipeline.sources.other_formats import HEAD_BYTES

# Objects that are looked at for the names of columns.
_FIRST = 100


class JsonFile(ManifestFile):
    """Values have the types of JSON; `a.b` is the field b in the object a.

    A file that begins with '[' is one list, which is read as a whole; any other has an object
    per line. A null is no value. Lines without text are no rows.
    """

    def columns(self) -> tuple[str, ...]:
        """Returns the names of the columns; see `ManifestFile`."""
        check_text(self.path)
        names: dict[str, None] = {}
        for content in itertools.islice(self._objects(), _FIRST):
            if isinstance(content, dict):
                names |= dict.fromkeys(content)
        return tuple(names)

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Yields the rows; see `ManifestFile`."""
        for content in self._objects():
            if isinstance(content, dict):
                yield Row([_lookup(content, name) for name in wanted])
            else:
                yield Row(damage=str(content))

    def _objects(self) -> Iterator[dict[str, Any] | ValueError]:
        """Yields the objects, and why others are none."""
        with filesystem.open_read(self.path) as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            if _begins_list(self.path):
                for item in self._list(file.read()):
                    yield item if isinstance(item, dict) else _no_object(item)
                return
            for line in file:
                if line.strip():
                    yield _parse(line)

    def _list(self, data: bytes) -> list[Any]:
        found = _loads(data)
        if isinstance(found, list):
            return found
        raise DataError(
            f"{self.path}: expected a list of objects, or an object per line, got: {found}. "
            "Correct it."
        )


def _begins_list(path: str) -> bool:
    head = filesystem.read_head(path, HEAD_BYTES)
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _parse(line: bytes) -> dict[str, Any] | ValueError:
    found = _loads(line)
    return found if isinstance(found, dict | ValueError) else _no_object(found)


def _no_object(found: object) -> ValueError:
    return ValueError(f"expected an object of JSON, got {_NAMES.get(type(found), 'a number')}")


_NAMES = {list: "a list", str: "a text", type(None): "null", bool: "true or false"}


def _loads(data: bytes) -> Any:
    """Parses JSON; returns a ValueError as a value if it is none."""
    try:
        # Names of files may be of any bytes.
        text = data.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        return ValueError(f"expected an object of JSON, got: {error.msg}")
    except (ValueError, RecursionError) as error:
        return ValueError(f"expected an object of JSON, got: {str(error).splitlines()[0]}")


def _refuse(name: str) -> float:
    raise ValueError(f"{name}, which is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object")
    return found


def _lookup(content: dict[str, Any], name: str) -> Value:
    """Returns a field: of this name, or step by step in nested objects."""
    if name in content or "." not in name:
        return content.get(name)
    value: Value = content
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value

"""Validation of plain data by frozen pydantic models, with one-line errors."""

import difflib
import re
import reprlib
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import pydantic

from fsq.errors import InvalidConfigError, RequestError

Model = TypeVar("Model", bound=pydantic.BaseModel)
Count = Annotated[int, pydantic.Field(ge=0, strict=True)]


class FrozenModel(pydantic.BaseModel):
    """Base of configs and documents: immutable, unknown keys are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


def parse(model: type[Model], data: Any, where: str) -> Model:
    """Builds the model from plain data.

    Args:
      model: A pydantic model.
      data: Content of a YAML or JSON file.
      where: Name of the file, for messages.

    Raises:
      RequestError: The data is not valid; each bad key is named and, if it is
        unknown, the key that was probably meant.
    """
    if not isinstance(data, dict):
        raise RequestError(f"{where}: expected a mapping, got {type(data).__name__}.")
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        raise InvalidConfigError(_problems(model, error, where)) from error


def _problems(
    model: type[pydantic.BaseModel], error: pydantic.ValidationError, where: str
) -> list[str]:
    """Returns a line for each wrong key, unknown keys first."""
    # A misspelt key is reported as unknown and, if it is required, as missing: the first says more.
    errors = error.errors(include_url=False)
    errors.sort(key=lambda one: one["type"] != "extra_forbidden")
    meant: set[tuple[Any, ...]] = set()
    lines: dict[tuple[str, ...], str] = {}
    for one in errors:
        if one["type"] == "extra_forbidden":
            close = _close_key(one["loc"][-1], _locate(model, one["loc"])[1])
            meant.add((*one["loc"][:-1], close))
        elif one["type"] == "missing" and one["loc"] in meant:
            continue
        # The members of a union each report the same key.
        lines.setdefault(tuple(_locate(model, one["loc"])[0]), _describe(model, one, where))
    return list(lines.values())


def _close_key(key: Any, fields: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(key), fields, n=1)), None)


def _describe(model: type[pydantic.BaseModel], problem: Any, where: str) -> str:
    path, fields = _locate(model, problem["loc"])
    key = ".".join([where, *path])
    match problem["type"]:
        case "extra_forbidden":
            close = _close_key(path[-1], fields)
            elsewhere = [key for key in _keys(model) if key.endswith(f".{path[-1]}")]
            if len(elsewhere) == 1 and elsewhere != [".".join(path)]:
                close = elsewhere[0]
            hint = f"did you mean {close!r}?" if close else f"known: {', '.join(fields)}"
            return f"{key}: unknown key ({hint})"
        case "missing":
            return f"{key}: expected a value, got none. Add the key {path[-1]!r}."
        case "union_tag_not_found":
            tags = problem["ctx"]["discriminator"]
            return f"{key}: expected a key {tags}, got none. Add it."
        case "union_tag_invalid":
            expected = problem["ctx"]["expected_tags"]
            found = problem["ctx"]["tag"]
            meant = _close_key(found, expected.replace("'", "").split(", "))
            hint = f" (did you mean {meant!r}?)" if meant else ""
            return f"{key}.kind: expected one of {expected}, got {found!r}{hint}."
        case "value_error":
            return f"{key}: {problem['ctx']['error']}"
        case "string_pattern_mismatch":
            pattern = problem["ctx"]["pattern"]
            return f"{key}: expected text that matches {pattern}, got {_shorten(problem['input'])}."
        case "tuple_type" | "list_type":
            return f"{key}: expected a list, got {_shorten(problem['input'])}. Write [...]."
        case "dict_type" | "model_type" | "model_attributes_type" | "mapping_type":
            return f"{key}: expected a mapping of keys, got {_shorten(problem['input'])}."
        case "bool_type" | "bool_parsing":
            return f"{key}: expected true or false, got {_shorten(problem['input'])}."
        case "string_too_short" | "too_short":
            least = problem["ctx"]["min_length"]
            return f"{key}: expected length {least} or more, got {_shorten(problem['input'])}."
    expected = problem["msg"].replace("Input should be", "expected", 1)
    if not expected.startswith("expected"):
        expected = f"expected a valid value ({expected})"
    return f"{key}: {expected}, got {_shorten(problem['input'])}."


def _locate(model: type[pydantic.BaseModel], loc: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """Returns the path of keys in the file, and the known keys of its last mapping."""
    path: list[str] = []
    here: list[type[pydantic.BaseModel]] = [model]
    named_freely = False  # whether the next key is one of a mapping whose keys are no fields
    for part in loc:
        tagged = [m for m in here if len(here) > 1 and part in _tags(m)]
        if tagged:  # pydantic's path contains the tag of a union; the file's does not
            here = tagged
            continue
        if not here and isinstance(part, str) and re.search(r"[\[-]|^(float|int|str)$", part):
            continue  # neither does it contain the type of a value, such as 'constrained-str'
        path.append(str(part))
        fields = here[0].model_fields if len(here) == 1 else {}
        if named_freely:
            named_freely = False
        elif part in fields:
            annotation = fields[part].annotation
            named_freely = typing.get_origin(annotation) is dict
            here = _models(typing.get_args(annotation)[1] if named_freely else annotation)
        elif isinstance(part, str):
            return path, sorted(fields)
    return path, sorted(here[0].model_fields) if here else []


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated, tuple):
        return [m for arg in typing.get_args(annotation) for m in _models(arg)]
    return []


def _keys(model: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    """Yields all keys with their paths, but not those of unions."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inside = _models(field.annotation)
        if len(inside) == 1:
            yield from _keys(inside[0], f"{prefix}{name}.")


def _tags(model: type[pydantic.BaseModel]) -> tuple[Any, ...]:
    kind = model.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind else ()


# Not repr, because a few lines of YAML with aliases can expand to more text than fits in memory.
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def _shorten(value: Any) -> str:
    text = _brief.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

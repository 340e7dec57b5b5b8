"""Writes docs/configs.md, the page with every key of every config, from the config models.

python -m tools.config_reference
"""

import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from examples.prior.config import PriorConfig
from pipeline.job.config import TokenizeConfig
from pipeline.tokenizers.config import ImportConfig, TrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "configs.md"
CONFIGS: tuple[tuple[str, type[pydantic.BaseModel]], ...] = (
    ("fsq tokenize CONFIG", TokenizeConfig),
    ("fsq train CONFIG", TrainConfig),
    ("fsq import CONFIG", ImportConfig),
    ("python -m examples.prior.train CONFIG", PriorConfig),
)
INTRODUCTION = """\
# Configs

Every key of every config, made from the models that check them
(`python -m tools.config_reference`). A config is a YAML file. An unknown key, a wrong type or an
impossible value is refused before anything starts, all mistakes at once, each with its key and,
where it is misspelt, the key that was probably meant. Recipes to copy are in
[`configs/`](../configs) and [`examples/prior/configs/`](../examples/prior/configs).

Relative paths are relative to the folder in which the command is run, not to that of the config.
`~`, `~user`, `$NAME` and `${NAME}` in a path are replaced when the config is read, and the
`config.yaml` of a dataset holds the result, so that it means the same to everybody. `$$` is a
dollar sign, `./~x` a file named `~x`. A path with `${NAME}` inside `{...}` is put in quotes
(`{kind: image_folder, directory: "${HOME}/images"}`): without them YAML takes the
braces for its own. The command line replaces what the shell left, unless there
is a file of the very name.

A key without a default is required.
"""


class Key(NamedTuple):
    """A key of a config, as the page shows it."""

    name: str
    type: str
    default: str
    meaning: str


class Section(NamedTuple):
    """A table of keys: those of a config, or of one member of a union in it."""

    title: str
    meaning: str
    keys: list[Key]


def render() -> str:
    """Returns the page."""
    parts = [INTRODUCTION]
    members: dict[str, Section] = {}
    for command, model in CONFIGS:
        keys, found = keys_of(model)
        parts += [f"## {command}\n\n{_summary(model)}\n", _table(keys)]
        members |= {section.title: section for section in found}
    for section in members.values():
        parts.append(f"## {section.title}\n\n{section.meaning}\n")
        if section.keys:
            parts.append(_table(section.keys))
    return "\n".join(parts)


def keys_of(model: type[pydantic.BaseModel]) -> tuple[list[Key], list[Section]]:
    """Returns the keys of a config, and a section for each member of a union in it."""
    entries = list(_walk(model, ""))
    keys = [entry for entry in entries if isinstance(entry, Key)]
    return keys, [entry for entry in entries if isinstance(entry, Section)]


def _walk(model: type[pydantic.BaseModel], prefix: str) -> Iterator[Key | Section]:
    """Yields the keys of a model and of those inside it, and a section for each union's member."""
    meanings = attributes_of(model)
    schema = model.model_json_schema(mode="validation")
    for name, field in model.model_fields.items():
        inside = models_in(field.annotation)
        key = f"{prefix}{name}"
        members = [member for member in inside if "kind" in member.model_fields]
        shown = _type(schema["properties"][name]) + (" with a `kind`, see below" if members else "")
        if name != "kind":
            yield Key(key, shown, _default(field), meanings.get(name, ""))
        for other in inside:
            if other not in members:
                yield from _walk(other, f"{key}.")
        for member in members:
            (tag,) = typing.get_args(member.model_fields["kind"].annotation)
            title = "source" if key == "held_out" else name
            keys, _ = keys_of(member)
            yield Section(f"{title}, `kind: {tag}`", _summary(member), keys)


def attributes_of(model: type[pydantic.BaseModel]) -> dict[str, str]:
    """Returns the meaning of each field, from the docstrings of the model and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        _, _, listed = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")
        for match in re.finditer(r"^  (\w+): (.*(?:\n    .*)*)", listed, re.MULTILINE):
            found[match[1]] = " ".join(match[2].split())
    return found


def models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    """Returns the config models in a field's type, of a union all."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def _summary(model: type[pydantic.BaseModel]) -> str:
    text = inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:\n")[0].strip()
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(textwrap.fill(part, 118) for part in paragraphs)


def _type(schema: dict[str, Any]) -> str:
    """Describes a type in words, from its JSON schema."""
    match schema:
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": members} | {"oneOf": members}:
            shown = [_type(member) for member in members if member.get("type") != "null"]
            return " or ".join(dict.fromkeys(shown))
        case {"prefixItems": items}:
            return f"[{', '.join(_type(item) for item in items)}]"
        case {"type": "array", "items": items}:
            return f"list of: {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"mapping of names to: {_type(values)}"
        case {"type": "string"}:
            return "name" if "[a-z]" in schema.get("pattern", "") else "text"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "integer" | "number" as kind}:
            return ("integer" if kind == "integer" else "number") + _bounds(schema)
    return "mapping"


def _bounds(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "from {:,}",
        "exclusiveMinimum": "above {:,}",
        "maximum": "to {:,}",
        "exclusiveMaximum": "below {:,}",
    }
    shown = [text.format(schema[name]) for name, text in words.items() if name in schema]
    return f", {' '.join(shown)}" if shown else ""


def _default(field: pydantic.fields.FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, pydantic.BaseModel):
        return "as below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        names = [getattr(item, "kind", item) for item in value]
        return f"`[{', '.join(map(str, names))}]`"
    return f"`{value}`"


def _table(keys: list[Key]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{key.name}` | {_cell(key.type)} | {key.default} | {_cell(key.meaning)} |"
        for key in keys
    ]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.name}: written", file=sys.stderr)

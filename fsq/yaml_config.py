"""Config files: YAML in, frozen pydantic models out."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml

from fsq.errors import RequestError
from fsq.storage.path_expansion import expand_path, literal_path, looked_in
from fsq.validation import parse

__all__ = ["dump_config", "load_config"]

Name = Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]

ExpandedPath = Annotated[str, pydantic.Field(min_length=1, pattern=r"^[^\x00]*$")]
# Expanded when a config is read, so that a config that is written means the same everywhere.
PathStr = Annotated[
    ExpandedPath,
    pydantic.AfterValidator(expand_path),
    pydantic.PlainSerializer(literal_path, return_type=str),
]


Config = TypeVar("Config", bound=pydantic.BaseModel)


def load_config(path: str, model: type[Config]) -> Config:
    """Reads a YAML file into a config.

    Raises:
      RequestError: The file is missing, is not YAML, or does not fit the model.
    """
    return parse(model, parse_yaml(path), path)


def parse_yaml(path: str) -> Any:
    """Reads a YAML file whose mappings have every key once.

    Raises:
      RequestError: The file is missing, or is not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        data: Any = yaml.safe_load(text)
        _check_keys(path, yaml.compose(text, yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(
            f"{path}: expected a config file, got: {reason}{looked_in(path)}."
        ) from error
    # Raised by PyYAML's constructors of numbers and dates for malformed values.
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RequestError(f"{path}: expected a config that can be read, got: {reason}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = (getattr(error, "problem", None) or "unreadable")[:100]
        raise RequestError(f"{path}{line}: expected YAML, got: {problem}.") from error
    return data


def _check_keys(path: str, root: Any) -> None:
    """Refuses a repeated key, of which PyYAML would silently use the last."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))  # aliases make one node a child of several
        keys: dict[str, int] = {}
        for entry in node.value:
            key, value = entry if isinstance(entry, tuple) else (None, entry)
            waiting.append(value)
            name = getattr(key, "value", None)
            if isinstance(name, str):
                line = key.start_mark.line + 1
                if name in keys:
                    raise RequestError(
                        f"{path}:{line}: expected every key once, got {name[:60]!a} in line "
                        f"{keys[name]} too. Remove one."
                    )
                keys[name] = line


def dump_config(config: pydantic.BaseModel) -> str:
    """Renders a resolved config as YAML; the same config gives the same bytes."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)

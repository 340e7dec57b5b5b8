"""Dataset card: the names of classes in a README.md, as the Hugging Face hub has them."""

import functools
from typing import Any

import yaml

from fsq.storage import filesystem

CARD, FOLDERS_ABOVE = "README.md", 3


def classes_of_card(path: str) -> dict[str, tuple[str, ...]]:
    """Returns the names of classes by column from the card beside or above a file.

    Of several configs in a card, those of the one that a folder of the path is named after; if
    there is none, the names in which all agree.
    """
    folders = path.split("/")[:-1]
    above = range(len(folders), max(_root_of(path) - 1, len(folders) - FOLDERS_ABOVE), -1)
    for card in (filesystem.join("/".join(folders[:depth]) or ".", CARD) for depth in above):
        configs = _configs_of(card)
        if configs is not None:
            named = [found for name, found in configs if name in folders]
            return _agreed(named or [found for _, found in configs])
    return {}


def _root_of(path: str) -> int:
    """Returns how many parts of a path are its bucket or repository, above which there is none.

    >>> [_root_of(path) for path in ("a/b", "s3://bucket/a", "hf://datasets/me/photos/a")]
    [1, 3, 5]
    """
    if path.startswith("hf://"):
        return 5 if path.startswith("hf://datasets/") else 4
    return 1 if filesystem.is_local(path) else 3


def _agreed(configs: list[dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    first, *others = configs or [{}]
    return {
        name: names for name, names in first.items() if all(o.get(name) == names for o in others)
    }


@functools.lru_cache(maxsize=64)
def _configs_of(card: str) -> tuple[tuple[str, dict[str, tuple[str, ...]]], ...] | None:
    """Returns name and classes of each config of a card; None if there is no card."""
    try:
        if not filesystem.exists(card):
            return None
        text = filesystem.read(card).decode("utf-8", "replace")
        _, front, _ = text.split("---\n", 2) if text.startswith("---\n") else ("", "", "")
        info = yaml.safe_load(front)["dataset_info"]
        configs = info if isinstance(info, list) else [info]
        return tuple((str(one.get("config_name")), _labels_of(one["features"])) for one in configs)
    # A card is written by hand: one that says something else says nothing of classes.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return ()


def _labels_of(features: Any) -> dict[str, tuple[str, ...]]:
    found = {}
    for feature in features:
        dtype = feature.get("dtype")
        label = dtype.get("class_label") if isinstance(dtype, dict) else None
        if label is not None:
            names = label["names"]
            found[feature["name"]] = tuple(str(names[str(number)]) for number in range(len(names)))
    return found

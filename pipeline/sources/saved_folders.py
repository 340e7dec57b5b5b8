"""Saved folders: what `save_to_disk` of `datasets` writes, a folder of Arrow streams."""

import json
from typing import Any, cast

from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.sources.input_files import Patterns

STATE_FILE, SPLITS_FILE = "state.json", "dataset_dict.json"


def with_saved_folders(patterns: Patterns) -> Patterns:
    """Replaces the names of saved folders by those of their files.

    Raises:
      RequestError: A folder holds several splits, each a folder of its own.
      DataError: The list of a folder's files cannot be read.
    """
    expanded: Any = {split: _expand(some, split) for split, some in patterns.items()}
    return cast(Patterns, expanded)


def _expand(patterns: tuple[str, ...], split: str | None) -> tuple[str, ...]:
    names: list[str] = []
    for pattern in patterns:
        folder = pattern.rstrip("/")
        if filesystem.exists(filesystem.join(folder, STATE_FILE)):
            names += _files_of(folder)
        elif filesystem.exists(filesystem.join(folder, SPLITS_FILE)):
            key = "source.files" if split is None else f"output.split.{split}"
            raise RequestError(
                f"{key}: expected one split, got the folder {pattern!r} with several. Name one, "
                f"e.g. {folder}/train; or each in output.split."
            )
        else:
            names.append(pattern)
    return tuple(names)


def _files_of(folder: str) -> list[str]:
    path = filesystem.join(folder, STATE_FILE)
    try:
        content = json.loads(filesystem.read(path))
        names = [file["filename"] for file in content["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise DataError(
            f"{path}: expected the names of the files that were saved, got: {reason[:200]}. "
            "Save the dataset again."
        ) from error
    bad = [name for name in names if not isinstance(name, str) or "/" in name or not name]
    if bad or not names:
        raise DataError(
            f"{path}: expected names of files beside it, got {bad[:1] or 'none'}. "
            "Save the dataset again."
        )
    return [filesystem.join(folder, name) for name in names]

"""Checks of the output directory of a new tokenizer, before anything is read or trained."""

import os
from pathlib import Path

from fsq.dataset.manifest import MANIFEST_FILE
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE
from fsq.storage import filesystem

CARD_FILE = "README.md"


def check_free_output(output: str) -> None:
    """Raises a RequestError if the directory holds a dataset or a tokenizer, or is read-only."""
    check_local(output)
    directory = Path(output)
    for name in (MANIFEST_FILE, CONTRACT_FILE, CARD_FILE):
        if (directory / name).exists():
            raise RequestError(
                f"{output}: expected no dataset or tokenizer there, found {name}. "
                "Set 'output' in the config to another directory, or remove what is there."
            )
    check_writable(output)


def check_local(output: str) -> None:
    """Raises a RequestError if the directory is in a store: checkpoints are kept in it."""
    if not filesystem.is_local(output):
        raise RequestError(
            f"{output}: expected a local directory, which is written to while a tokenizer is made. "
            "Set 'output' to one, and copy it when it is done; a tokenizer is read from any store."
        )


def check_writable(output: str) -> None:
    """Raises a RequestError if the directory cannot be created or written."""
    place = Path(output)
    existing = next(path for path in (place, *place.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise RequestError(
            f"{output}: expected a directory that can be written. Choose another output."
        )

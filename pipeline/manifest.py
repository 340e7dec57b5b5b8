"""The manifest: what a finished dataset says of itself, written last of all."""

import hashlib
import json
from typing import Any

from fsq.errors import DataError, RequestError
from pipeline import storage

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.yaml"
STATS_FILE = "stats.json"
TIMING_FILE = "timing.json"
REJECTS_FILE = "rejects.jsonl"
FORMAT_VERSION = 2


def read_manifest(directory: str) -> dict[str, Any]:
    """Reads a dataset's manifest.

    Raises:
      RequestError: There is none: the directory is not a finished dataset.
      DataError: It cannot be read, or has another format version.
    """
    path = storage.join(directory, MANIFEST_FILE)
    try:
        content = json.loads(storage.read(path))
    except FileNotFoundError as error:
        raise RequestError(
            f"{directory}: expected a finished dataset, found no {MANIFEST_FILE}. "
            "Finish it with 'fsq tokenize'."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON that can be read, got: {error}.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: expected format version {FORMAT_VERSION}, got {version}. "
            "Read it with the version of fsq-tokenizer that wrote it."
        )
    if content.get("sha256") != sign(content)["sha256"]:
        raise DataError(
            f"{path}: expected the content that it was written with, got another. "
            "The dataset is damaged; tokenize it again."
        )
    return content


def sign(content: dict[str, Any]) -> dict[str, Any]:
    """Adds the sha256 of all the rest, so that an edited manifest shows."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "sha256": digest}


def write_manifest(directory: str, content: dict[str, Any]) -> None:
    """Writes the manifest; from then on the directory is a dataset."""
    signed = sign({"format_version": FORMAT_VERSION, **content})
    text = json.dumps(signed, indent=2) + "\n"
    storage.write(storage.join(directory, MANIFEST_FILE), text.encode())


def sha256_of(path: str) -> str:
    """Hashes a file without holding it in memory."""
    digest = hashlib.sha256()
    with storage.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

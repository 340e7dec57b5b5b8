"""The manifest: what a finished dataset says of itself, written last of all."""

import hashlib
import json
from typing import Annotated, Any

import pydantic

from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.digest import sign
from fsq.validation import parse

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.yaml"
STATS_FILE = "stats.json"
TIMING_FILE = "timing.json"
REJECTS_FILE = "rejects.jsonl"
FORMAT_VERSION = 2


def _check_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError(f"expected the name of a file in the dataset, got {name!a}")
    return name


_Name = Annotated[str, pydantic.AfterValidator(_check_name)]
_Count = Annotated[int, pydantic.Field(ge=0, strict=True)]


class _File(pydantic.BaseModel):
    file: _Name
    bytes: _Count
    sha256: str


class _Shard(_File):
    records: _Count
    array_record: _File | None = None


class _Fingerprint(pydantic.BaseModel):
    sha256: str
    fields: dict[str, Any]


class _Manifest(pydantic.BaseModel):
    """What has to be there; a manifest may come from anybody."""

    name: str
    split: str
    images_listed: _Count
    images_written: _Count
    images_rejected: _Count
    rejects_by_reason: dict[str, _Count]
    views: list[str]
    records: _Count
    shards: list[_Shard]
    files: dict[_Name, str]
    fingerprint: _Fingerprint


def has_manifest(directory: str) -> bool:
    """Says whether there is a manifest; a directory without one is not a dataset."""
    return filesystem.exists(filesystem.join(directory, MANIFEST_FILE))


def read_manifest(directory: str) -> dict[str, Any]:
    """Reads a dataset's manifest.

    Raises:
      RequestError: There is none: the directory is not a finished dataset.
      DataError: It cannot be read, has another format version, or names what
        is no file of the dataset.
    """
    path = filesystem.join(directory, MANIFEST_FILE)
    try:
        content = json.loads(filesystem.read(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(
            f"{directory}: expected a finished dataset, found no {MANIFEST_FILE}. "
            "Finish it with 'fsq tokenize'."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected JSON that can be read, got: {reason}.") from error
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
    try:
        parse(_Manifest, content, path)
    except RequestError as error:
        raise DataError(str(error)) from error
    return content


def read_listed(directory: str, manifest: dict[str, Any], name: str) -> bytes:
    """Reads a file of a dataset that is no shard.

    Raises:
      DataError: It is not the one that the manifest speaks of.
    """
    path = filesystem.join(directory, name)
    try:
        data = filesystem.read(path)
    except OSError as error:
        raise DataError(f"{path}: expected a file, got: {error.strerror or error}.") from error
    expected, found = manifest["files"].get(name, ""), hashlib.sha256(data).hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: expected sha256 {expected[:12]}, got {found[:12]}. "
            "The dataset is damaged; tokenize it again."
        )
    return data


def files_of_shard(shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists the files of an entry of `shards`: the TFRecord, then the ArrayRecord if any."""
    twin = shard.get("array_record")
    return [shard] if twin is None else [shard, twin]


def write_manifest(directory: str, content: dict[str, Any]) -> None:
    """Writes the manifest; from then on the directory is a dataset."""
    signed = sign({"format_version": FORMAT_VERSION, **content})
    filesystem.write(filesystem.join(directory, MANIFEST_FILE), render(signed))


def render(content: dict[str, Any]) -> bytes:
    """The bytes of a manifest."""
    return (json.dumps(content, indent=2) + "\n").encode()

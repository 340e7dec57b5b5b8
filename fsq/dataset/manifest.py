"""Manifest of a dataset: its files, counts and fingerprint, written last."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import pydantic

from fsq.dataset.fingerprint import Fingerprint, SealedFingerprint
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.json_documents import has_its_digest, render
from fsq.storage.path_expansion import looked_in
from fsq.validation import Count, FrozenModel, parse

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.yaml"
STATS_FILE = "stats.json"
TIMING_FILE = "timing.json"
REJECTS_FILE = "rejects.jsonl"
FORMAT_VERSION: Final = 4


def _check_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError(f"expected the name of a file in the dataset, got {name!a}")
    return name


FileName = Annotated[str, pydantic.AfterValidator(_check_name)]


class FileEntry(FrozenModel):
    """Name, size and sha256 of a file of the dataset."""

    file: FileName
    bytes: Count
    sha256: str


class ShardEntry(FileEntry):
    """A shard: its file in the primary format, and in the others.

    Attributes:
      split: Name of its split.
      records: Number of records in each of its files.
      other_formats: Its files in the other formats, by format; the same records.
    """

    split: str
    records: Count
    other_formats: dict[str, FileEntry] = pydantic.Field(default_factory=dict)


class SourceFileEntry(FrozenModel):
    """Image counts of a source file, or of a folder of image files.

    Attributes:
      listed: Images that it should contain.
      written: Images with token records.
      rejected: Rejected images by reason.
      content: Sum of the hashes of the images written.
    """

    listed: Count
    written: Count
    rejected: dict[str, Count]
    content: str


class SplitEntry(FrozenModel):
    """Counts of a split.

    Attributes:
      images: Number of images with token records.
      records: Number of token records, one per image and view.
    """

    images: Count
    records: Count


class Manifest(FrozenModel):
    """The content of manifest.json, which may come from an untrusted source.

    Attributes:
      name: Name of the dataset.
      splits: Counts of each split, by name, in the order of the config.
      images_listed: Number of images in the source.
      images_written: Number of images with token records.
      images_rejected: Number of rejected images.
      rejects_by_reason: Number of rejected images by reason.
      left_out: Number of files of the source that are not images, by ending.
      by_file: Image counts by source file.
      views: Names of the views, in the order of the config.
      records: Number of token records, one per image and view.
      machines: Kinds of machine that encoded the images.
      shards: The shards by index.
      files: sha256 of all other files but the manifest and `TIMING_FILE`.
      fingerprint: What decided the bytes.
      sha256: Digest of all other fields; identifies the dataset.
    """

    format_version: Literal[4] = FORMAT_VERSION
    name: str
    splits: dict[str, SplitEntry]
    images_listed: Count
    images_written: Count
    images_rejected: Count
    rejects_by_reason: dict[str, Count]
    left_out: dict[str, Count] = pydantic.Field(default_factory=dict)
    by_file: dict[str, SourceFileEntry]
    views: tuple[str, ...]
    records: Count
    machines: tuple[str, ...]
    shards: tuple[ShardEntry, ...]
    files: dict[FileName, str]
    fingerprint: SealedFingerprint
    sha256: str = ""

    @pydantic.model_validator(mode="after")
    def _every_shard_is_in_every_format(self) -> Self:
        first, *others = self.formats or ("",)
        for shard in self.shards:
            if not first or sorted(shard.other_formats) != sorted(others):
                raise ValueError(
                    f"shards: expected {shard.file} in the formats {list(self.formats)}, found it "
                    f"beside the first in {sorted(shard.other_formats)}"
                )
        return self

    @property
    def formats(self) -> tuple[str, ...]:
        """The shard formats."""
        return self.fingerprint.fields.formats

    def shards_of(self, split: str) -> tuple[ShardEntry, ...]:
        """Returns the shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def shard_files(self, shard: ShardEntry) -> dict[str, FileEntry]:
        """Returns the files of a shard by format."""
        return {self.formats[0]: shard, **shard.other_formats}

    def render(self) -> bytes:
        """Returns the bytes of manifest.json."""
        # Not in pydantic's JSON mode, which changes names that are not UTF-8.
        return render(self.model_dump(exclude_none=True))


def show_splits(splits: Mapping[str, SplitEntry]) -> str:
    """Names splits and their counts for a message.

    >>> show_splits({"val": SplitEntry(images=1000, records=2000)})
    'val: 1,000 images, 2,000 records'
    """
    return "; ".join(
        f"{name}: {split.images:,} images, {split.records:,} records"
        for name, split in splits.items()
    )


def seal_fingerprint(fingerprint: Fingerprint) -> SealedFingerprint:
    """Adds the digest to a fingerprint."""
    return SealedFingerprint(sha256=fingerprint.sha256, fields=fingerprint)


def has_manifest(directory: str) -> bool:
    """Returns whether there is a manifest; a directory without one is not a dataset."""
    return filesystem.exists(filesystem.join(directory, MANIFEST_FILE))


def read_manifest(directory: str) -> Manifest:
    """Reads a dataset's manifest.

    Raises:
      RequestError: There is none, so the directory is not a finished dataset.
      DataError: It cannot be read, was edited, has another format version, or
        names a file outside the dataset.
    """
    path = filesystem.join(directory, MANIFEST_FILE)
    try:
        content = json.loads(filesystem.read(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(
            f"{directory}: expected a finished dataset, found no {MANIFEST_FILE}"
            f"{looked_in(directory)}. Check the path, or finish it with 'fsq tokenize'."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected readable JSON, got: {reason}.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: expected format version {FORMAT_VERSION}, got {version}. "
            "Read it with the version of fsq-tokenizer that wrote it."
        )
    if not has_its_digest(content):
        raise DataError(
            f"{path}: expected content that matches its sha256, got other content. "
            "The dataset is damaged; tokenize it again."
        )
    try:
        return parse(Manifest, content, path)
    except RequestError as error:
        raise DataError(str(error)) from error


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Writes the manifest, which makes the directory a dataset."""
    filesystem.write(filesystem.join(directory, MANIFEST_FILE), manifest.render())


def read_listed(directory: str, manifest: Manifest, name: str) -> bytes:
    """Reads a file of a dataset other than a shard.

    Raises:
      DataError: It cannot be read, or its sha256 is not that of the manifest.
    """
    path = filesystem.join(directory, name)
    try:
        data = filesystem.read(path)
    except OSError as error:
        raise DataError(f"{path}: expected a file, got: {error.strerror or error}.") from error
    expected, found = manifest.files.get(name, ""), hashlib.sha256(data).hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: expected sha256 {expected[:12]}, got {found[:12]}. "
            "The dataset is damaged; tokenize it again."
        )
    return data

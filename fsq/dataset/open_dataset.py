"""Opening a dataset: what is checked before its first record is read."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from fsq.dataset.argument_checks import check_directory
from fsq.dataset.example.decoder import Field
from fsq.dataset.formats import FORMATS, PRIMARY, ShardFormat
from fsq.dataset.manifest import FileEntry, Manifest, ShardEntry, read_listed, read_manifest
from fsq.dataset.records import GRID
from fsq.errors import DataError, RequestError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, TokenContract
from fsq.spec.serialization import parse_contract
from fsq.storage import filesystem

FEATURES_FILE = "features.json"
DAMAGED = "The dataset is damaged; tokenize it again."


@dataclasses.dataclass(frozen=True)
class OpenedDataset:
    """What readers need to know of a dataset.

    Attributes:
      directory: Path of the dataset.
      name: Name of the dataset.
      split: Name of the split.
      contract: The token contract.
      fields: Fields of each record.
      num_classes: Number of classes of `label`; None if it has no class names.
      views: Names of the views, in the order of the config.
      paths: Paths of the shards.
      sizes_bytes: Size of each shard.
      records: Number of records in each shard.
      sha256: Digest of the manifest; identifies the dataset.
    """

    directory: str
    name: str
    split: str
    contract: TokenContract
    fields: tuple[Field, ...]
    num_classes: int | None
    views: tuple[str, ...]
    paths: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    records: tuple[int, ...]
    sha256: str

    @property
    def identity(self) -> str:
        """Name, split and digest; the same wherever a copy of the dataset lies."""
        return f"{self.name!r}, {self.split!r}, manifest={self.sha256[:16]!r}"

    @property
    def names(self) -> list[str]:
        """Names of the fields."""
        return [field.name for field in self.fields]

    def tokens_of(self, stored: Any, where: str) -> np.ndarray:
        """Converts a parsed field to tokens, [..., tokens_per_image], of `storage_dtype`.

        Raises:
          DataError: A token is outside the vocabulary.
        """
        if isinstance(stored, bytes):
            stored = np.frombuffer(stored, np.uint8)
        tokens = np.asarray(stored)
        if self.contract.dtype != "int64_list":
            tokens = tokens.view(np.dtype(str(self.contract.dtype)).newbyteorder("<"))
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocab_size:
            raise DataError(
                f"{where}: expected tokens in [0, {self.vocab_size}), got {tokens.min()} to "
                f"{tokens.max()}. {DAMAGED}"
            )
        return tokens.astype(lattice.storage_dtype(self.vocab_size), copy=False)

    def grid_tokens(self, stored: np.ndarray, grid: tuple[int, int], where: str) -> np.ndarray:
        """Converts the stored tokens of records of one grid, bytes [R], to [R, rows * columns].

        Raises:
          DataError: A record has another number of tokens, or one is outside the vocabulary.
        """
        tokens = self.tokens_of(b"".join(stored), where).reshape(-1)
        size = tokens.itemsize * grid[0] * grid[1]
        if any(len(each) != size for each in stored):
            raise DataError(
                f"{where}: expected {grid[0] * grid[1]} tokens for a grid of {grid[0]} x "
                f"{grid[1]}, got another number. {DAMAGED}"
            )
        return tokens.reshape(len(stored), -1)

    @property
    def vocab_size(self) -> int:
        """Number of tokens: the product of the levels."""
        return self.contract.vocab_size


def open_dataset(
    directory: str, split: str | None = None, *, shard_format: ShardFormat = PRIMARY
) -> OpenedDataset:
    """Opens a dataset, checking all that can be checked without reading records.

    Args:
      directory: Path of the dataset.
      split: Name of the split; None if the dataset has only one.
      shard_format: Format of the files to read.

    Raises:
      RequestError: It is not a finished dataset, or lacks the split or the format.
      DataError: It is damaged, or has a format version that is not supported.
    """
    manifest = read_manifest(directory)
    split = choose_split(directory, manifest, split)
    shards = manifest.shards_of(split)
    path = filesystem.join(directory, CONTRACT_FILE)
    contract = _check_contract(read_listed(directory, manifest, CONTRACT_FILE), manifest, path)
    if not manifest.splits[split].records:
        raise RequestError(
            f"{directory}: expected at least one record, found none in split {split!r}."
        )
    files = _find_files(directory, manifest, shards, shard_format)
    fields, num_classes = _read_fields(directory, manifest, contract)
    return OpenedDataset(
        directory=directory,
        name=manifest.name,
        split=split,
        contract=contract,
        fields=fields,
        num_classes=num_classes,
        views=manifest.views,
        paths=tuple(filesystem.join(directory, file.file) for file in files),
        sizes_bytes=tuple(file.bytes for file in files),
        records=tuple(shard.records for shard in shards),
        sha256=manifest.sha256,
    )


def unreadable(path: str, error: OSError) -> DataError:
    """Makes the error for a shard that disappeared after the dataset was opened."""
    return DataError(f"{path}: expected a shard, got: {error.strerror or error}. {DAMAGED}")


def read_contract(directory: str | os.PathLike[str]) -> TokenContract:
    """Reads the token contract of a dataset."""
    path = filesystem.join(check_directory(directory), CONTRACT_FILE)
    try:
        return parse_contract(filesystem.read(path), path)
    except OSError as error:
        raise DataError(f"{path}: expected the token contract, got: {error.strerror}.") from error


def tokens_of(feature: Any, contract: TokenContract) -> np.ndarray:
    """Returns the tokens of one parsed tf.train.Example's feature map, int64 [N]."""
    if contract.dtype == "int64_list":
        return np.array(feature["tokens"].int64_list.value, np.int64)
    (data,) = feature["tokens"].bytes_list.value
    return np.frombuffer(data, np.dtype(str(contract.dtype)).newbyteorder("<")).astype(np.int64)


def grid_of(feature: Any, contract: TokenContract) -> tuple[int, ...]:
    """Returns rows and columns of one parsed tf.train.Example's feature map."""
    return tuple(feature[GRID].int64_list.value) if contract.buckets else contract.grid


def _check_contract(data: bytes, manifest: Manifest, path: str) -> TokenContract:
    contract = parse_contract(data, path)
    expected = manifest.fingerprint.fields.tokenizer.vocab_size
    if expected != contract.vocab_size:
        raise DataError(
            f"{path}: expected vocab_size {expected} as in the manifest, "
            f"got {contract.vocab_size}. {DAMAGED}"
        )
    if contract.dtype is None:
        raise DataError(f"{path}: expected the dtype of the stored tokens, got none. {DAMAGED}")
    return contract


def choose_split(directory: str, manifest: Manifest, split: str | None) -> str:
    """Returns the split to read: the one that is asked for, or the only one.

    Raises:
      RequestError: There is no such split, or there are several and none is asked for.
    """
    names = list(manifest.splits)
    if split is None and len(names) == 1:
        return names[0]
    if split not in names:
        wanted = "one of its splits" if split is None else f"split {split!r}"
        found = ", ".join(map(repr, names))
        raise RequestError(
            f"{directory}: expected {wanted}, found {found}. Pass split={names[0]!r}, for example."
        )
    return split


def _find_files(
    directory: str,
    manifest: Manifest,
    shards: Sequence[ShardEntry],
    shard_format: ShardFormat,
) -> list[FileEntry]:
    """Returns the files of some shards, after checking that they exist with the right size."""
    if shard_format.name not in manifest.formats:
        others = ", ".join(FORMATS[name].title for name in manifest.formats if name in FORMATS)
        wanted = ", ".join([*manifest.formats, shard_format.name])
        raise RequestError(
            f"{directory}: expected {shard_format.title} files, found only {others} files. "
            f"Tokenize it with 'output.formats: [{wanted}]'."
        )
    files = [manifest.shard_files(shard)[shard_format.name] for shard in shards]
    present = {entry.name: entry.size_bytes for entry in filesystem.list_files(directory)}
    for shard, file in zip(shards, files, strict=True):
        path = filesystem.join(directory, file.file)
        if shard.records > file.bytes:
            raise DataError(
                f"{path}: expected {shard.records:,} records, found {file.bytes:,} bytes. {DAMAGED}"
            )
        if (size := present.get(file.file)) != file.bytes:
            found = "none" if size is None else f"one of {size:,}"
            raise DataError(
                f"{path}: expected a file of {file.bytes:,} bytes, found {found}. {DAMAGED}"
            )
    return files


def _read_fields(
    directory: str, manifest: Manifest, contract: TokenContract
) -> tuple[tuple[Field, ...], int | None]:
    """Reads the stored fields of a record and the number of classes from features.json."""
    path = filesystem.join(directory, FEATURES_FILE)
    content = json.loads(read_listed(directory, manifest, FEATURES_FILE))
    fields: list[Field] = []
    num_classes = None
    try:
        for name, feature in content["featuresDict"]["features"].items():
            match feature:
                case _ if name == "tokens":
                    fields.append(_token_field(contract))
                case {"text": _}:
                    fields.append(Field(name, "bytes", None))
                case {"classLabel": {"numClasses": count}}:
                    fields.append(Field(name, "int64"))
                    if name == "label":
                        num_classes = int(count)
                case {"tensor": {"dtype": dtype, "shape": {"dimensions": [count]}}}:
                    fields.append(Field(name, _kind(dtype), int(count)))
                case {"tensor": {"dtype": dtype}}:
                    fields.append(Field(name, _kind(dtype)))
                case _:
                    raise ValueError(f"{name} of an unknown type")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected the features of a token dataset, got: {error}. {DAMAGED}"
        ) from error
    return tuple(fields), num_classes


def _token_field(contract: TokenContract) -> Field:
    if contract.dtype == "int64_list":
        return Field("tokens", "int64", contract.tokens_per_image)
    if contract.buckets:
        return Field("tokens", "bytes", None)
    return Field("tokens", "bytes", contract.tokens_per_image * np.dtype(contract.dtype).itemsize)


def _kind(dtype: str) -> Literal["float32", "int64"]:
    return "float32" if dtype.startswith("float") else "int64"

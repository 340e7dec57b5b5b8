"""A finished dataset, looked at before its first record is read."""

import dataclasses
import json
import os
from typing import Any, Literal

import numpy as np

from fsq.dataset.argument_checks import check_directory
from fsq.dataset.example.decoder import Field
from fsq.dataset.formats import FileFormat
from fsq.dataset.manifest import files_of_shard, read_listed, read_manifest
from fsq.errors import DataError, RequestError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, TokenContract
from fsq.spec.serialization import parse_contract
from fsq.storage import filesystem

FEATURES_FILE = "features.json"
DAMAGED = "The dataset is damaged; tokenize it again."


@dataclasses.dataclass(frozen=True)
class OpenedDataset:
    """What has to be known of a dataset to read it.

    Attributes:
      directory: Where it is.
      contract: What its tokens mean.
      fields: What each record holds.
      num_classes: How many classes `label` has, if it is one of named classes.
      views: Of each image, in the order of the config.
      paths: The shards.
      sizes_bytes: Of each of them.
      records: Of each of them.
      sha256: Of the manifest: another one is another dataset.
    """

    directory: str
    contract: TokenContract
    fields: tuple[Field, ...]
    num_classes: int | None
    views: tuple[str, ...]
    paths: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    records: tuple[int, ...]
    sha256: str

    @property
    def names(self) -> list[str]:
        """Names of the features that are read."""
        return [field.name for field in self.fields]

    def tokens_of(self, stored: Any, where: str) -> np.ndarray:
        """Makes tokens of a parsed field, of the smallest unsigned type, [..., tokens_per_image].

        Raises:
          DataError: They are not those of this vocabulary.
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

    @property
    def vocab_size(self) -> int:
        """How many tokens there are: the product of the levels."""
        return self.contract.vocab_size


def open_dataset(
    directory: str, split: str | None = None, *, file_format: FileFormat = "tfrecord"
) -> OpenedDataset:
    """Checks all of a dataset that can be checked without reading records.

    Args:
      directory: The dataset.
      split: Its split, None for whichever it is.
      file_format: Which of its files are to be read.

    Raises:
      RequestError: It is not a finished dataset, or has not what is asked for.
      DataError: It is damaged, or has a format that this version does not read.
    """
    manifest = read_manifest(directory)
    if split not in (None, manifest["split"]):
        raise RequestError(
            f"{directory}: expected split {split!r}, found {manifest['split']!r}. "
            "Name that, or read another directory."
        )
    path = filesystem.join(directory, CONTRACT_FILE)
    contract = _check_contract(read_listed(directory, manifest, CONTRACT_FILE), manifest, path)
    if not manifest["records"]:
        raise RequestError(f"{directory}: expected at least one record, found an empty split.")
    files = [_file_of(directory, shard, file_format) for shard in manifest["shards"]]
    present = {entry.name: entry.size_bytes for entry in filesystem.list_files(directory)}
    for shard, file in zip(manifest["shards"], files, strict=True):
        if shard["records"] > file["bytes"]:
            raise DataError(
                f"{filesystem.join(directory, file['file'])}: expected {shard['records']:,} "
                f"records, found {file['bytes']:,} bytes. {DAMAGED}"
            )
        if (found := present.get(file["file"])) != file["bytes"]:
            size = "none" if found is None else f"one of {found:,}"
            raise DataError(
                f"{filesystem.join(directory, file['file'])}: expected a file of "
                f"{file['bytes']:,} bytes, found {size}. {DAMAGED}"
            )
    fields, num_classes = _read_fields(directory, manifest, contract)
    return OpenedDataset(
        directory=directory,
        contract=contract,
        fields=fields,
        num_classes=num_classes,
        views=tuple(manifest["views"]),
        paths=tuple(filesystem.join(directory, file["file"]) for file in files),
        sizes_bytes=tuple(file["bytes"] for file in files),
        records=tuple(shard["records"] for shard in manifest["shards"]),
        sha256=manifest["sha256"],
    )


def unreadable(path: str, error: OSError) -> DataError:
    """What to say of a shard that was there when the dataset was opened."""
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


def _check_contract(data: bytes, manifest: dict[str, Any], path: str) -> TokenContract:
    contract = parse_contract(data, path)
    tokenizer = manifest["fingerprint"]["fields"].get("tokenizer")
    expected = tokenizer.get("vocab_size") if isinstance(tokenizer, dict) else None
    if expected != contract.vocab_size:
        raise DataError(
            f"{path}: expected the vocabulary of the manifest, {expected} codes, "
            f"got {contract.vocab_size}. {DAMAGED}"
        )
    if contract.dtype is None:
        raise DataError(f"{path}: expected the type that tokens are stored in, got none. {DAMAGED}")
    return contract


def _file_of(directory: str, shard: dict[str, Any], file_format: FileFormat) -> dict[str, Any]:
    if file_format == "tfrecord":
        return shard
    *_, twin = files_of_shard(shard)
    if twin is shard:
        raise RequestError(
            f"{directory}: expected ArrayRecord files, found TFRecords alone. Tokenize it with "
            "'output.formats: [tfrecord, array_record]'."
        )
    return twin


def _read_fields(
    directory: str, manifest: dict[str, Any], contract: TokenContract
) -> tuple[tuple[Field, ...], int | None]:
    """Reads what a record holds, as it is stored, and the number of classes."""
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
                    raise ValueError(f"{name}, which is none of its kinds")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected the features of a dataset of tokens, got: {error}. {DAMAGED}"
        ) from error
    return tuple(fields), num_classes


def _token_field(contract: TokenContract) -> Field:
    if contract.dtype == "int64_list":
        return Field("tokens", "int64", contract.tokens_per_image)
    return Field("tokens", "bytes", contract.tokens_per_image * np.dtype(contract.dtype).itemsize)


def _kind(dtype: str) -> Literal["float32", "int64"]:
    return "float32" if dtype.startswith("float") else "int64"

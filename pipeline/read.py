"""How a prior reads the tokens."""

import json
from typing import Any

import numpy as np

from fsq import lattice
from fsq.contract import CONTRACT_FILE, TokenContract
from fsq.errors import DataError
from fsq.saved import parse_contract
from pipeline import storage
from pipeline.manifest import read_manifest


def token_dataset(directory: str, *, batch_size: int) -> Any:
    """Reads a finished dataset as batches.

    Args:
      directory: The dataset.
      batch_size: Records per batch; the last batch may be smaller.

    Returns:
      A tf.data.Dataset of dicts, in the order of the shards: 'tokens' int32
      (int64 above 2**31 codes) [B, rows * columns]; 'key', 'view' string [B];
      'crop' int64 [B, 4]; 'flip' int64 [B]; and what the job carried, [B].

    Raises:
      RequestError: The directory is not a finished dataset.
      DataError: It has a format that this version does not read.
    """
    import tensorflow as tf

    manifest = read_manifest(directory)
    contract = read_contract(directory)
    features = {
        name: tf.io.FixedLenFeature(shape, getattr(tf, dtype))
        for name, (shape, dtype) in example_features(directory, contract).items()
    }
    token_dtype = getattr(tf, lattice.token_dtype(contract.vocab_size))

    def parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, features)
        if contract.dtype != "int64_list":
            stored = getattr(tf, str(contract.dtype))
            parsed["tokens"] = tf.io.decode_raw(
                parsed["tokens"], stored, fixed_length=None, little_endian=True
            )
            parsed["tokens"] = tf.ensure_shape(parsed["tokens"], [None, contract.tokens_per_image])
        parsed["tokens"] = tf.cast(parsed["tokens"], token_dtype)
        return parsed

    files = [storage.join(directory, shard["file"]) for shard in manifest["shards"]]
    return tf.data.TFRecordDataset(files).batch(batch_size).map(parse).prefetch(2)


def read_contract(directory: str) -> TokenContract:
    """Reads the token contract of a dataset."""
    path = storage.join(directory, CONTRACT_FILE)
    try:
        return parse_contract(storage.read(path), path)
    except OSError as error:
        raise DataError(f"{path}: expected the token contract, got: {error.strerror}.") from error


def example_features(
    directory: str, contract: TokenContract
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns shape and type of every field of a record, as tf.train.Example stores them."""
    content = json.loads(storage.read(storage.join(directory, "features.json")))
    fields: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, feature in content["featuresDict"]["features"].items():
        match feature:
            case {"text": _}:
                fields[name] = ((), "string")
            case {"tensor": {"dtype": dtype}} if dtype.startswith("float"):
                fields[name] = ((), "float32")
            case _:
                fields[name] = ((), "int64")
    fields["crop"] = ((4,), "int64")
    if contract.dtype == "int64_list":
        fields["tokens"] = ((contract.tokens_per_image,), "int64")
    else:
        fields["tokens"] = ((), "string")
    return fields


def tokens_of(feature: Any, contract: TokenContract) -> np.ndarray:
    """Returns the tokens of one parsed tf.train.Example's feature map, int64 [N]."""
    if contract.dtype == "int64_list":
        return np.array(feature["tokens"].int64_list.value, np.int64)
    (data,) = feature["tokens"].bytes_list.value
    return np.frombuffer(data, np.dtype(str(contract.dtype)).newbyteorder("<")).astype(np.int64)

"""Reads the tokens that a contender wrote, from .npy, Parquet or TFRecord files.

A record is a key that ends in the image's number, and the image's tokens.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Tokens = dict[int, np.ndarray]


def read_tokens(directory: Path) -> Tokens:
    """Reads all records below a directory.

    Returns:
      The tokens of each image by its number, integers [rows * columns].

    Raises:
      ValueError: An image has two records.
    """
    found: Tokens = {}
    for key, tokens in _records(directory):
        number = number_of(key)
        if number in found:
            raise ValueError(f"{directory}: expected one record of image {number}, got two.")
        found[number] = tokens
    return found


def number_of(key: str) -> int:
    """Returns the number at the end of an image's key.

    >>> number_of("/somewhere/images/000017.jpg")
    17
    """
    match = re.search(r"(\d+)(\.\w+)?$", key)
    if match is None:
        raise ValueError(f"key: expected a key that ends in a number, got {key!r}.")
    return int(match[1])


def share_equal(tokens: Tokens, ours: Tokens) -> float:
    """Returns the share of a contender's tokens that equal ours.

    >>> share_equal({0: np.array([1, 2])}, {0: np.array([1, 3]), 1: np.array([4, 5])})
    0.5
    """
    equal = sum(int((row == ours[number]).sum()) for number, row in tokens.items())
    return equal / sum(row.size for row in tokens.values())


def _records(directory: Path) -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if path.name.endswith(".npy"):
            yield path.stem, np.load(path).reshape(-1)
        elif path.name.endswith(".parquet"):
            yield from _read_parquet(path)
        elif ".tfrecord" in path.name:
            yield from _read_tfrecord(path)


def _read_parquet(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["key", "tokens"])
    keys, tokens = table["key"].to_pylist(), table["tokens"].to_pylist()
    for key, data in zip(keys, tokens, strict=True):
        yield key, np.frombuffer(data, "<u2")


def _read_tfrecord(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import tensorflow as tf

    for data in tf.data.TFRecordDataset(str(path)):
        feature = tf.train.Example.FromString(data.numpy()).features.feature
        key = feature["key"].bytes_list.value[0].decode()
        tokens = feature["tokens"]
        if tokens.HasField("int64_list"):
            yield key, np.array(tokens.int64_list.value)
        else:
            yield key, np.frombuffer(tokens.bytes_list.value[0], "<u2")

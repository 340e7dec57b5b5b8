"""Argument checks of the dataset readers: integers, flags, indices, shards and paths."""

import operator
import os
from typing import SupportsIndex

import numpy as np

from fsq.errors import RequestError

_MOST = 2**63 - 1


def _to_int(value: SupportsIndex) -> int:
    if isinstance(value, bool):
        raise TypeError("a truth value is not a number")
    return operator.index(value)


def check_flag(name: str, value: object) -> bool:
    """Returns a truth value, NumPy's too; of others, Python takes 'no' for true.

    Raises:
      RequestError: The value is neither True nor False.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise RequestError(f"{name}: expected True or False, got {value!r}. Pass one of them.")


def check_whole(name: str, value: SupportsIndex, *, least: int | None = None) -> int:
    """Returns an integer, NumPy's too, as a Python int.

    Fractions are refused here because an array would later truncate them silently.

    Raises:
      RequestError: The value is not an integer, or is below `least`.
    """
    try:
        number = _to_int(value)
    except TypeError as error:
        raise RequestError(
            f"{name}: expected an integer, got {value!r}. Pass an integer."
        ) from error
    if not -_MOST <= number <= _MOST:
        raise RequestError(f"{name}: expected an integer that fits in int64, got {number:,}.")
    if least is not None and number < least:
        raise RequestError(f"{name}: expected at least {least}, got {number}. Raise it.")
    return number


def check_index(where: str, number: SupportsIndex, count: int) -> int:
    """Returns an index into `count` elements, NumPy's or from the end too, as 0 to count - 1.

    Raises:
      RequestError: It is not an integer, but a slice, a fraction, an array.
      IndexError: There is no such element.
    """
    try:
        index = _to_int(number)
    except TypeError as error:
        raise RequestError(
            f"{where}: expected an integer as index, got {number!r}. Read one element at a time."
        ) from error
    if not -count <= index < count:
        raise IndexError(f"{where}: expected an index from {-count} to {count - 1}, got {index}.")
    return index % count


def check_shard(shard: tuple[SupportsIndex, SupportsIndex]) -> tuple[int, int]:
    """Returns (index, count) as Python ints.

    Raises:
      RequestError: It is not a pair of integers with 0 <= index < count.
    """
    try:
        if isinstance(shard, set | frozenset | dict):
            raise TypeError("a pair without an order")
        index, count = map(_to_int, shard)
        if 0 <= index < count:
            return index, count
    except (TypeError, ValueError):
        pass
    raise RequestError(
        f"shard: expected (index, count) with 0 <= index < count, got {shard!r}. Count from 0."
    )


def check_directory(directory: str | os.PathLike[str]) -> str:
    """Returns a path, pathlib's too, as a string.

    Raises:
      RequestError: The value is not a path, or is empty.
    """
    try:
        path = os.fspath(directory)
    except TypeError:
        path = ""
    if path and isinstance(path, str):
        return path
    raise RequestError(f"directory: expected a path, got {directory!r}. Pass a dataset's path.")

"""What a reader is asked for: whole numbers and paths, or one line that says which was none."""

import operator
import os
from typing import SupportsIndex

from fsq.errors import RequestError

_MOST = 2**63 - 1


def check_whole(name: str, value: SupportsIndex, *, least: int | None = None) -> int:
    """Returns a whole number, NumPy's too, as one of Python.

    Half a token would be rounded by some array later on, and nobody would hear of it.

    Raises:
      RequestError: It is none, or below the least.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise RequestError(f"{name}: expected a whole number, got {value!r}. Give one.") from error
    if not -_MOST <= number <= _MOST:
        raise RequestError(f"{name}: expected a number that an int64 can hold, got {number:,}.")
    if least is not None and number < least:
        raise RequestError(f"{name}: expected at least {least}, got {number}. Raise it.")
    return number


def check_shard(shard: tuple[SupportsIndex, SupportsIndex]) -> tuple[int, int]:
    """Returns (index, count) of a share.

    Raises:
      RequestError: It is no pair of whole numbers with 0 <= index < count.
    """
    try:
        index, count = map(operator.index, shard)
        if 0 <= index < count:
            return index, count
    except (TypeError, ValueError):
        pass
    raise RequestError(
        f"shard: expected (index, count) with 0 <= index < count, got {shard!r}. Count from 0."
    )


def check_directory(directory: str | os.PathLike[str]) -> str:
    """Returns a path, pathlib's too, as text.

    Raises:
      RequestError: It is none.
    """
    try:
        path = os.fspath(directory)
    except TypeError:
        path = ""
    if path and isinstance(path, str):
        return path
    raise RequestError(f"directory: expected a path, got {directory!r}. Give that of a dataset.")

"""Cursor pool: files that can only be read forward stay open where a unit ended.

A unit that begins where an earlier one of the same file ended goes on from there, so that what
lies before it is not read again for every unit.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol, TypeVar, cast

MOST_OPEN = 16


class Cursor(Protocol):
    """A place in an open file."""

    def distance(self, record: int) -> int:
        """Returns how many records have to be read to get to a record."""

    def close(self) -> None:
        """Closes the file."""


AnyCursor = TypeVar("AnyCursor", bound=Cursor)

_lock = threading.Lock()
_idle: list[tuple[Hashable, Cursor]] = []


@contextlib.contextmanager
def borrowed_cursor(
    key: Hashable, record: int, open_cursor: Callable[[], AnyCursor]
) -> Iterator[AnyCursor]:
    """Yields the cursor of a file that is nearest before a record; it is kept for others.

    Args:
      key: What the cursor reads; it changes when the file does.
      record: The record that will be read first.
      open_cursor: Opens the file at its begin.
    """
    # Not one of the parent process, whose position in the file it would share.
    key = (os.getpid(), key)
    cursor = cast(AnyCursor | None, _take(key, record)) or open_cursor()
    whole = False
    try:
        yield cursor
        whole = True
    finally:
        if whole:
            _keep(key, cursor)
        else:
            cursor.close()


def _take(key: Hashable, record: int) -> Cursor | None:
    with _lock:
        fitting = [entry for entry in _idle if entry[0] == key]
        if not fitting:
            return None
        best = min(fitting, key=lambda entry: entry[1].distance(record))
        _idle.remove(best)
        return best[1]


def _keep(key: Hashable, cursor: Cursor) -> None:
    with _lock:
        _idle.append((key, cursor))
        old = _idle[:-MOST_OPEN]
        del _idle[:-MOST_OPEN]
    for (process, _), other in cast(list[tuple[tuple[int, Hashable], Cursor]], old):
        if process == os.getpid():
            other.close()

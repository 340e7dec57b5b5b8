"""Rejects of a loader: counted once each, and refused when there are too many."""

import threading
from collections.abc import Callable, Iterator

from fsq.errors import DataError
from pipeline.core.records import Reject

OnReject = Callable[[Reject], None]


def ignore_reject(reject: Reject) -> None:
    """Does nothing: rejects are counted all the same."""


class Rejects:
    """The images that were left out so far, in the order of the epoch.

    Args:
      most: How many there may be, without those that a filter leaves out; None if none ever may.
      on_reject: Called once for each, by the thread that found it.
    """

    def __init__(self, most: int | None, on_reject: OnReject = ignore_reject):
        self._most, self._on_reject = most, on_reject
        self._found: dict[int, Reject] = {}
        self._count = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Reject]:
        with self._lock:
            found = sorted(self._found.items())
        return iter([reject for _, reject in found])

    def add(self, position: int, reject: Reject) -> None:
        """Counts a reject, unless that of this position in the epoch was counted before.

        Raises:
          DataError: There are too many.
        """
        with self._lock:
            is_new = position not in self._found
            self._found[position] = reject
            # What a filter leaves out is left out on purpose.
            self._count += is_new and reject.stage != "filter"
            count = self._count
        if is_new:
            self._on_reject(reject)
        if count <= (self._most or 0):
            return
        if self._most is None:
            raise DataError(f"{reject.key}: {reject.reason}. Remove it from the source.")
        raise DataError(
            f"{reject.key}: {reject.reason}. It is number {count:,} of the rejects, of which "
            f"{self._most:,} may be: remove them from the source, or raise max_reject_fraction."
        )

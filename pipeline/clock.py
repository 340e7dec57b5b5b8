"""Where the time of a unit goes."""

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Adds up the time between stops, by stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] += now - self._last
        self._last = now

    def timed(self, records: Iterator[T]) -> Iterator[T]:
        """Passes records on; the time they take to come is that of the stage 'read'."""
        for record in records:
            self.stop("read")
            yield record
        self.stop("read")

    def seconds(self) -> dict[str, float]:
        return {stage: round(seconds, 6) for stage, seconds in self._seconds.items()}

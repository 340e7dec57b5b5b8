"""Where the time of a unit goes."""

import time
from collections import defaultdict


class Clock:
    """Adds up the time between stops, by stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def stop(self, stage: str) -> float:
        """Adds the time since the last stop to a stage; returns all of that stage."""
        now = time.perf_counter()
        self._seconds[stage] += now - self._last
        self._last = now
        return self._seconds[stage]

    def seconds(self) -> dict[str, float]:
        """Returns the seconds spent in each stage so far."""
        return {stage: round(seconds, 6) for stage, seconds in self._seconds.items()}

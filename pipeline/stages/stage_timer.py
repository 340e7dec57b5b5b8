"""Stage timer: measures the time of each stage of a unit."""

import time
from collections import defaultdict


class StageTimer:
    """Adds up the time between laps, by stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> float:
        """Adds the time since the last lap to a stage; returns the stage's total seconds."""
        now = time.perf_counter()
        self._seconds[stage] += now - self._last
        self._last = now
        return self._seconds[stage]

    def seconds(self) -> dict[str, float]:
        """Returns the total seconds by stage."""
        return {stage: round(seconds, 6) for stage, seconds in self._seconds.items()}

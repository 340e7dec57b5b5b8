"""Stall timeout: a read that hangs is retried a few times, then given up.

A read that hangs in a system call cannot be interrupted, so the work runs in a
thread that can be abandoned, while the caller monitors its heartbeat.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from fsq.errors import DataError

MAX_POLL_SECONDS = 0.2
THREAD_NAME = "stall-timeout"

T = TypeVar("T")


class StalledError(DataError):
    """A read took longer than the timeout in every try.

    Attributes:
      count: Number of records read before it, in the best try.
    """

    def __init__(self, message: str, count: int):
        super().__init__(message)
        self.count = count


class _CancelledError(BaseException):
    """Ends the thread of a cancelled try."""


class Heartbeat:
    """Measures how long the current read of one try takes.

    The reading thread calls `start_read`, `end_read` and `idle`; each of them ends
    that thread once the try is cancelled.

    Attributes:
      count: Number of records read.
      on_cancel: Called when the try is cancelled, by the waiting thread.
    """

    def __init__(self) -> None:
        self.count = 0
        self.on_cancel: Callable[[], None] = lambda: None
        self._read_started_at = math.inf
        self._cancelled = False

    def start_read(self) -> None:
        """Starts the clock: the next record is being read."""
        if self._cancelled:
            raise _CancelledError
        self._read_started_at = time.monotonic()

    def end_read(self) -> None:
        """Stops the clock: the record has been read."""
        self.idle()
        self.count += 1

    def idle(self) -> None:
        """Stops the clock: nothing is being read."""
        if self._cancelled:
            raise _CancelledError
        self._read_started_at = math.inf

    def read_seconds(self) -> float:
        """Returns the seconds since the current read started; negative infinity without one."""
        return time.monotonic() - self._read_started_at

    def cancel(self) -> None:
        """Ends the reading thread at its next heartbeat, if it ever gets there."""
        self._cancelled = True
        self.on_cancel()


def run_with_stall_timeout(
    work: Callable[[Heartbeat], T],
    *,
    timeout_seconds: float,
    tries: int,
    where: str,
    interrupted: Callable[[], bool] = lambda: False,
) -> T:
    """Runs work in a thread; starts it over in a new thread if a read stalls.

    Args:
      work: Calls `start_read` before each read, `end_read` or `idle` after it.
      timeout_seconds: Timeout of one read.
      tries: Maximum number of tries.
      where: Name of the input, for the message.
      interrupted: Whether the result is no longer wanted.

    Raises:
      StalledError: A read stalled in every try.
      DataError: It was interrupted.
    """
    count = 0
    for _ in range(tries):
        heartbeat = Heartbeat()
        outcome: list[T] = []
        failure: list[BaseException] = []
        done = threading.Event()
        arguments = (work, heartbeat, outcome, failure, done)
        threading.Thread(target=_run, args=arguments, daemon=True, name=THREAD_NAME).start()
        while not done.wait(min(timeout_seconds / 4, MAX_POLL_SECONDS)):
            if interrupted():
                heartbeat.cancel()
                raise DataError(f"{where}: interrupted.")
            if heartbeat.read_seconds() > timeout_seconds:
                heartbeat.cancel()
                break
        else:
            if failure:
                raise failure[0]
            return outcome[0]
        count = max(count, heartbeat.count)
    raise StalledError(f"{where}: {stall_reason(timeout_seconds, tries)}.", count)


def with_heartbeat(records: Iterator[T], heartbeat: Heartbeat) -> Iterator[T]:
    """Yields the records, and reports the start and end of each read to the heartbeat."""
    while True:
        heartbeat.start_read()
        try:
            record = next(records)
        except StopIteration:
            heartbeat.idle()
            return
        heartbeat.end_read()
        yield record


def stall_reason(timeout_seconds: float, tries: int) -> str:
    """Returns the reject reason of a record whose read stalled in every try."""
    return f"expected to be read within {timeout_seconds:g} s, got nothing in {tries} tries"


def _run(
    work: Callable[[Heartbeat], T],
    heartbeat: Heartbeat,
    outcome: list[T],
    failure: list[BaseException],
    done: threading.Event,
) -> None:
    try:
        outcome.append(work(heartbeat))
    except _CancelledError:
        return
    except BaseException as error:
        failure.append(error)
    done.set()

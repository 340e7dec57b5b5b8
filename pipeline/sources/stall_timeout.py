"""Reads with a stall timeout: a read that hangs is tried again a few times, then given up.

A read that hangs in the system cannot be interrupted, so the work is done in a
thread that can be left behind, and whoever waits for it watches its heartbeat.
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
    """No read came back within the timeout, in any try.

    Attributes:
      count: How many records had been read before, in the best try.
    """

    def __init__(self, message: str, count: int):
        super().__init__(message)
        self.count = count


class _CancelledError(BaseException):
    """Ends the thread of a try that was given up."""


class Heartbeat:
    """Says how long the current read takes; belongs to one try.

    The thread that reads calls `start_read`, `end_read` and `idle`; each of
    them ends that thread once the try is cancelled.

    Attributes:
      count: How many records have been read.
      on_cancel: Called when the try is cancelled, by the thread that waits for it.
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
        """How long the current read has taken; negative infinity if there is none."""
        return time.monotonic() - self._read_started_at

    def cancel(self) -> None:
        """Ends the thread that reads at its next heartbeat, if it ever comes to that."""
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
    """Does work in a thread of its own; from its beginning in another one if a read stalls.

    Args:
      work: Calls `start_read` before it reads, `end_read` or `idle` after it.
      timeout_seconds: How long one read may take.
      tries: How often to begin.
      where: What is read, for the message.
      interrupted: Whether nobody wants the result any more.

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
    """Passes records on, and tells the heartbeat when each read starts and ends."""
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
    """Says why a record is refused whose read stalled in every try."""
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

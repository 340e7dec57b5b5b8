"""Reading with a time limit: a stalled disk or network is asked again, then given up.

A read that hangs in the system cannot be interrupted, so the work is done in a
thread that can be left behind, and whoever waits for it looks at the time.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from fsq.errors import DataError

LONGEST_LOOK_SECONDS = 1.0

T = TypeVar("T")


class StalledError(DataError):
    """Nothing came in time, though asked again and again.

    Attributes:
      count: How many records had come before.
    """

    def __init__(self, message: str, count: int):
        super().__init__(message)
        self.count = count


class _AbandonedError(BaseException):
    """Ends work that nobody waits for any more."""


class Heart:
    """Says when something was asked for; belongs to one try.

    Attributes:
      count: How many records have come.
      on_abandon: Called when the try is given up, by whoever waited for it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.on_abandon: Callable[[], None] = lambda: None
        self._asked_at = math.inf
        self._abandoned = False

    def ask(self) -> None:
        """Starts the clock: the next record is being read."""
        if self._abandoned:
            raise _AbandonedError
        self._asked_at = time.monotonic()

    def receive(self) -> None:
        """Stops the clock: it came."""
        if self._abandoned:
            raise _AbandonedError
        self._asked_at = math.inf
        self.count += 1

    def rest(self) -> None:
        """Stops the clock: there is no more to read."""
        if self._abandoned:
            raise _AbandonedError
        self._asked_at = math.inf

    def waited_seconds(self) -> float:
        """Returns the seconds since a record was asked for; -inf while none is awaited."""
        return time.monotonic() - self._asked_at

    def abandon(self) -> None:
        """Lets the work end at its next beat, if it ever comes to that."""
        self._abandoned = True
        self.on_abandon()


def patiently(
    work: Callable[[Heart], T],
    *,
    timeout_seconds: float,
    tries: int,
    where: str,
) -> T:
    """Does work in a thread of its own, from its begin again if it stalls.

    Args:
      work: Calls `ask` of its heart before it reads, `receive` after it.
      timeout_seconds: How long one record may take.
      tries: How often to begin.
      where: What is read, for the message.

    Raises:
      StalledError: Every try stalled.
    """
    count = 0
    for _ in range(tries):
        heart = Heart()
        outcome: list[T] = []
        failure: list[BaseException] = []
        done = threading.Event()
        arguments = (work, heart, outcome, failure, done)
        threading.Thread(target=_run, args=arguments, daemon=True, name="patience").start()
        while not done.wait(min(timeout_seconds / 4, LONGEST_LOOK_SECONDS)):
            if heart.waited_seconds() > timeout_seconds:
                heart.abandon()
                break
        else:
            if failure:
                raise failure[0]
            return outcome[0]
        count = max(count, heart.count)
    raise StalledError(f"{where}: {stall_reason(timeout_seconds, tries)}.", count)


def heard(records: Iterator[T], heart: Heart) -> Iterator[T]:
    """Passes records on, and tells a heart of each."""
    while True:
        heart.ask()
        try:
            record = next(records)
        except StopIteration:
            heart.rest()
            return
        heart.receive()
        yield record


def stall_reason(timeout_seconds: float, tries: int) -> str:
    """Says why a record is refused that does not come."""
    return f"expected to be read within {timeout_seconds:g} s, got nothing in {tries} tries"


def _run(
    work: Callable[[Heart], T],
    heart: Heart,
    outcome: list[T],
    failure: list[BaseException],
    done: threading.Event,
) -> None:
    try:
        outcome.append(work(heart))
    except _AbandonedError:
        return
    except BaseException as error:
        failure.append(error)
    done.set()

"""Interleaving: threads that go on one step at a time, in every order that a bound allows.

A race is found by trying the orders one after the other, not by luck. Time is virtual: it
passes only when all threads wait for it, so a step takes no time and a pause takes its own.
"""

import threading
from collections.abc import Callable, Iterator


class Actor:
    """A thread of a schedule."""

    def __init__(self, body: Callable[[], None], schedule: "Schedule", wake: float):
        self.wake = wake
        self.done = False
        self.error: BaseException | None = None
        self.permit = threading.Semaphore(0)
        self._body, self._schedule = body, schedule
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._schedule.actors[threading.get_ident()] = self
        self.permit.acquire()
        try:
            self._body()
        except BaseException as error:
            self.error = error
        self.done = True
        self._schedule.arrived.release()


class Schedule:
    """One order of the steps of some threads.

    Attributes:
      now: The virtual time, in seconds.
    """

    def __init__(self, choices: list[int], switches: int):
        self.now = 0.0
        self.actors: dict[int, Actor] = {}
        self.arrived = threading.Semaphore(0)
        self.options: list[int] = []  # how many choices there were at each step
        self.choices = choices
        self._switches = switches
        self._all: list[Actor] = []

    def start(self, body: Callable[[], None], at: float = 0.0) -> Actor:
        """Adds a thread; it begins at a time."""
        actor = Actor(body, self, max(at, self.now))
        self._all.append(actor)
        return actor

    def current(self) -> Actor | None:
        """Returns the thread that calls, if it is one of the schedule."""
        return self.actors.get(threading.get_ident())

    def step(self, pause: float = 0.0) -> None:
        """Ends a step of the thread that calls: others may go on, and the pause passes."""
        if (actor := self.current()) is not None:
            actor.wake = self.now + pause
            self.arrived.release()
            actor.permit.acquire()

    def run(self) -> None:
        """Runs all threads to their end; raises what one of them raised."""
        last: Actor | None = None
        while alive := [actor for actor in self._all if not actor.done]:
            self.now = max(self.now, min(actor.wake for actor in alive))
            ready = [actor for actor in alive if actor.wake <= self.now]
            last = self._choose(ready, last)
            last.permit.release()
            assert self.arrived.acquire(timeout=60), "a thread hangs between two steps"
        for actor in self._all:
            if actor.error is not None:
                raise actor.error

    def _choose(self, ready: list[Actor], last: Actor | None) -> Actor:
        # The first in the list is what happens without a switch.
        ready.sort(key=lambda actor: (actor is not last, actor.wake))
        place = len(self.options)
        self.options.append(len(ready) if self._switches else 1)
        chosen = self.choices[place] if place < len(self.choices) else 0
        self._switches -= chosen > 0
        return ready[chosen]


def interleavings(switches: int) -> Iterator[Schedule]:
    """Yields schedules in every order with at most so many switches away from the usual one.

    In the usual one a thread goes on until it pauses. The test starts its threads and runs each
    schedule before it takes the next.
    """
    choices: list[int] = []
    while True:
        schedule = Schedule(choices, switches)
        yield schedule
        taken = [*choices, *[0] * (len(schedule.options) - len(choices))]
        while taken and taken[-1] + 1 >= schedule.options[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        choices = [*taken[:-1], taken[-1] + 1]

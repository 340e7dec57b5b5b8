"""Threads of one process take turns at what holds the interpreter."""

import contextlib
import threading
from collections.abc import Iterator

SECONDS_TO_WAIT_FOR_TURN = 0.05
# A decoder is outside of the interpreter for most of a longer time.
SECONDS_OF_A_SMALL_IMAGE = 0.0005


class Turn:
    """Lets one thread read, decode and serialize while the others encode.

    Decoders let go of the interpreter for some microseconds per small image;
    threads that all decode small images then pass it to and fro, and lose a
    third of their speed (measured at 28 x 28). Large images do not need it, and
    where they are decoded nobody waits. It is a courtesy, no lock: a thread
    whose turn does not come soon, because another waits for a disk, goes ahead.
    Nothing depends on it but speed.
    """

    _only_one = threading.Lock()
    _images_are_small = True

    def __init__(self) -> None:
        self._held = False
        self._own = threading.Lock()

    def __enter__(self) -> "Turn":
        wanted = Turn._images_are_small
        held = wanted and self._only_one.acquire(timeout=SECONDS_TO_WAIT_FOR_TURN)
        with self._own:
            self._held = held
        return self

    def __exit__(self, *exc: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Lets the next one go ahead, also in the place of a thread that hangs."""
        with self._own:
            if self._held:
                self._only_one.release()
            self._held = False

    def note(self, seconds_per_image: float) -> None:
        """Learns how long images take to decode in this process."""
        Turn._images_are_small = seconds_per_image < SECONDS_OF_A_SMALL_IMAGE
        if not Turn._images_are_small:
            self.give_up()

    @contextlib.contextmanager
    def passed_on(self) -> Iterator[None]:
        """Gives the turn away inside, and takes one again afterwards."""
        self.give_up()
        try:
            yield
        finally:
            self.__enter__()

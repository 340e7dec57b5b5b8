"""GIL limiter: one thread at a time does what holds the interpreter, for speed alone."""

import contextlib
import threading
from collections.abc import Iterator

MAX_WAIT_SECONDS = 0.05
# A decoder is outside of the interpreter for most of a longer time.
SMALL_IMAGE_SECONDS = 0.0005


class GilLimiter:
    """Lets one thread read, decode and serialize while the others encode.

    Decoders release the GIL for some microseconds per small image; threads that all
    decode small images then pass it to and fro, and lose a third of their speed
    (measured at 28 x 28). Large images do not need it, and where they are decoded
    nobody waits. It is no lock: a thread that has waited for `MAX_WAIT_SECONDS`,
    because another waits for a disk, goes ahead. No result depends on it.
    """

    _only_one = threading.Lock()
    _images_are_small = True

    def __init__(self) -> None:
        self._held = False
        self._own = threading.Lock()

    def __enter__(self) -> "GilLimiter":
        wanted = GilLimiter._images_are_small
        held = wanted and self._only_one.acquire(timeout=MAX_WAIT_SECONDS)
        with self._own:
            self._held = held
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Lets the next thread go ahead, also in the place of one that hangs."""
        with self._own:
            if self._held:
                self._only_one.release()
            self._held = False

    def observe(self, seconds_per_image: float) -> None:
        """Learns how long images take to decode in this process."""
        GilLimiter._images_are_small = seconds_per_image < SMALL_IMAGE_SECONDS
        if not GilLimiter._images_are_small:
            self.release()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Releases it inside the block, and waits for it again afterwards."""
        self.release()
        try:
            yield
        finally:
            self.__enter__()

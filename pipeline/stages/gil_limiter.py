"""GIL limiter: lets one thread at a time run Python code, which is faster for small images."""

import contextlib
import threading
from collections.abc import Iterator

MAX_WAIT_SECONDS = 0.05
# Decoding a larger image releases the GIL for most of its time.
SMALL_IMAGE_SECONDS = 0.0005


class GilLimiter:
    """Lets one thread read, decode and serialize while the others encode.

    Decoders release the GIL for a few microseconds per small image; threads that all
    decode small images hand it back and forth, and lose a third of their speed
    (measured at 28 x 28). For large images the limiter is off. It is no mutex: a
    thread proceeds after `MAX_WAIT_SECONDS`, because another may wait for a disk. No
    result depends on it.
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
        """Lets the next thread proceed; another thread may call it for one that hangs."""
        with self._own:
            if self._held:
                self._only_one.release()
            self._held = False

    def observe(self, seconds_per_image: float) -> None:
        """Switches the limiter on or off by the decoding time of images."""
        GilLimiter._images_are_small = seconds_per_image < SMALL_IMAGE_SECONDS
        if not GilLimiter._images_are_small:
            self.release()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Releases the limiter inside the block, and acquires it again afterwards."""
        self.release()
        try:
            yield
        finally:
            self.__enter__()

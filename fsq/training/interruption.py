"""Interruption: Ctrl-C and SIGTERM end a training run between two steps, not within one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # from a terminal; from a scheduler such as Slurm


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Holds the first SIGINT or SIGTERM back; yields a function that says if there was one.

    The next one raises a KeyboardInterrupt at once, and so does the end of the block if the
    function was not asked after the signal. In another thread than the main one signals
    cannot be held back, and the function returns False.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def hold(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    # A signal that is ignored, as by `nohup` or in the background, stays so.
    taken = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, hold) for number in taken}
    asked = False

    def is_interrupted() -> bool:
        nonlocal asked
        asked = bool(seen)
        return asked

    try:
        yield is_interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen and not asked:  # it came after the last question
        raise KeyboardInterrupt

"""Read-ahead: images that are files of their own in a store are asked for before their turn."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fsq.storage import filesystem

# Requests at a time for each worker; they wait for the network, not for a core.
REQUESTS = 16

Item = TypeVar("Item")
Found = TypeVar("Found")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Found], *, place: str
) -> Iterator[Found]:
    """Yields what is read for each item, in their order.

    Args:
      items: What to read.
      read: Reads one; called in other threads if the place is in a store.
      place: Where they are; those on a disk are read one by one, when it is their turn.
    """
    if filesystem.is_local(place):
        yield from map(read, items)
        return
    threads = ThreadPoolExecutor(REQUESTS, thread_name_prefix="read-ahead")
    try:
        asked: deque[Future[Found]] = deque()
        for item in items:
            asked.append(threads.submit(read, item))
            if len(asked) > REQUESTS:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
    finally:
        # Not waited for: the reader may end because one of them hangs.
        threads.shutdown(wait=False, cancel_futures=True)

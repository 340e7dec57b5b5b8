"""A lease on a directory, where there are no locks that die with their process.

A file says who is at work and is renewed while that lasts; one that nobody
renews any more is taken over.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator

from fsq.storage import filesystem
from fsq.storage.lock_owner import describe_self, taken_error

SECONDS_BETWEEN_RENEWALS = 15.0
# An owner that misses this many renewals is dead.
RENEWALS_MISSED = 4


@contextlib.contextmanager
def hold_lease(directory: str, path: str) -> Iterator[None]:
    """Holds the lease on a directory; its file is gone afterwards.

    No file system here can create a file only if there is none, so two that come
    at the same time both write, and both look who wrote last.

    Args:
      directory: The directory, for the message.
      path: The file of the lease.

    Raises:
      RequestError: Another run holds it.
      OSError: It cannot be written.
    """
    mine = describe_self()
    _refuse_living(directory, path)
    _renew(path, mine)
    time.sleep(min(1.0, SECONDS_BETWEEN_RENEWALS / 10))
    if (owner := _read(path).get("owner", "")) != mine:
        raise taken_error(directory, owner)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(SECONDS_BETWEEN_RENEWALS):
            with contextlib.suppress(Exception):  # the job itself will notice a lost storage
                _renew(path, mine)

    keeper = threading.Thread(target=keep, daemon=True, name="lease")
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        filesystem.remove(path)


def _refuse_living(directory: str, path: str) -> None:
    """Watches a lease for as long as its owner may stay silent, by our own clock alone."""
    if not filesystem.exists(path):
        return
    before = _read(path)
    if not before and filesystem.is_local(path):
        return  # a lease appears there by a rename, whole: this was left by a lock
    deadline = time.monotonic() + SECONDS_BETWEEN_RENEWALS * RENEWALS_MISSED
    while time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_RENEWALS / 5)
        if not filesystem.exists(path):
            return
        if _read(path) != before:
            raise taken_error(directory, before.get("owner", ""))


def _renew(path: str, owner: str) -> None:
    filesystem.write(path, json.dumps({"owner": owner, "beat": secrets.token_hex(8)}).encode())


def _read(path: str) -> dict[str, str]:
    try:
        content = json.loads(filesystem.read(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

"""Lease on a directory, for storage without file locks that end with their process.

A file names the owner, who renews it regularly. A lease that is no longer renewed
is taken over.
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
    """Holds the lease on a directory, and removes its file afterwards.

    Such storage has no exclusive creation of files. So two runs that start at the
    same time both write the file, and the one that wrote last holds the lease.

    Args:
      directory: The directory, for the message.
      path: The file of the lease.

    Raises:
      RequestError: Another run holds the lease.
      OSError: The file cannot be written.
    """
    # Two jobs of one process, or of two containers, can have the same description.
    mine = {"owner": describe_self(), "id": secrets.token_hex(8)}
    _refuse_living(directory, path)
    _renew(path, mine)
    time.sleep(min(1.0, SECONDS_BETWEEN_RENEWALS / 10))
    if (found := _read(path)).get("id") != mine["id"]:
        raise taken_error(directory, found.get("owner", ""))
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(SECONDS_BETWEEN_RENEWALS):
            with contextlib.suppress(Exception):  # the job itself will notice lost storage
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
    """Waits as long as a live owner may take to renew the lease, by this host's clock alone."""
    if not filesystem.exists(path):
        return
    before = _read(path)
    if not before and filesystem.is_local(path):
        return  # written by a rename, a lease is never empty: a file lock left this
    deadline = time.monotonic() + SECONDS_BETWEEN_RENEWALS * RENEWALS_MISSED
    while time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_RENEWALS / 5)
        if not filesystem.exists(path):
            return
        if _read(path) != before:
            raise taken_error(directory, before.get("owner", ""))


def _renew(path: str, lease: dict[str, str]) -> None:
    filesystem.write(path, json.dumps({**lease, "beat": secrets.token_hex(8)}).encode())


def _read(path: str) -> dict[str, str]:
    try:
        content = json.loads(filesystem.read(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

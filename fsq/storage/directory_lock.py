"""One job per output directory at a time.

On a local disk the operating system keeps the lock and drops it with the
process, however that dies. Elsewhere a file says who is at work and is renewed
while that lasts; one that nobody renews any more is taken over.
"""

import contextlib
import errno
import fcntl
import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator

from fsq.errors import RequestError
from fsq.storage import filesystem

LOCK_FILE = ".lock"
SECONDS_BETWEEN_RENEWALS = 15.0
# An owner that misses this many renewals is dead.
RENEWALS_MISSED = 4


@contextlib.contextmanager
def locked(output: str) -> Iterator[None]:
    """Holds the lock of an output directory; its file is gone afterwards.

    Raises:
      RequestError: Another run holds it; the message names its process. Or the
        directory cannot be written.
    """
    hold = _hold_local if filesystem.is_local(output) else _hold_remote
    new = not filesystem.exists(output)
    with contextlib.ExitStack() as stack:
        try:
            filesystem.make_folder(output)
            stack.enter_context(hold(output, filesystem.join(output, LOCK_FILE)))
        except OSError as error:
            raise RequestError(
                f"{output}: expected a directory that can be written, "
                f"got: {error.strerror or error}. Choose another{filesystem.room_for(error)}."
            ) from error
        try:
            yield
        finally:
            stack.close()
            if new and filesystem.is_local(output):
                with contextlib.suppress(OSError):  # a job that never began leaves nothing
                    os.rmdir(output)


@contextlib.contextmanager
def _hold_local(output: str, path: str) -> Iterator[None]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 1000)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise OSError(error.errno, error.strerror, path) from error
            raise _taken(output, owner) from error
        with contextlib.suppress(FileNotFoundError):
            # An owner that just finished may have removed the very file that we opened.
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _describe_self().encode())
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            # The directory may have been removed, and made again by another run.
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                os.remove(path)
        os.close(descriptor)


@contextlib.contextmanager
def _hold_remote(output: str, path: str) -> Iterator[None]:
    """A lease: no file system here can create a file only if there is none."""
    mine = _describe_self()
    _refuse_living(output, path)
    _renew(path, mine)
    # Two that came at the same time both wrote; both now see who wrote last.
    time.sleep(min(1.0, SECONDS_BETWEEN_RENEWALS / 10))
    if (content := _read_lease(path)).get("owner") != mine:
        raise _taken(output, str(content.get("owner")).encode())
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


def _refuse_living(output: str, path: str) -> None:
    """Watches a lease for as long as its owner may stay silent, by our own clock alone."""
    if not filesystem.exists(path):
        return
    before = _read_lease(path)
    deadline = time.monotonic() + SECONDS_BETWEEN_RENEWALS * RENEWALS_MISSED
    while time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_RENEWALS / 5)
        if not filesystem.exists(path):
            return
        if _read_lease(path) != before:
            raise _taken(output, str(before.get("owner")).encode())


def _renew(path: str, owner: str) -> None:
    filesystem.write(path, json.dumps({"owner": owner, "beat": secrets.token_hex(8)}).encode())


def _read_lease(path: str) -> dict[str, str]:
    try:
        content = json.loads(filesystem.read(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe_self() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return f"process {os.getpid()} of {user} on {socket.gethostname()}, since {began}"


def _taken(output: str, owner: bytes) -> RequestError:
    name = owner.decode("utf-8", "replace") or "another process"
    return RequestError(
        f"{output}: expected no other run at work here, found {name}. "
        "Wait for it, stop it, or choose another directory."
    )

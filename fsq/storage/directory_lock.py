"""One job per output directory at a time.

On a local disk the operating system keeps the lock and drops it with the
process, however that dies. Elsewhere, and on a disk whose file system has no
locks, it is a lease.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

from filelock import FileLock, Timeout

from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.lease import hold_lease
from fsq.storage.lock_owner import describe_self, taken_error

LOCK_FILE = ".lock"
# Lustre without -o flock, NFS without a lock daemon, some FUSE.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(output: str) -> Iterator[None]:
    """Holds the lock of an output directory; its file is gone afterwards.

    Raises:
      RequestError: Another run holds it; the message names its process. Or the
        directory cannot be written.
    """
    new = not filesystem.exists(output)
    with contextlib.ExitStack() as stack:
        try:
            filesystem.make_folder(output)
            stack.enter_context(_hold(output, filesystem.join(output, LOCK_FILE)))
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


def _hold(output: str, path: str) -> AbstractContextManager[None]:
    if not filesystem.is_local(output):
        return hold_lease(output, path)
    descriptors: list[int] = []
    lock = FileLock(
        path,
        blocking=False,
        thread_local=False,
        fallback_to_soft=False,
        on_acquired=descriptors.append,
    )
    try:
        _acquire(lock, output)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return hold_lease(output, path)
    return _held(lock, descriptors[0])


def _acquire(lock: FileLock, output: str) -> None:
    while True:
        try:
            lock.acquire()
            return
        except Timeout:
            # An owner that just finished may have removed the very file that was opened.
            with contextlib.suppress(FileNotFoundError), open(lock.lock_file, "rb") as file:
                raise taken_error(output, file.read(1000).decode("utf-8", "replace")) from None


@contextlib.contextmanager
def _held(lock: FileLock, descriptor: int) -> Iterator[None]:
    """Says in the lock file who holds it; removes it, which `filelock` does not."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, describe_self().encode())
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            # The directory may have been removed, and made again by another run.
            if os.path.samestat(os.fstat(descriptor), os.stat(lock.lock_file)):
                os.remove(lock.lock_file)
        lock.release()

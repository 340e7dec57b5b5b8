"""Stopping a job from within: what is not begun yet is left, on whatever machine.

A full disk or too many rejects are no reason to encode for days more. Who
notices it says so in its own process at once, and to the others by a file.
"""

import contextlib
import errno
import json
import re
import threading
from collections.abc import Iterator

from fsq.errors import DataError, FsqError
from fsq.storage import filesystem
from pipeline.job.job import Job

STOP_FILE = "stop.json"
NOT_BEGUN = "not begun"
INTERRUPTED = "interrupted"

_HINTS = {
    errno.ENOENT: "Something removed it while the job ran.",
    errno.ENOSPC: "Make room, then run the same command again.",
    errno.EDQUOT: "Make room, then run the same command again.",
    errno.EFBIG: "Raise the limit on file sizes, then run the same command again.",
    errno.EROFS: "Choose another directory, or mount it for writing.",
    errno.EACCES: "Make it accessible, then run the same command again.",
}

_lock = threading.Lock()
_stopped_runs: dict[str, str] = {}
_rejects: dict[str, dict[str, int]] = {}
_local_runs: set[str] = set()
_failures: dict[str, str] = {}


def stop(job: Job, message: str) -> None:
    """Lets no further unit or shard begin; the first message is kept."""
    if _stopped_runs.setdefault(job.run, message) == message:
        # On a full disk this fails too; each process then finds out by itself.
        with contextlib.suppress(OSError):
            content = json.dumps({"run": job.run, "message": message})
            filesystem.write(filesystem.join(job.work, STOP_FILE), content.encode())


def stopped(job: Job) -> str | None:
    """Returns why this run of the job stops; None while it goes on."""
    if job.run not in _stopped_runs:
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(filesystem.read(filesystem.join(job.work, STOP_FILE)))
            if content["run"] == job.run:
                _stopped_runs[job.run] = content["message"]
    return _stopped_runs.get(job.run)


def interrupt(job: Job) -> None:
    """Stops this process's work on the job, amid its units and shards too.

    Takes no lock and writes no file: a signal handler calls it.
    """
    _stopped_runs[job.run] = INTERRUPTED


def interrupted(job: Job) -> bool:
    """Says whether this run of the job was interrupted in this process."""
    return _stopped_runs.get(job.run) == INTERRUPTED


def count_rejects(job: Job, unit_name: str, count: int) -> None:
    """Adds a unit's rejects to those that this process has seen; stops when they are too many.

    Rejects that are tried again are all tried: those left out would no longer be known as such.
    """
    if job.generation:
        return
    with _lock:
        seen = _rejects.setdefault(job.run, {})
        seen[unit_name] = count
        total = sum(seen.values())
    if total > job.max_rejects:
        stop(job, f"{job.output}: too many images rejected")


def describe(error: Exception, where: str) -> str:
    """Renders what the world did to us as one line."""
    if isinstance(error, FsqError):
        return str(error)
    name = getattr(error, "filename", None) or where
    hint = _HINTS.get(getattr(error, "errno", None) or 0, "")
    return f"{name}: {getattr(error, 'strerror', None) or error}. {hint}".rstrip()


FAILURE_FILE = "failure.json"


# As every engine quotes the error of a worker, whatever it puts around it.
_QUOTED = re.compile(r"fsq\.errors\.\w+Error: (.*?)(?: \[while running|\\n|\n|$)")


@contextlib.contextmanager
def workers_in_this_process(job: Job) -> Iterator[None]:
    """Surrounds a run whose workers are threads of the process that started it."""
    _local_runs.add(job.run)
    try:
        yield
    finally:
        _local_runs.discard(job.run)


def fail(job: Job, message: str) -> None:
    """Leaves a message for the process that started the job.

    Raises:
      DataError: It cannot be left; then the engine has to carry it.
    """
    if job.run in _local_runs:
        _failures[job.run] = message
        return
    try:
        content = json.dumps({"run": job.run, "message": message}).encode()
        filesystem.write(filesystem.join(job.work, FAILURE_FILE), content)
    except OSError as error:
        raise DataError(message) from error


def read_failure(job: Job) -> str | None:
    """Returns what this run of the job left; None if all went well."""
    if job.run in _failures:
        return _failures[job.run]
    try:
        content = json.loads(filesystem.read(filesystem.join(job.work, FAILURE_FILE)))
    except (OSError, ValueError):
        return None
    return content["message"] if content["run"] == job.run else None


def message_in(error: Exception) -> str | None:
    """Finds our own message in an engine's error; None if it is none of ours."""
    # An engine that works in this process raises our own error, with its step in the message.
    kind = "fsq.errors.DataError: " if isinstance(error, FsqError) else ""
    found = _QUOTED.findall(f"{kind}{error}")
    return found[-1] if found else None


def is_interrupt(error: BaseException | None) -> bool:
    """Says whether an engine's error is nothing but Ctrl-C, in its own wrapping."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None

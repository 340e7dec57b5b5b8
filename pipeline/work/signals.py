"""Signals between the processes of a job: the request to stop, and the reason of a failure.

On a full disk, or with too many rejects, no further unit or shard should start.
The process that notices it sets a flag for itself, and writes a file to the work
folder for the others. The process that started the job reads the reason from such
a file, because every Beam runner wraps a worker's error in other text.
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
FAILURE_FILE = "failure.json"
NOT_STARTED = "not started"
INTERRUPTED = "interrupted"

_HINTS = {
    errno.ENOENT: "It was removed while the job ran.",
    errno.ENOSPC: "Make room, then run the same command again.",
    errno.EDQUOT: "Make room, then run the same command again.",
    errno.EFBIG: "Raise the limit on file sizes, then run the same command again.",
    errno.EROFS: "Choose another directory, or mount it for writing.",
    errno.EACCES: "Make it accessible, then run the same command again.",
}
# How every Beam runner quotes the error of a worker, whatever it puts around it.
_QUOTED = re.compile(r"fsq\.errors\.\w+Error: (.*?)(?: \[while running|\\n|\n|$)")

_lock = threading.Lock()
_stop_reasons: dict[str, str] = {}
_rejects: dict[str, dict[str, int]] = {}
_local_runs: set[str] = set()
_failures: dict[str, str] = {}


def stop(job: Job, reason: str) -> None:
    """Prevents further units and shards from starting; the first reason given is reported."""
    if _stop_reasons.setdefault(job.run, reason) == reason:
        # On a full disk this fails too; each process then notices it by itself.
        with contextlib.suppress(OSError):
            _send(job, STOP_FILE, reason)


def stop_reason(job: Job) -> str | None:
    """Returns why this run of the job stops; None if it does not."""
    if job.run not in _stop_reasons and (reason := _receive(job, STOP_FILE)) is not None:
        _stop_reasons[job.run] = reason
    return _stop_reasons.get(job.run)


def interrupt(job: Job) -> None:
    """Stops this process's work on the job, amid its units and shards too.

    Takes no lock and writes no file: a signal handler calls it.
    """
    _stop_reasons[job.run] = INTERRUPTED


def interrupted(job: Job) -> bool:
    """Says whether this run of the job was interrupted in this process."""
    return _stop_reasons.get(job.run) == INTERRUPTED


def count_rejects(job: Job, unit_name: str, count: int) -> None:
    """Counts a unit's rejects in this process, and stops the job if there are too many.

    A retry is never stopped: rejects that it did not reach would not be recorded as rejects.
    """
    if job.attempt:
        return
    with _lock:
        seen = _rejects.setdefault(job.run, {})
        seen[unit_name] = count
        total = sum(seen.values())
    if total > job.max_rejects:
        stop(job, f"{job.output}: too many images rejected")


@contextlib.contextmanager
def workers_in_this_process(job: Job) -> Iterator[None]:
    """Surrounds a run whose workers are threads of the process that started it."""
    _local_runs.add(job.run)
    try:
        yield
    finally:
        _local_runs.discard(job.run)


def report_failure(job: Job, message: str) -> None:
    """Writes the reason of a failure for the process that started the job.

    Raises:
      DataError: It cannot be written; the Beam runner passes it on instead.
    """
    if job.run in _local_runs:
        _failures[job.run] = message
        return
    try:
        _send(job, FAILURE_FILE, message)
    except OSError as error:
        raise DataError(message) from error


def read_failure(job: Job) -> str | None:
    """Returns the reason that a worker of this run gave; None if there is none."""
    return _failures.get(job.run) or _receive(job, FAILURE_FILE)


def describe_error(error: Exception, where: str) -> str:
    """Formats an error of the data, a disk or a network as one line."""
    if isinstance(error, FsqError):
        return str(error)
    name = getattr(error, "filename", None) or where
    hint = _HINTS.get(getattr(error, "errno", None) or 0, "")
    return f"{name}: {getattr(error, 'strerror', None) or error}. {hint}".rstrip()


def message_in(error: Exception) -> str | None:
    """Extracts the message of an fsq error from a Beam runner's error; None if there is none."""
    # A runner in this process raises the fsq error itself, with the Beam step in its message.
    kind = "fsq.errors.DataError: " if isinstance(error, FsqError) else ""
    found = _QUOTED.findall(f"{kind}{error}")
    return found[-1] if found else None


def is_interrupt(error: BaseException | None) -> bool:
    """Returns whether a Beam runner's error wraps a KeyboardInterrupt (Ctrl-C)."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _send(job: Job, name: str, message: str) -> None:
    content = json.dumps({"run": job.run, "message": message})
    filesystem.write(filesystem.join(job.work, name), content.encode())


def _receive(job: Job, name: str) -> str | None:
    """Returns the message of this run; None if there is none, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(filesystem.read(filesystem.join(job.work, name)))
        if content["run"] == job.run:
            return str(content["message"])
    return None

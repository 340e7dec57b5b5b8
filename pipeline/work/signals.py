"""Signals between the processes of a job: stop what has not begun; this is why it failed.

A full disk or too many rejects are no reason to encode for days more. Whoever
notices it says so in its own process at once, and to the others by a file in the
work folder. The process that started the job reads the reason from such a file,
because every engine wraps a worker's error in words of its own.
"""

import contextlib
import errno
import json
import re
import threading

from fsq.errors import DataError, FsqError
from fsq.storage import filesystem
from pipeline.job.job import Job

STOP_FILE = "stop.json"
FAILURE_FILE = "failure.json"
NOT_STARTED = "not begun"

_HINTS = {
    errno.ENOENT: "Something removed it while the job ran.",
    errno.ENOSPC: "Make room, then run the same command again.",
    errno.EDQUOT: "Make room, then run the same command again.",
    errno.EFBIG: "Raise the limit on file sizes, then run the same command again.",
    errno.EROFS: "Choose another directory, or mount it for writing.",
    errno.EACCES: "Make it accessible, then run the same command again.",
}
# As every engine quotes the error of a worker, whatever it puts around it.
_QUOTED = re.compile(r"fsq\.errors\.\w+Error: (.*?)(?: \[while running|\\n|\n|$)")

_lock = threading.Lock()
_stop_reasons: dict[str, str] = {}
_rejects: dict[str, dict[str, int]] = {}


def stop(job: Job, reason: str) -> None:
    """Lets no further unit or shard begin; the first reason is kept."""
    if _stop_reasons.setdefault(job.run, reason) == reason:
        # On a full disk this fails too; each process then finds out by itself.
        with contextlib.suppress(OSError):
            _send(job, STOP_FILE, reason)


def stop_reason(job: Job) -> str | None:
    """Returns why this run of the job stops; None while it goes on."""
    if job.run not in _stop_reasons and (reason := _receive(job, STOP_FILE)) is not None:
        _stop_reasons[job.run] = reason
    return _stop_reasons.get(job.run)


def count_rejects(job: Job, unit_name: str, count: int) -> None:
    """Adds a unit's rejects to those that this process has seen; stops when they are too many.

    Rejects that are tried again are all tried: those left out would no longer be known as such.
    """
    if job.attempt:
        return
    with _lock:
        seen = _rejects.setdefault(job.run, {})
        seen[unit_name] = count
        total = sum(seen.values())
    if total > job.max_rejects:
        stop(job, f"{job.output}: too many images rejected")


def report_failure(job: Job, message: str) -> None:
    """Leaves a message for the process that started the job.

    Raises:
      DataError: It cannot be left; then the engine has to carry it.
    """
    try:
        _send(job, FAILURE_FILE, message)
    except OSError as error:
        raise DataError(message) from error


def read_failure(job: Job) -> str | None:
    """Returns what this run of the job left; None if all went well."""
    return _receive(job, FAILURE_FILE)


def describe_error(error: Exception, where: str) -> str:
    """Renders an error of the data, a disk or a network as one line."""
    if isinstance(error, FsqError):
        return str(error)
    name = getattr(error, "filename", None) or where
    hint = _HINTS.get(getattr(error, "errno", None) or 0, "")
    return f"{name}: {getattr(error, 'strerror', None) or error}. {hint}".rstrip()


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


def _send(job: Job, name: str, message: str) -> None:
    content = json.dumps({"run": job.run, "message": message})
    filesystem.write(filesystem.join(job.work, name), content.encode())


def _receive(job: Job, name: str) -> str | None:
    """Returns the message of this run; None if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(filesystem.read(filesystem.join(job.work, name)))
        if content["run"] == job.run:
            return str(content["message"])
    return None

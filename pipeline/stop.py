"""Stopping a job from within: what is not begun yet is left, on whatever machine.

A full disk or too many rejects are no reason to encode for days more. Who
notices it says so in its own process at once, and to the others by a file.
"""

import contextlib
import errno
import json
import threading

from fsq.errors import FsqError
from pipeline import storage
from pipeline.job import Job

STOP_FILE = "stop.json"
NOT_BEGUN = "not begun"

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


def stop(job: Job, message: str) -> None:
    """Lets no further unit or shard begin; the first message is kept."""
    if _stopped_runs.setdefault(job.run, message) == message:
        # On a full disk this fails too; each process then finds out by itself.
        with contextlib.suppress(OSError):
            content = json.dumps({"run": job.run, "message": message})
            storage.write(storage.join(job.work, STOP_FILE), content.encode())


def stopped(job: Job) -> str | None:
    """Returns why this run of the job stops; None while it goes on."""
    if job.run not in _stopped_runs:
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(storage.read(storage.join(job.work, STOP_FILE)))
            if content["run"] == job.run:
                _stopped_runs[job.run] = content["message"]
    return _stopped_runs.get(job.run)


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

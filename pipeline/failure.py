"""How a job that fails tells the process that started it, on any engine."""

import json
import re

from fsq.errors import DataError, FsqError
from pipeline import storage
from pipeline.job import Job

FAILURE_FILE = "failure.json"
# As every engine quotes the error of a worker, whatever it puts around it.
_QUOTED = re.compile(r"fsq\.errors\.\w+Error: (.*?)(?: \[while running|\\n|\n|$)")


def fail(job: Job, message: str) -> None:
    """Leaves a message for the process that started the job.

    Raises:
      DataError: It cannot be left; then the engine has to carry it.
    """
    try:
        content = json.dumps({"run": job.run, "message": message}).encode()
        storage.write(storage.join(job.work, FAILURE_FILE), content)
    except OSError as error:
        raise DataError(message) from error


def read_failure(job: Job) -> str | None:
    """Returns what this run of the job left; None if all went well."""
    try:
        content = json.loads(storage.read(storage.join(job.work, FAILURE_FILE)))
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

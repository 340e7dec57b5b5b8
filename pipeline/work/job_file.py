"""The description of an unfinished job, which lies in its work folder and commits it."""

import json
import re
from typing import Any

from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.digest import sign
from pipeline.core.records import Unit
from pipeline.job.job import JOB_FILE, WORK_FOLDER, Job


def read_job(output: str) -> dict[str, Any] | None:
    """Reads the description of an unfinished job; None if there is no job.

    Returns:
      'fields' of the fingerprint; 'generation'; 'num_units'; 'units' where
      they do not follow from the input, else None; 'suspects', see `write_job`.

    Raises:
      RequestError: It is damaged.
    """
    path = filesystem.join(output, WORK_FOLDER, JOB_FILE)
    if not filesystem.exists(path):
        return None
    try:
        content: dict[str, Any] = json.loads(filesystem.read(path))
        shard_pattern(content["fields"])
        if content["sha256"] != sign(content)["sha256"]:
            raise ValueError("expected what was written, got something else")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RequestError(
            f"{path}: expected the description of a job, got something else. "
            f"Remove {filesystem.join(output, WORK_FOLDER)} and run again."
        ) from error
    return content


def write_job(
    job: Job, fields: dict[str, Any], *, units: list[Unit] | None, suspects: list[str]
) -> None:
    """Writes the description of a job, which commits its folder.

    Args:
      job: The job.
      fields: Of its fingerprint.
      units: Its units, where they do not follow from the input.
      suspects: Source files that had rejects, and so may have changed since.
    """
    write_description(
        job.work,
        fields=fields,
        generation=job.generation,
        num_units=job.num_units if units is None else len(units),
        units=None if units is None else [unit.to_dict() for unit in units],
        suspects=suspects,
    )


def write_description(work: str, **content: Any) -> None:
    """Writes what `read_job` reads."""
    filesystem.write(filesystem.join(work, JOB_FILE), json.dumps(sign(content), indent=2).encode())


def shard_pattern(fields: dict[str, Any]) -> str:
    """A regular expression for the names of a job's shards."""
    formats = "|".join(map(re.escape, fields.get("formats", ["tfrecord"])))
    return rf"{re.escape(fields['name'])}-{re.escape(fields['split'])}\.({formats})-\d+-of-\d+"

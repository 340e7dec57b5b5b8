"""Job file: describes an unfinished job; writing it commits the work folder."""

import json
import re

from fsq.dataset.fingerprint import Fingerprint
from fsq.errors import FsqError, RequestError
from fsq.storage import filesystem
from fsq.storage.json_documents import DIGEST, has_its_digest, render
from fsq.validation import Count, FrozenModel, parse
from pipeline.core.records import Unit
from pipeline.job.job import WORK_FOLDER

JOB_FILE = "job.json"


class JobFile(FrozenModel):
    """The content of job.json.

    Attributes:
      fingerprint: What decides the bytes of the dataset.
      attempt: How often rejects have been retried.
      num_units: Number of units.
      units: The units while rejects are retried; otherwise they follow from the input.
      files_with_rejects: Source files that had rejects; their content may change.
    """

    fingerprint: Fingerprint
    attempt: Count = 0
    num_units: Count = 0
    units: tuple[Unit, ...] | None = None
    files_with_rejects: tuple[str, ...] = ()


def read_job_file(output: str) -> JobFile | None:
    """Reads the job file of an unfinished job; None if there is none.

    Raises:
      RequestError: It is damaged.
    """
    work = filesystem.join(output, WORK_FOLDER)
    path = filesystem.join(work, JOB_FILE)
    if not filesystem.exists(path):
        return None
    try:
        content = json.loads(filesystem.read(path))
        if not has_its_digest(content):
            raise ValueError("expected the digest of the content, got another")
        return parse(JobFile, {k: v for k, v in content.items() if k != DIGEST}, path)
    except (FsqError, ValueError, RecursionError) as error:
        raise RequestError(
            f"{path}: expected a job file, got something else. Remove {work} and run again."
        ) from error


def write_job_file(output: str, job_file: JobFile) -> None:
    """Writes the job file to the work folder, which must exist."""
    path = filesystem.join(output, WORK_FOLDER, JOB_FILE)
    filesystem.write(path, render(job_file.model_dump(exclude_none=True)))


def shard_pattern(fingerprint: Fingerprint) -> str:
    """Returns a regular expression for the names of a job's shards."""
    formats, splits = (
        "|".join(map(re.escape, names)) for names in (fingerprint.formats, fingerprint.splits)
    )
    return rf"{re.escape(fingerprint.name)}-({splits})\.({formats})-\d+-of-\d+"

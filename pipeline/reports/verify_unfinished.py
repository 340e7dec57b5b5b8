"""Verification of an unfinished job: checks its parts."""

import hashlib
from collections.abc import Iterator

import numpy as np

from fsq.dataset.formats.tfrecord import unframe
from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.core.records import unit_name
from pipeline.job.job import parts_folder
from pipeline.work.job_file import read_job_file
from pipeline.work.unit_files import HEAD, MAGIC, ROW, UnitStatus


def verify_unfinished(directory: str) -> Iterator[str]:
    """Yields one line for every problem of an unfinished job, and one with its progress.

    Yields nothing if there is no unfinished job.

    Raises:
      RequestError: The job file is damaged.
    """
    job_file = read_job_file(directory)
    if job_file is None:
        return
    fingerprint = job_file.fingerprint
    folder = parts_folder(directory, fingerprint.sha256, job_file.attempt)
    present = {entry.name for entry in filesystem.list_files(folder)}
    done = 0
    for number in range(job_file.num_units):
        name = unit_name(number)
        if f"{name}.json" not in present:
            continue
        problem = _check_unit(filesystem.join(folder, name), fingerprint.num_shards)
        if problem is None:
            done += 1
        else:
            yield f"{problem} The unit is encoded again when the job is resumed."
    yield (
        f"{directory}: expected a finished dataset, found a job with {done:,} of "
        f"{job_file.num_units:,} units done. Run the same 'fsq tokenize' command again."
    )


def _check_unit(path: str, num_shards: int) -> str | None:
    try:
        status = UnitStatus.from_json(filesystem.read(f"{path}.json"))
    except ValueError:
        return f"{path}.json: expected the status of a unit, got something else."
    try:
        data = filesystem.read(f"{path}.part")
    except FileNotFoundError:
        return f"{path}.part: expected a part, found none."
    if hashlib.sha256(data).hexdigest() == status.part_sha256:
        return None
    record = _find_damage(data, num_shards)
    where = "its index" if record is None else f"record {record} of {status.source}"
    return f"{path}.part: expected the bytes that were written, got others in {where}."


def _find_damage(data: bytes, num_shards: int) -> int | None:
    """Returns the number of the first damaged record; None if no record is damaged."""
    start = len(MAGIC) + num_shards * HEAD.itemsize
    heads = data[len(MAGIC) : start]
    if len(heads) != num_shards * HEAD.itemsize:
        return None
    count = min(int(np.frombuffer(heads, HEAD)["rows"].sum()), (len(data) - start) // ROW.itemsize)
    for row in np.frombuffer(data, ROW, count, start):
        begin = int(row["offset"])
        try:
            unframe(data[begin : begin + int(row["length"])], "a part")
        except DataError:
            return int(row["record"])
    return None

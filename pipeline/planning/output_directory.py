"""The output directory: whose it is, and what in it can be gone on with."""

import contextlib
import dataclasses
import re
from typing import Any

from fsq.dataset.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    has_manifest,
    read_manifest,
)
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.storage.directory_lock import LOCK_FILE
from pipeline.core.records import Unit, record_numbers
from pipeline.job.job import WORK_FOLDER, Job
from pipeline.planning.changed_input import refuse_other
from pipeline.planning.plan import Plan
from pipeline.planning.runtime_request import show_runtime
from pipeline.sources import Listing
from pipeline.sources.units import etag_of
from pipeline.work.job_file import read_job, shard_pattern, write_description, write_job
from pipeline.work.unit_files import read_done

OUR_FILES = {
    MANIFEST_FILE,
    CONFIG_FILE,
    STATS_FILE,
    TIMING_FILE,
    REJECTS_FILE,
    CONTRACT_FILE,
    WEIGHTS_FILE,
    LOCK_FILE,
    "features.json",
    "dataset_info.json",
}


def is_finished(plan: Plan) -> bool:
    """Says whether the output already holds the finished dataset of this very plan.

    Raises:
      RequestError: It holds another job, finished or not, or files of somebody else.
    """
    output = plan.job.output
    if has_manifest(output):
        refuse_other(plan, read_manifest(output)["fingerprint"]["fields"], "a dataset")
        return True
    description = read_job(output)
    fields = description["fields"] if description else None
    if fields is not None:
        refuse_other(plan, fields, "parts")
    strangers = find_strangers(output, fields)
    if strangers:
        raise RequestError(
            f"{output}: expected no files but this job's, found {strangers[0]!r}. "
            "Choose another directory."
        )
    return False


def continued(plan: Plan) -> Plan:
    """Returns the plan with the units that an unfinished job of its own already has.

    They are others than planned where rejects are tried again.
    """
    description = read_job(plan.job.output)
    if description is None or description["units"] is None:
        return plan
    units = [_with_etag(Unit.from_dict(unit), plan.listing) for unit in description["units"]]
    generation = description["generation"]
    job = dataclasses.replace(plan.job, num_units=len(units), generation=generation)
    return dataclasses.replace(plan, job=job, units=units)


def _with_etag(unit: Unit, listing: Listing) -> Unit:
    """Takes the etag of a stored unit's input as it is now."""
    if not unit.spans or (file := listing.file_of(unit)) is None:
        return unit
    return dataclasses.replace(unit, etag=etag_of(listing, file, list(record_numbers(unit))))


def count_done(plan: Plan) -> int:
    """Counts the units that an interrupted run of this job has done."""
    if read_job(plan.job.output) is None:
        return 0
    return sum(read_done(plan.job, name) is not None for name in plan.job.unit_names())


def find_strangers(output: str, fields: dict[str, Any] | None) -> list[str]:
    """Lists the files of an output that a job with these fields does not write."""
    pattern = shard_pattern(fields) if fields else None
    return [
        entry.name
        for entry in filesystem.list_files(output)
        # What was being written when the job was killed bears the name of what it would become.
        if (plain := filesystem.final_name(entry.name)) not in OUR_FILES
        and not (pattern and (re.fullmatch(pattern, plain) or plain.endswith(".labels.txt")))
    ]


def describe_plan(plan: Plan, *, overwrite: bool) -> list[tuple[str, str]]:
    """Describes a plan as (name, value) pairs, without changing anything.

    Raises:
      RequestError: The output belongs to another job, and overwrite is not set.
    """
    job, contract = plan.job, plan.job.contract
    if overwrite:
        state = "anew"
    elif is_finished(plan):
        state = "finished already"
    else:
        done = count_done(plan)
        state = f"to go on, {done} of {job.num_units} units done" if done else "new"
    left_out = ", ".join(f"{count:,} {name}" for name, count in plan.listing.left_out.items())
    return [
        ("source", f"{job.source.open().describe()}, {job.num_records:,} images"),
        *([("left out", f"{left_out}: no images by their names")] if left_out else []),
        ("units", f"{job.num_units}, batches of {job.batch_size}"),
        (
            "tokens",
            f"{contract.grid[0]} x {contract.grid[1]}, each in [0, {contract.vocab_size}), "
            f"stored as {contract.dtype}",
        ),
        ("runtime", show_runtime(plan.fields["runtime"])),
        ("views", ", ".join(job.views)),
        ("carried", ", ".join(feature.name for feature in job.features) or "nothing"),
        (
            "output",
            f"{job.output}, {job.num_records * len(job.views):,} records "
            f"in {job.num_shards} shards"
            f"{', as TFRecord and as ArrayRecord' if job.array_record else ''}",
        ),
        ("state", state),
    ]


def begin(plan: Plan) -> list[Unit]:
    """Lays the work folder out and returns the units with their final paths.

    Raises:
      RequestError: The output cannot be written.
    """
    try:
        return _begin(plan)
    except OSError as error:
        raise RequestError(
            f"{plan.job.output}: expected a directory that can be written, "
            f"got: {error.strerror or error}. Choose another{filesystem.room_for(error)}."
        ) from error


def _begin(plan: Plan) -> list[Unit]:
    job = plan.job
    description = read_job(job.output)
    if description is None:
        filesystem.remove(job.work)  # parts without their job could be anybody's
    lay_folders(job)
    filesystem.write(filesystem.join(job.work, CONTRACT_FILE), plan.contract_data)
    filesystem.write(filesystem.join(job.work, WEIGHTS_FILE), plan.weights_data)
    # Not part of the fingerprint (a tolerance may change), so the last one counts.
    filesystem.write(filesystem.join(job.work, CONFIG_FILE), plan.config_text.encode())
    listing = plan.listing.write_to(job.work)
    if description and description["units"]:
        write_job(plan.job, plan.fields, units=plan.units, suspects=description["suspects"])
    else:
        write_job(plan.job, plan.fields, units=None, suspects=[])
    return [listing.locate(unit) for unit in plan.units]


def lay_folders(job: Job) -> None:
    """Makes the folders of a job, and clears them of what killed runs and older jobs left."""
    for folder in (job.output, job.work, job.parts, job.results):
        filesystem.make_folder(folder)
        filesystem.remove_temporary(folder)


def refuse_strangers(output: str) -> None:
    """Looks at an output that is to be overwritten.

    Raises:
      RequestError: The directory holds other files than such a job writes.
    """
    if has_manifest(output):
        fields = read_manifest(output)["fingerprint"]["fields"]
    else:
        description = read_job(output)
        fields = description["fields"] if description else None
    strangers = find_strangers(output, fields)
    if strangers:
        raise RequestError(
            f"{output}: expected nothing but a dataset of ours to overwrite, "
            f"found {strangers[0]!r}. Choose another directory."
        )


def clear_output(output: str) -> None:
    """Removes an earlier job from the output, and nothing but what such a job writes.

    Raises:
      RequestError: The directory holds no job of ours but other files.
    """
    refuse_strangers(output)
    manifest, work = filesystem.join(output, MANIFEST_FILE), filesystem.join(output, WORK_FOLDER)
    if filesystem.exists(manifest):
        fields = read_manifest(output)["fingerprint"]["fields"]
        filesystem.remove(work)
        # Of an interruption in the middle must remain what is known as ours, but is no dataset.
        with contextlib.suppress(OSError):  # a full disk: clearing makes room
            filesystem.make_folder(work)
            write_description(
                work, fields=fields, generation=0, num_units=0, units=None, suspects=[]
            )
        filesystem.remove(manifest)
    for entry in filesystem.list_files(output):
        if entry.name != LOCK_FILE:
            filesystem.remove(filesystem.join(output, entry.name))
    filesystem.remove(work)

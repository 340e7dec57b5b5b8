"""The output directory: whose it is, and what in it can be gone on with."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from typing import Any

from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import RequestError
from pipeline import storage
from pipeline.job import JOB_FILE, WORK_FOLDER, describe_source
from pipeline.lock import LOCK_FILE
from pipeline.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    read_manifest,
)
from pipeline.parts import read_done, read_status
from pipeline.plan import Plan
from pipeline.records import Unit, hash_record
from pipeline.sources import open_source
from pipeline.sources.image_folder import ListedImage, first_change
from pipeline.sources.listing import materialize, place_text

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
    if storage.exists(storage.join(output, MANIFEST_FILE)):
        refuse_other(plan, read_manifest(output)["fingerprint"]["fields"], "a dataset")
        return True
    fields = read_job_fields(output)
    if fields is not None:
        refuse_other(plan, fields, "parts")
    strangers = find_strangers(output, fields)
    if strangers:
        raise RequestError(
            f"{output}: expected no files but this job's, found {strangers[0]!r}. "
            "Choose another directory."
        )
    return False


def count_done(plan: Plan) -> int:
    """Counts the units that an interrupted run of this job has done."""
    if read_job_fields(plan.job.output) is None:
        return 0
    return sum(read_done(plan.job, name) is not None for name in plan.job.unit_names())


def read_job_fields(output: str) -> dict[str, Any] | None:
    """Reads what the fingerprint of an unfinished job is made of; None if there is no job.

    Raises:
      RequestError: It is damaged.
    """
    path = storage.join(output, WORK_FOLDER, JOB_FILE)
    if not storage.exists(path):
        return None
    try:
        fields = json.loads(storage.read(path))["fields"]
        shard_pattern(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RequestError(
            f"{path}: expected the description of a job, got something else. "
            f"Remove {storage.join(output, WORK_FOLDER)} and run again."
        ) from error
    return fields


def find_strangers(output: str, fields: dict[str, Any] | None) -> list[str]:
    """Lists the files of an output that a job with these fields does not write."""
    pattern = shard_pattern(fields) if fields else None
    return [
        entry.name
        for entry in storage.list_files(output)
        # What was being written when the job was killed bears the name of what it would become.
        if (plain := storage.final_name(entry.name)) not in OUR_FILES
        and not (pattern and (re.fullmatch(pattern, plain) or plain.endswith(".labels.txt")))
    ]


def shard_pattern(fields: dict[str, Any]) -> str:
    """A regular expression for the names of a job's shards."""
    return rf"{re.escape(fields['name'])}-{re.escape(fields['split'])}\.tfrecord-\d+-of-\d+"


def refuse_other(plan: Plan, fields: dict[str, Any], what: str) -> None:
    """Raises a RequestError that names the first field in which the two jobs differ."""
    difference = first_difference(fields, plan.fields)
    if difference is None:
        return
    if difference.startswith("input "):
        difference = _changed_image(plan) or difference
    raise RequestError(
        f"{plan.job.output}: expected {what} of this job, found {what} of another: "
        f"{difference}. Choose another directory, or --overwrite."
    )


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Names the first value in which two nested mappings differ: '<path> was <old>, is <new>'."""
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            return f"{name} {first_difference(before, after)}"
        return f"{name} was {_shorten(before)}, is {_shorten(after)}"
    return None


def _shorten(value: Any) -> str:
    if value is None:
        return "absent"
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _changed_image(plan: Plan) -> str | None:
    """Names the first image that is another than in the listing of an interrupted job."""
    listing = plan.listing
    if listing.text is None:
        return None
    before = storage.join(plan.job.work, listing.files[0].path)
    if not storage.exists(before):
        return None
    with storage.open_read(before) as file:
        change = first_change(file, listing.text)
    return None if change is None else f"input {change}"


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
        ("source", f"{describe_source(job)}, {job.num_records:,} images"),
        *([("left out", f"{left_out}: no images by their names")] if left_out else []),
        ("units", f"{job.num_units}, batches of {job.batch_size}"),
        (
            "tokens",
            f"{contract.grid[0]} x {contract.grid[1]}, each in [0, {contract.vocab_size}), "
            f"stored as {contract.dtype}",
        ),
        ("views", ", ".join(job.views)),
        ("carried", ", ".join(feature.name for feature in job.features) or "nothing"),
        (
            "output",
            f"{job.output}, {job.num_records * len(job.views):,} records "
            f"in {job.num_shards} shards",
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
            f"got: {error.strerror or error}. Choose another, or make room."
        ) from error


def _begin(plan: Plan) -> list[Unit]:
    job = plan.job
    if read_job_fields(job.output) is None:
        storage.remove(job.work)  # parts without their job could be anybody's
    for folder in (job.output, job.work, job.parts, job.results):
        storage.make_folder(folder)
        storage.remove_temporary(folder)
    storage.write(storage.join(job.work, CONTRACT_FILE), plan.contract_data)
    storage.write(storage.join(job.work, WEIGHTS_FILE), plan.weights_data)
    # Not part of the fingerprint (a tolerance may change), so the last one counts.
    storage.write(storage.join(job.work, CONFIG_FILE), plan.config_text.encode())
    listing = place_text(plan.listing, job.work)
    storage.write(storage.join(job.work, JOB_FILE), describe_fields(plan.fields))
    if listing.text is None:
        return plan.units
    return [dataclasses.replace(unit, path=listing.files[0].path) for unit in plan.units]


def refuse_changed_content(plan: Plan) -> None:
    """Reads what finished units were made of again, if its files were written since.

    Raises:
      RequestError: It is not the same; the message names the file.
    """
    job = plan.job
    with materialize(plan.listing) as listing:
        for unit in plan.units:
            status = read_status(job, unit.name)
            if status is None or status.stamp == unit.stamp:
                continue
            path = unit.path if listing.text is None else listing.files[0].path
            content = hashlib.blake2b(digest_size=16)
            source = open_source(job.source)
            for record in source.read(dataclasses.replace(unit, path=path), job.features):
                hash_record(content, record)
            if (found := content.hexdigest()) != status.content:
                name = _rewritten_image(plan, unit) or unit.path
                raise RequestError(
                    f"{job.output}: expected parts of this job, found parts of another: input "
                    f"{name} was written anew (content {status.content[:12]}, is {found[:12]}). "
                    "Choose another directory, or --overwrite."
                )


def _rewritten_image(plan: Plan, unit: Unit) -> str | None:
    """Names the first image of a unit that is another than in the job's listing."""
    if plan.listing.text is None:
        return None
    plan.listing.text.seek(0)
    first, stop = unit.spans[0].first, unit.spans[0].first + unit.num_records
    with storage.open_read(storage.join(plan.job.work, unit.path)) as before:
        for old, new in itertools.islice(zip(before, plan.listing.text, strict=True), first, stop):
            if old != new:
                return ListedImage.from_line(new).key
    return None


def refuse_strangers(output: str) -> None:
    """Looks at an output that is to be overwritten.

    Raises:
      RequestError: The directory holds other files than such a job writes.
    """
    if storage.exists(storage.join(output, MANIFEST_FILE)):
        fields = read_manifest(output)["fingerprint"]["fields"]
    else:
        fields = read_job_fields(output)
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
    manifest, work = storage.join(output, MANIFEST_FILE), storage.join(output, WORK_FOLDER)
    if storage.exists(manifest):
        fields = read_manifest(output)["fingerprint"]["fields"]
        storage.remove(work)
        # Of an interruption in the middle must remain what is known as ours, but is no dataset.
        with contextlib.suppress(OSError):  # a full disk: clearing makes room
            storage.make_folder(work)
            storage.write(storage.join(work, JOB_FILE), describe_fields(fields))
        storage.remove(manifest)
    for entry in storage.list_files(output):
        if entry.name != LOCK_FILE:
            storage.remove(storage.join(output, entry.name))
    storage.remove(work)


def describe_fields(fields: dict[str, Any]) -> bytes:
    """The content of a job's file, as `read_job_fields` reads it."""
    return json.dumps({"fields": fields}, indent=2).encode()

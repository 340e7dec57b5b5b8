"""Trying the rejects of a run again, and nothing else.

The directory becomes an unfinished job: what was written before are its
finished units, the rejects its open ones. From there on it is run, resumed and
closed like any other, and ends in the bytes of a run that had no rejects.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import yaml

from fsq.dataset.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    has_manifest,
    read_manifest,
)
from fsq.errors import FsqError, RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.validation import parse
from fsq.yaml_config import dump_config
from pipeline.core.records import (
    Reject,
    Unit,
    unit_name,
)
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import WORK_FOLDER, Job
from pipeline.planning.changed_input import first_difference
from pipeline.planning.fingerprint import fingerprint_of
from pipeline.planning.output_directory import lay_folders
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.reuse_outputs import keep_parts, keep_shards
from pipeline.planning.runtime_selection import runtime_of_fields
from pipeline.sources import Listing
from pipeline.sources.base import place_text
from pipeline.sources.units import cut_units, spans_of, stamp_of, unit_records
from pipeline.work.job_file import read_job, write_job
from pipeline.work.unit_files import read_done


@dataclasses.dataclass(frozen=True)
class Retry:
    """What there is to try again.

    Attributes:
      before: The job as it was; its fingerprint, and its parts if it was not finished.
      plan: The job as it will be: the same with the input as it is now.
      rejects: Of the job as it was.
      finished: Whether it had become a dataset.
      units_before: Its units, if they did not follow from the input.
      limit: How many images it took, if not all.
      suspects: The source files that had rejects at any time.
      changed: Whether any of them is another now.
      config: Its config.
    """

    before: Job
    plan: Plan
    rejects: tuple[Reject, ...]
    finished: bool
    units_before: tuple[Unit, ...]
    limit: int | None
    suspects: tuple[str, ...]
    changed: bool
    config: TokenizeConfig


def plan_retry(directory: str, config: TokenizeConfig | None = None) -> Retry:
    """Looks at a directory, finished or not, and at the source as it is now.

    Args:
      directory: The output of the run.
      config: Its config; without one, that which lies in the directory.

    Raises:
      RequestError: There is no job, or more than rejected images has changed.
    """
    finished = has_manifest(directory)
    units_before: tuple[Unit, ...] = ()
    generation = 0
    suspects: set[str] = set()
    if finished:
        fields = read_manifest(directory)["fingerprint"]["fields"]
        stored = filesystem.join(directory, CONFIG_FILE)
    elif (description := read_job(directory)) is not None:
        fields, generation = description["fields"], description["generation"]
        units_before = tuple(Unit.from_dict(unit) for unit in description["units"] or ())
        suspects |= set(description["suspects"])
        stored = filesystem.join(directory, WORK_FOLDER, CONFIG_FILE)
    else:
        raise RequestError(
            f"{directory}: expected a dataset or an unfinished job, found neither. "
            "Run 'fsq tokenize CONFIG' first."
        )
    if config is None:
        config = parse(TokenizeConfig, yaml.safe_load(filesystem.read(stored)), stored)
    # However the directory is called now, the dataset says what its config said.
    config_text = dump_config(config)
    output = config.output.model_copy(update={"directory": directory})
    config = config.model_copy(update={"output": output})
    # Every record's place, because rejects lie anywhere.
    plan = runtime_of_fields(make_plan(config, limit=fields["limit"], stride=1), fields)
    before = dataclasses.replace(
        plan.job,
        fingerprint=fingerprint_of(fields),
        generation=generation,
        num_units=len(units_before) or plan.job.num_units,
    )
    rejects = tuple(_read_rejects(before, finished=finished))
    suspects |= {reject.file for reject in rejects}
    _refuse_changes(plan, fields, suspects)
    plan = dataclasses.replace(
        plan,
        job=dataclasses.replace(plan.job, generation=generation + 1),
        config_text=config_text,
    )
    return Retry(
        before,
        plan,
        rejects,
        finished,
        units_before,
        fields["limit"],
        tuple(sorted(suspects)),
        fields != plan.fields,
        config,
    )


def begin_retry(retry: Retry) -> None:
    """Turns the directory into an unfinished job whose open units are the rejects.

    Until the description of that job is written, the directory stays what it was.

    Raises:
      RequestError: An image that was written before is another now.
      DataError: What was written before is damaged.
    """
    plan, job = retry.plan, retry.plan.job
    filesystem.remove(job.parts)  # of an attempt that was killed
    lay_folders(job)
    try:
        units = _lay_units(retry)
    except FsqError:
        for folder in [job.work] if retry.finished else [job.parts, job.results]:
            filesystem.remove(folder)
        raise
    filesystem.write(filesystem.join(job.work, CONTRACT_FILE), plan.contract_data)
    filesystem.write(filesystem.join(job.work, WEIGHTS_FILE), plan.weights_data)
    filesystem.write(filesystem.join(job.work, CONFIG_FILE), plan.config_text.encode())
    # From here on it is the new job; before, it was the old one.
    write_job(plan.job, plan.fields, units=units, suspects=list(retry.suspects))
    filesystem.remove(filesystem.join(job.output, MANIFEST_FILE))
    filesystem.remove(retry.before.parts)
    filesystem.remove(retry.before.results)


def _lay_units(retry: Retry) -> list[Unit]:
    """Writes the parts of what is kept; returns all units, the finished ones first."""
    job = retry.plan.job
    listing = place_text(retry.plan.listing, job.work)
    not_begun: list[Unit] = []
    if retry.finished:
        kept = keep_shards(job, retry.rejects, listing)
    else:
        units = retry.units_before or cut_units(listing, job.batch_size, retry.limit)
        kept, not_begun = keep_parts(retry.before, job, list(units), listing)
    every = [*kept, *_open_units(retry, listing, not_begun)]
    return [dataclasses.replace(unit, name=unit_name(number)) for number, unit in enumerate(every)]


def _read_rejects(before: Job, *, finished: bool) -> Iterator[Reject]:
    if finished:
        for line in filesystem.read(filesystem.join(before.output, REJECTS_FILE)).splitlines():
            yield Reject(**json.loads(line))
        return
    for name in before.unit_names():
        if (status := read_done(before, name)) is not None:
            yield from status.rejects


def _refuse_changes(plan: Plan, fields: dict[str, Any], may_differ: set[str]) -> None:
    """Raises a RequestError if more has changed than the files with rejects in them."""
    comparable = []
    for each in (fields, plan.fields):
        files = {
            name: {"records": entry["records"]} if name in may_differ else entry
            for name, entry in each["input"]["files"].items()
        }
        comparable.append({**each, "input": {"files": files}})
    difference = first_difference(*comparable)
    if difference is not None:
        raise RequestError(
            f"{plan.job.output}: expected the job of this directory but for its rejects, found "
            f"another: {difference}. Choose another directory, or --overwrite."
        )


def _open_units(retry: Retry, listing: Listing, not_begun: list[Unit]) -> Iterator[Unit]:
    """Yields what is to be done, in the order of the input: units not begun, and rejects."""
    job = retry.plan.job
    order = {file.path: number for number, file in enumerate(listing.files)}
    by_name = {file.name: file for file in listing.files}
    size = unit_records(job.num_records, job.batch_size)
    entries: list[tuple[int, int, Unit | None]] = [
        (order[unit.path], unit.spans[0].first, unit) for unit in not_begun
    ]
    for reject in retry.rejects:
        # The images of a folder lie in one listing, whatever accounts for them.
        file = by_name.get(reject.file, listing.files[0])
        entries.append((order[file.path], reject.record, None))
    entries.sort(key=lambda entry: entry[:2])
    for (number, planned), group in itertools.groupby(
        entries, key=lambda entry: (entry[0], entry[2])
    ):
        if planned is not None:
            yield planned
            continue
        file = listing.files[number]
        numbers = [record for _, record, _ in group]
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            yield Unit("", file.path, spans_of(file, some), stamp_of(listing, file, some))

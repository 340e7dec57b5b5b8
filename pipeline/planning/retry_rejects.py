"""Retry of rejects: turns an output directory into an unfinished job that redoes its rejects.

What was written before becomes finished units, the rejects become open ones. The
job is then run, resumed and finalized like any other, and gives the bytes of a run
that had no rejects.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import yaml

from fsq.dataset.fingerprint import Fingerprint
from fsq.dataset.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    Manifest,
    read_listed,
)
from fsq.errors import DataError, FsqError, RequestError
from fsq.storage import filesystem
from fsq.storage.json_documents import first_difference
from fsq.storage.path_expansion import looked_in
from fsq.validation import parse
from fsq.yaml_config import dump_config
from pipeline.core.records import Reject, Unit, unit_name
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import WORK_FOLDER, Job
from pipeline.planning.output_directory import OutputDirectory, read_output
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.reuse_outputs import reuse_parts, reuse_shards
from pipeline.planning.runtime_selection import reuse_runtime
from pipeline.planning.work_folder import make_folders, write_inputs
from pipeline.sources import Listing
from pipeline.sources.units import cut_units, etag_of, spans_of, unit_records
from pipeline.work.job_file import JobFile, write_job_file
from pipeline.work.unit_files import read_done


@dataclasses.dataclass(frozen=True)
class Retry:
    """A planned retry.

    Attributes:
      output: What the directory holds.
      before: The earlier job: its fingerprint, and its parts if it is unfinished.
      plan: The new job: the same config with the present input.
      rejects: Rejects of the earlier job.
      files_with_rejects: Source files that had rejects in any attempt.
    """

    output: OutputDirectory
    before: Job
    plan: Plan
    rejects: tuple[Reject, ...]
    files_with_rejects: tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to redo.

        Also true if an unfinished job without rejects stopped before an image that changed since.
        Images that a filter leaves out are looked at again only if the input changed.
        """
        changed = self.output.fingerprint != self.plan.fingerprint
        if changed:
            return bool(self.rejects) or self.output.manifest is None
        return any(not reject.is_wished for reject in self.rejects)


def plan_retry(directory: str, config: TokenizeConfig | None = None) -> Retry:
    """Plans a retry from an output directory, finished or not, and the present source.

    Args:
      directory: The output of the run.
      config: Its config; by default the one stored in the directory.

    Raises:
      RequestError: There is no job, or images other than rejects changed.
      DataError: A file of the run is damaged.
    """
    output = read_output(directory)
    earlier = output.fingerprint
    if earlier is None:
        raise RequestError(
            f"{directory}: expected a dataset or an unfinished job, found neither"
            f"{looked_in(directory)}. "
            "Run 'fsq tokenize CONFIG' first."
        )
    config = config or _stored_config(output)
    moved = config.output.model_copy(update={"directory": directory})
    # Stride 1 lists the offset of every record, because any can be a reject.
    plan = make_plan(config.model_copy(update={"output": moved}), limit=earlier.limit, stride=1)
    # The stored config stays as it was, also if the directory was moved.
    plan = dataclasses.replace(reuse_runtime(plan, earlier), config_text=dump_config(config))
    job_file = output.job_file or JobFile(fingerprint=earlier)
    before = dataclasses.replace(
        plan.job,
        fingerprint=earlier.sha256,
        attempt=job_file.attempt,
        num_units=len(job_file.units or ()) or plan.job.num_units,
    )
    rejects = tuple(_read_rejects(before, output.manifest))
    files_with_rejects = {*job_file.files_with_rejects, *(reject.file for reject in rejects)}
    _refuse_changes(plan, earlier, files_with_rejects)
    job = dataclasses.replace(plan.job, attempt=before.attempt + 1)
    plan = dataclasses.replace(plan, job=job)
    return Retry(output, before, plan, rejects, tuple(sorted(files_with_rejects)))


def begin_retry(retry: Retry) -> None:
    """Turns the directory into an unfinished job whose open units are the rejects.

    The directory stays as it was until the new job file is written.

    Raises:
      RequestError: An image that is not a reject changed.
      DataError: A part or a shard of the earlier job is damaged.
    """
    plan, job = retry.plan, retry.plan.job
    finished = retry.output.manifest is not None
    filesystem.remove(job.parts)  # left by a killed retry
    make_folders(job)
    try:
        units = _write_units(retry)
    except FsqError:
        for folder in [job.work] if finished else [job.parts, job.staging]:
            filesystem.remove(folder)
        raise
    write_inputs(plan)
    # Writing the job file commits the new job.
    job_file = JobFile(
        fingerprint=plan.fingerprint,
        attempt=job.attempt,
        num_units=len(units),
        units=tuple(units),
        files_with_rejects=retry.files_with_rejects,
    )
    write_job_file(job.output, job_file)
    filesystem.remove(filesystem.join(job.output, MANIFEST_FILE))
    filesystem.remove(retry.before.parts)
    filesystem.remove(retry.before.staging)


def _stored_config(output: OutputDirectory) -> TokenizeConfig:
    if output.manifest is not None:
        path = filesystem.join(output.path, CONFIG_FILE)
        data = read_listed(output.path, output.manifest, CONFIG_FILE)
    else:
        path = filesystem.join(output.path, WORK_FOLDER, CONFIG_FILE)
        data = filesystem.read(path)
    try:
        return parse(TokenizeConfig, yaml.safe_load(data), path)
    except yaml.YAMLError as error:
        raise DataError(
            f"{path}: expected the config of the job as YAML, got other bytes. "
            "Run the job's 'fsq tokenize CONFIG' again instead."
        ) from error


def _write_units(retry: Retry) -> list[Unit]:
    """Writes the reused parts; returns all units, the finished ones first."""
    job, limit = retry.plan.job, retry.plan.fingerprint.limit
    listing = retry.plan.listing.write_to(job.work)
    not_started: list[Unit] = []
    if retry.output.manifest is not None:
        done = reuse_shards(job, retry.output.manifest, retry.rejects, listing)
    else:
        units = retry.output.job_file.units if retry.output.job_file is not None else None
        units = units or tuple(cut_units(listing, job.config.batch_size, limit))
        done, not_started = reuse_parts(retry.before, job, units, listing)
    every = [*done, *_open_units(retry, listing, not_started)]
    return [dataclasses.replace(unit, name=unit_name(number)) for number, unit in enumerate(every)]


def _read_rejects(before: Job, manifest: Manifest | None) -> Iterator[Reject]:
    if manifest is not None:
        for line in read_listed(before.output, manifest, REJECTS_FILE).splitlines():
            yield Reject(**json.loads(line))
        return
    for name in before.unit_names():
        if (status := read_done(before, name)) is not None:
            yield from status.rejects


def _refuse_changes(plan: Plan, earlier: Fingerprint, may_differ: set[str]) -> None:
    """Raises a RequestError if more has changed than the files with rejects in them."""

    def comparable(fingerprint: Fingerprint) -> dict[str, Any]:
        fields = fingerprint.to_dict()
        files = {
            name: {"records": entry["records"]} if name in may_differ else entry
            for name, entry in fields["input"]["files"].items()
        }
        return {**fields, "input": {**fields["input"], "files": files, "sha256": None}}

    difference = first_difference(comparable(earlier), comparable(plan.fingerprint))
    if difference is not None:
        raise RequestError(
            f"{plan.job.output}: expected changes in rejected images only, found another: "
            f"{difference}. Undo it, or run again with --overwrite and without --only-rejects."
        )


def _open_units(retry: Retry, listing: Listing, not_started: list[Unit]) -> Iterator[Unit]:
    """Yields the units to do, in the order of the input: those not started, and the rejects."""
    job = retry.plan.job
    size = unit_records(job.num_records, job.config.batch_size)
    entries: list[tuple[int, int, Unit | None]] = []

    def add(name: str, record: int, unit: Unit | None) -> None:
        index = listing.index_of(name, record)
        assert index is not None, "another input was refused"
        entries.append((index, record, unit))

    for unit in not_started:
        add(unit.file, unit.spans[0].first, unit)
    for reject in retry.rejects:
        add(reject.file, reject.record, None)
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
            etag = etag_of(listing, file, some)
            yield file.unit("", spans_of(file, some), etag)

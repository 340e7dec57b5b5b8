"""Trying the rejects of a run again, and nothing else.

The directory becomes an unfinished job: what was written before are its
finished units, the rejects its open ones. From there on it is run, resumed and
closed like any other, and ends in the bytes of a run that had no rejects.
"""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import yaml

from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import DataError, FsqError, RequestError
from fsq.schema import parse
from pipeline import storage
from pipeline.config import TokenizeConfig
from pipeline.job import WORK_FOLDER, Job
from pipeline.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    read_manifest,
    sha256_of,
)
from pipeline.output import first_difference, lay_folders, read_job, write_job
from pipeline.parts import PlacedRecord, UnitStatus, commit_part, read_done
from pipeline.plan import Plan, fingerprint_of, make_plan
from pipeline.records import (
    Reject,
    Unit,
    hash_record,
    hex_of_hashes,
    place_digest,
    record_numbers,
    sum_of_hashes,
    unit_name,
)
from pipeline.sources import Listing, open_source
from pipeline.sources.listing import (
    MAX_UNIT_RECORDS,
    cut_units,
    place_text,
    spans_of,
    stamp_of,
    unit_records,
)
from pipeline.tfrecord import read_records


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
      config: Its config.
    """

    before: Job
    plan: Plan
    rejects: tuple[Reject, ...]
    finished: bool
    units_before: tuple[Unit, ...]
    limit: int | None
    config: TokenizeConfig


def plan_retry(directory: str, config: TokenizeConfig | None = None) -> Retry:
    """Looks at a directory, finished or not, and at the source as it is now.

    Args:
      directory: The output of the run.
      config: Its config; without one, that which lies in the directory.

    Raises:
      RequestError: There is no job, or more than rejected images has changed.
    """
    finished = storage.exists(storage.join(directory, MANIFEST_FILE))
    units_before: tuple[Unit, ...] = ()
    generation = 0
    if finished:
        fields = read_manifest(directory)["fingerprint"]["fields"]
        stored = storage.join(directory, CONFIG_FILE)
    elif (description := read_job(directory)) is not None:
        fields, generation = description["fields"], description["generation"]
        units_before = tuple(Unit.from_dict(unit) for unit in description["units"] or ())
        stored = storage.join(directory, WORK_FOLDER, CONFIG_FILE)
    else:
        raise RequestError(
            f"{directory}: expected a dataset or an unfinished job, found neither. "
            "Run 'fsq tokenize CONFIG' first."
        )
    if config is None:
        config = parse(TokenizeConfig, yaml.safe_load(storage.read(stored)), stored)
    output = config.output.model_copy(update={"directory": directory})
    config = config.model_copy(update={"output": output})
    # Every record's place, because rejects lie anywhere.
    plan = make_plan(config, limit=fields["limit"], stride=1)
    before = dataclasses.replace(
        plan.job,
        fingerprint=fingerprint_of(fields),
        generation=generation,
        num_units=len(units_before) or plan.job.num_units,
    )
    rejects = tuple(_read_rejects(before, finished=finished))
    _refuse_changes(plan, fields, {reject.file for reject in rejects})
    plan = dataclasses.replace(plan, job=dataclasses.replace(plan.job, generation=generation + 1))
    return Retry(before, plan, rejects, finished, units_before, fields["limit"], config)


def begin_retry(retry: Retry) -> None:
    """Turns the directory into an unfinished job whose open units are the rejects.

    Until the description of that job is written, the directory stays what it was.

    Raises:
      RequestError: An image that was written before is another now.
      DataError: What was written before is damaged.
    """
    plan, job = retry.plan, retry.plan.job
    storage.remove(job.parts)  # of an attempt that was killed
    lay_folders(job)
    try:
        units = _lay_units(retry)
    except FsqError:
        for folder in [job.work] if retry.finished else [job.parts, job.results]:
            storage.remove(folder)
        raise
    storage.write(storage.join(job.work, CONTRACT_FILE), plan.contract_data)
    storage.write(storage.join(job.work, WEIGHTS_FILE), plan.weights_data)
    storage.write(storage.join(job.work, CONFIG_FILE), plan.config_text.encode())
    # From here on it is the new job; before, it was the old one.
    write_job(plan, units=units)
    storage.remove(storage.join(job.output, MANIFEST_FILE))
    storage.remove(retry.before.parts)
    storage.remove(retry.before.results)


def _lay_units(retry: Retry) -> list[Unit]:
    """Writes the parts of what is kept; returns all units, the finished ones first."""
    listing = place_text(retry.plan.listing, retry.plan.job.work)
    not_begun: list[Unit] = []
    if retry.finished:
        kept = _keep_shards(retry, listing)
    else:
        kept, not_begun = _keep_parts(retry, listing)
    units = [*kept, *_open_units(retry, listing, not_begun)]
    return [dataclasses.replace(unit, name=unit_name(number)) for number, unit in enumerate(units)]


def _read_rejects(before: Job, *, finished: bool) -> Iterator[Reject]:
    if finished:
        for line in storage.read(storage.join(before.output, REJECTS_FILE)).splitlines():
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


def _keep_parts(retry: Retry, listing: Listing) -> tuple[list[Unit], list[Unit]]:
    """Takes over the parts of an unfinished job.

    Returns:
      The finished units without their rejects, and those not begun.
    """
    before, job = retry.before, retry.plan.job
    files = {file.path: file for file in listing.files}
    source = open_source(job.source)
    kept: list[Unit] = []
    not_begun: list[Unit] = []
    for unit in retry.units_before or cut_units(listing, job.batch_size, retry.limit):
        status = read_done(before, unit.name)
        file = files.get(unit.path)
        if status is None:
            not_begun.append(unit)
            continue
        if file is not None:
            rejected = {reject.record for reject in status.rejects}
            numbers = [number for number in record_numbers(unit) if number not in rejected]
            spans = spans_of(file, numbers)
            unit = dataclasses.replace(unit, spans=spans, stamp=stamp_of(listing, file, numbers))
            if unit.stamp != status.stamp:
                content = sum_of_hashes(source.read(unit, job.features))
                before_content = sum(int(total, 16) for total in status.content.values())
                _refuse_other_content(job, unit.path, before_content, content)
        name = unit_name(len(kept))
        rejects_by_file = Counter(reject.file for reject in status.rejects)
        status = dataclasses.replace(
            status,
            listed={group: n - rejects_by_file[group] for group, n in status.listed.items()},
            rejects=(),
            refused=hex_of_hashes(0),
            stamp=unit.stamp,
        )
        storage.copy(before.part(unit.name), job.part(name))
        storage.write(job.part_status(name), status.to_json())
        kept.append(unit)
    return kept, not_begun


def _keep_shards(retry: Retry, listing: Listing) -> list[Unit]:
    """Makes parts of the shards of a finished dataset; the first one keeps all accounts."""
    job = retry.plan.job
    manifest = read_manifest(job.output)
    stats = json.loads(storage.read(storage.join(job.output, STATS_FILE)))
    _check_files_with_rejects(retry, listing, stats["by_file"])
    accounts = _accounts_of(stats["by_file"], len(job.views), stats["token_counts"])
    machines = itertools.cycle(manifest["machines"])
    units: list[Unit] = []
    for shard in manifest["shards"]:
        path = storage.join(job.output, shard["file"])
        if sha256_of(path) != shard["sha256"]:
            raise DataError(
                f"{path}: expected sha256 {shard['sha256'][:12]}, got another. "
                "The dataset is damaged; run with --overwrite."
            )
        for records in _placed_records(path):
            unit = Unit(unit_name(len(units)), path, ())
            status = dataclasses.replace(accounts, source=path, machine=next(machines))
            commit_part(job, unit.name, records, status)
            accounts = _accounts_of({}, 1, {})
            units.append(unit)
    return units


def _accounts_of(
    by_file: dict[str, Any], num_views: int, token_counts: dict[str, int]
) -> UnitStatus:
    """The status of a unit that holds what was written, and no rejects."""
    return UnitStatus(
        source="",
        listed={name: entry["written"] for name, entry in by_file.items()},
        written={name: entry["written"] * num_views for name, entry in by_file.items()},
        rejects=(),
        token_counts={int(token): count for token, count in token_counts.items()},
        content={name: entry["content"] for name, entry in by_file.items()},
        refused=hex_of_hashes(0),
        stamp="",
        machine="",
        seconds={},
    )


def _placed_records(path: str) -> Iterator[list[PlacedRecord]]:
    """Reads a shard's records with their places, some thousands at a time."""
    from tensorflow.core.example import example_pb2

    with storage.open_read(path) as file:
        records = enumerate(read_records(file, path))
        while piece := list(itertools.islice(records, MAX_UNIT_RECORDS)):
            placed = []
            for number, data in piece:
                feature = example_pb2.Example.FromString(data).features.feature
                (key,), (view,) = feature["key"].bytes_list.value, feature["view"].bytes_list.value
                placed.append(PlacedRecord(place_digest(key, view.decode()), data, number))
            yield placed


def _check_files_with_rejects(retry: Retry, listing: Listing, by_file: dict[str, Any]) -> None:
    """Reads what lies in one file with rejects again: the rest of it must be as it was."""
    job = retry.plan.job
    rejected = {(reject.file, reject.record) for reject in retry.rejects}
    suspects = {reject.file for reject in retry.rejects}
    source = open_source(job.source)
    found: Counter[str] = Counter()
    for unit in source.units_of(listing, suspects):
        records = source.read(unit, job.features)
        for number, record in zip(record_numbers(unit), records, strict=True):
            group = source.group_of(unit, record.key)
            if (group, number) not in rejected:
                found[group] += hash_record(record)
    for name in sorted(suspects):
        _refuse_other_content(job, name, int(by_file[name]["content"], 16), found[name])


def _refuse_other_content(job: Job, name: str, before: int, after: int) -> None:
    old, new = hex_of_hashes(before), hex_of_hashes(after)
    if old != new:
        raise RequestError(
            f"{job.output}: expected the images of {name} that were written before as they "
            f"were, found others (content {old[:12]}, is {new[:12]}). Run with --overwrite."
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

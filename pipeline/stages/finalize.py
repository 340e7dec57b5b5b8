"""Finalizing: checks the accounting before and after the shards are written; adds the manifest."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator

from fsq.dataset.formats import PRIMARY
from fsq.dataset.manifest import (
    CONFIG_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    FileEntry,
    Manifest,
    ShardEntry,
    SplitEntry,
    seal_fingerprint,
    write_manifest,
)
from fsq.dataset.tfds_metadata import WrittenSplit, write_metadata
from fsq.errors import DataError, FsqError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file
from fsq.storage.directory_lock import LOCK_FILE
from pipeline.job.job import Job
from pipeline.planning.output_directory import stays
from pipeline.stages.duplicate_keys import refuse_keys_in_two_splits
from pipeline.stages.encode_units import UnitResult
from pipeline.stages.merge_shards import ShardResult
from pipeline.stages.stats import collect_stats, collect_timing
from pipeline.work.accounting import Accounting
from pipeline.work.job_file import read_job_file
from pipeline.work.signals import NOT_STARTED, describe_error, interrupted, report_failure
from pipeline.work.unit_files import UnitStatus, read_status


def check_units(results: Iterable[UnitResult], job: Job) -> Iterator[int]:
    """Checks the accounting of all units; yields the indices of the shards to write.

    On an error it writes the reason to the work folder and yields nothing. An interrupted run
    yields nothing either.
    """
    if interrupted(job):
        return
    errors = dict(sorted((r.unit_name, r.error) for r in results if r.error is not None))
    try:
        _check_units(errors, job)
        refuse_keys_in_two_splits(job)
    except (OSError, FsqError) as error:
        report_failure(job, describe_error(error, job.output))
        return
    yield from range(job.num_shards)


def finalize_dataset(results: Iterable[ShardResult], job: Job) -> None:
    """Writes all files beside the shards, the manifest last, and removes the work folder."""
    shards = sorted(results, key=lambda shard: shard.index)
    try:
        _finalize(shards, job)
    except (OSError, FsqError) as error:
        report_failure(job, describe_error(error, job.output))


def _check_units(errors: dict[str, str], job: Job) -> None:
    accounts = Accounting()
    write_rejects(job, accounts.adding(read_statuses(job, skip=errors)))
    if (rejected := accounts.num_unwished) > job.max_rejects:
        left = job.num_records - accounts.num_listed
        early = f" among the first {accounts.num_listed:,}, then stopped" if left else ""
        raise DataError(
            f"{job.output}: expected at most {job.config.max_reject_fraction:.4g} of "
            f"{job.num_records:,} images rejected, got {rejected:,}{early}: "
            f"{'; '.join(accounts.first_rejects)}. {'These' if left else 'All'} are listed in "
            f"{filesystem.join(job.output, REJECTS_FILE)}. Raise max_reject_fraction and run "
            "again, or repair these images and run "
            f"'fsq tokenize --only-rejects {job.output}'; finished units are reused."
        )
    if errors:
        real = [message for message in errors.values() if message != NOT_STARTED]
        if not real:
            raise DataError(
                f"{job.output}: expected all units done, found some not started. "
                "Run the same command again."
            )
        rest = [f"{len(real) - 1} more units failed"] if len(real) > 1 else []
        rest += [f"{len(errors) - len(real)} not started"] if len(errors) > len(real) else []
        raise DataError(f"{real[0]} ({', '.join(rest)})" if rest else real[0])
    accounts.check(job)


def _finalize(shards: list[ShardResult], job: Job) -> None:
    errors = [shard.error for shard in shards if shard.error is not None]
    if errors:
        raise DataError(next((e for e in errors if e != NOT_STARTED), errors[0]))
    accounts = Accounting()
    write_rejects(job, accounts.adding(read_statuses(job)))
    accounts.check(job)
    written = accounts.written.total()
    if (found := sum(shard.records for shard in shards)) != written:
        raise DataError(
            f"{job.output}: expected {written:,} records in the shards, got {found:,}. "
            "Run the same command again."
        )
    for name in (CONTRACT_FILE, WEIGHTS_FILE, CONFIG_FILE):
        filesystem.write(
            filesystem.join(job.output, name), filesystem.read(filesystem.join(job.work, name))
        )
    for name, content in (
        (
            STATS_FILE,
            collect_stats(job, accounts, count_splits(job, shards), count_grids(job, shards)),
        ),
        (TIMING_FILE, collect_timing(accounts)),
    ):
        filesystem.write(filesystem.join(job.output, name), json.dumps(content, indent=2).encode())
    write_tfds_metadata(job, shards)
    filesystem.remove_temporary(job.output)
    write_manifest(job.output, _manifest(job, accounts, shards))
    filesystem.remove(job.work)


def write_tfds_metadata(job: Job, shards: list[ShardResult]) -> None:
    """Writes what tensorflow-datasets wants to read beside the shards."""
    write_metadata(
        job.output,
        name=job.config.output.name,
        splits=[
            WrittenSplit(
                split.name,
                [shards[index].records for index in job.shards_of(number)],
                sum(shards[index].files[PRIMARY.name].bytes for index in job.shards_of(number)),
            )
            for number, split in enumerate(job.splits)
        ],
        contract=job.contract,
        features=job.features,
        formats=job.config.output.formats,
    )


def read_statuses(job: Job, *, skip: Iterable[str] = ()) -> Iterator[UnitStatus]:
    """Yields the status of every unit in order, except the units to skip.

    Raises:
      DataError: A unit has no status.
    """
    skipped = set(skip)
    for name in job.unit_names():
        if name in skipped:
            continue
        status = read_status(job, name)
        if status is None:
            raise DataError(
                f"{job.part_status(name)}: expected the status of a finished unit, found none. "
                "Run the same command again."
            )
        yield status


def write_rejects(job: Job, statuses: Iterable[UnitStatus]) -> None:
    """Writes rejects.jsonl, a line of JSON per reject, in the order of the input."""
    with filesystem.open_write(filesystem.join(job.output, REJECTS_FILE)) as file:
        for status in statuses:
            for reject in status.rejects:
                file.write(json.dumps(reject.to_dict()).encode() + b"\n")


def _manifest(job: Job, accounts: Accounting, shards: list[ShardResult]) -> Manifest:
    shard_names = {
        job.shard_name(shard.index, name) for shard in shards for name in job.config.output.formats
    }
    # Those of tensorflow-datasets too, but not timing.json, which differs from run to run.
    files = [
        entry.name
        for entry in filesystem.list_files(job.output)
        if entry.name not in shard_names
        and entry.name not in (TIMING_FILE, LOCK_FILE)
        and not stays(entry.name)
    ]
    job_file = read_job_file(job.output)
    assert job_file is not None, "the work folder is removed last"
    return Manifest(
        name=job.config.output.name,
        splits=count_splits(job, shards),
        images_listed=accounts.num_listed,
        images_written=accounts.num_listed - accounts.num_rejected,
        images_rejected=accounts.num_rejected,
        rejects_by_reason=accounts.reasons(),
        left_out=dict(job.left_out),
        by_file=accounts.by_file(len(job.views)),
        views=job.views,
        records=sum(shard.records for shard in shards),
        machines=tuple(sorted(accounts.machines)),
        shards=tuple(shard_entry(job, shard) for shard in shards),
        files={name: sha256_of_file(filesystem.join(job.output, name)) for name in files},
        fingerprint=seal_fingerprint(job_file.fingerprint),
    )


def count_splits(job: Job, shards: list[ShardResult]) -> dict[str, SplitEntry]:
    """Returns the counts of each split, of all shards of a job in order."""
    found: dict[str, SplitEntry] = {}
    for number, split in enumerate(job.splits):
        records = sum(shards[index].records for index in job.shards_of(number))
        found[split.name] = SplitEntry(images=records // len(job.views), records=records)
    return found


def count_grids(job: Job, shards: list[ShardResult]) -> dict[str, int]:
    """Returns the number of records by rows and columns, in the order of the buckets."""
    total = sum((Counter(shard.grids) for shard in shards), Counter())
    return {f"{grid[0]} x {grid[1]}": total[grid] for grid in job.contract.grids}


def shard_entry(job: Job, shard: ShardResult) -> ShardEntry:
    """Returns the manifest entry of a shard."""
    entries = {
        name: FileEntry(
            file=job.shard_name(shard.index, name), **dataclasses.asdict(shard.files[name])
        )
        for name in job.config.output.formats
    }
    first, *others = entries
    return ShardEntry(
        **entries[first].model_dump(),
        split=job.splits[job.split_of_shard(shard.index)].name,
        records=shard.records,
        other_formats={name: entries[name] for name in others},
    )

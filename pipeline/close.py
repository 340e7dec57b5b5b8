"""The two reckonings of a job: before the shards are written, and at the close."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import DataError
from pipeline import storage
from pipeline.encode import UnitResult
from pipeline.job import Job
from pipeline.manifest import (
    CONFIG_FILE,
    REJECTS_FILE,
    STATS_FILE,
    sha256_of,
    write_manifest,
)
from pipeline.metadata import write_metadata
from pipeline.parts import UnitStatus, read_status
from pipeline.plan import JOB_FILE
from pipeline.shards import ShardResult
from pipeline.stats import collect_stats

FAILURE_FILE = "failure.json"
REJECTS_NAMED = 5


def settle_units(results: Iterable[UnitResult], job: Job) -> Iterator[int]:
    """Balances the accounts of all units; yields the shards to write if they are good.

    Otherwise it leaves the reason in the work folder and yields nothing.
    """
    errors = sorted((r.unit_name, r.error) for r in results if r.error is not None)
    if errors:
        more = f" ({len(errors) - 1} more units failed)" if len(errors) > 1 else ""
        fail(job, f"{errors[0][1]}{more}")
        return
    statuses = read_statuses(job)
    try:
        check_balance(job, statuses)
    except DataError as error:
        fail(job, str(error))
        return
    write_rejects(job, statuses)
    rejects = [reject for status in statuses for reject in status.rejects]
    if len(rejects) > job.max_reject_fraction * job.num_records:
        named = "; ".join(f"{r.key}: {r.stage}: {r.reason}" for r in rejects[:REJECTS_NAMED])
        fail(
            job,
            f"{job.output}: expected at most {job.max_reject_fraction:.4g} of "
            f"{job.num_records:,} images rejected, got {len(rejects):,}: {named}. All are in "
            f"{storage.join(job.output, REJECTS_FILE)}. Raise max_reject_fraction and run again, "
            "the tokens are kept; or mend the images and run with --overwrite.",
        )
        return
    yield from range(job.num_shards)


def close_dataset(results: Iterable[ShardResult], job: Job) -> None:
    """Writes all that stands beside the shards, the manifest last, and clears the work folder."""
    shards = sorted(results, key=lambda shard: shard.index)
    errors = [shard.error for shard in shards if shard.error is not None]
    if errors:
        fail(job, errors[0])
        return
    statuses = read_statuses(job)
    written = sum(status.written for status in statuses)
    if (found := sum(shard.records for shard in shards)) != written:
        fail(job, f"{job.output}: expected {written:,} records in the shards, got {found:,}.")
        return
    for name in (CONTRACT_FILE, WEIGHTS_FILE, CONFIG_FILE):
        storage.write(storage.join(job.output, name), storage.read(storage.join(job.work, name)))
    stats = collect_stats(job, statuses)
    storage.write(storage.join(job.output, STATS_FILE), json.dumps(stats, indent=2).encode())
    write_rejects(job, statuses)
    write_metadata(job, shards)
    for entry in storage.list_files(job.output):
        if entry.name.startswith("."):  # what an interrupted run was just writing
            storage.remove(storage.join(job.output, entry.name))
    write_manifest(job.output, _manifest(job, statuses, shards))
    storage.remove(job.work)


def read_statuses(job: Job) -> list[UnitStatus]:
    """Reads what became of every unit, in their order.

    Raises:
      DataError: A unit has no status, though the job came this far.
    """
    statuses = []
    for name in job.unit_names():
        status = read_status(job, name)
        if status is None:
            raise DataError(f"{job.part_status(name)}: expected a finished unit, found none.")
        statuses.append(status)
    return statuses


def check_balance(job: Job, statuses: list[UnitStatus]) -> None:
    """Checks that every image listed was read, and every one read was written or rejected.

    Raises:
      DataError: The accounts do not balance.
    """
    read = sum(status.read for status in statuses)
    written = sum(status.written for status in statuses)
    rejected = sum(len(status.rejects) for status in statuses)
    if read != job.num_records:
        raise DataError(f"{job.output}: expected {job.num_records:,} images read, got {read:,}.")
    if written + rejected * len(job.views) != read * len(job.views):
        raise DataError(
            f"{job.output}: expected {read:,} images written or rejected, "
            f"got {written:,} records of {len(job.views)} view(s) and {rejected:,} rejects."
        )


def write_rejects(job: Job, statuses: list[UnitStatus]) -> None:
    """Writes key, stage and reason of every reject, in the order of the input."""
    lines = [json.dumps(r.to_dict()) + "\n" for status in statuses for r in status.rejects]
    storage.write(storage.join(job.output, REJECTS_FILE), "".join(lines).encode())


def fail(job: Job, message: str) -> None:
    """Leaves a message where the process that started the job finds it, on any engine."""
    content = json.dumps({"message": message}).encode()
    storage.write(storage.join(job.work, FAILURE_FILE), content)


def _manifest(job: Job, statuses: list[UnitStatus], shards: list[ShardResult]) -> dict[str, Any]:
    shard_names = {job.shard_name(shard.index) for shard in shards}
    # All that stands there, so that what tensorflow-datasets writes besides is covered too.
    entries = [entry.name for entry in storage.list_files(job.output)]
    files = [name for name in entries if name not in shard_names]
    fields = json.loads(storage.read(storage.join(job.work, JOB_FILE)))
    reasons = Counter(f"{r.stage}: {r.reason}" for s in statuses for r in s.rejects)
    return {
        "name": job.name,
        "split": job.split,
        "images_read": job.num_records,
        "images_rejected": sum(reasons.values()),
        "rejects_by_reason": dict(sorted(reasons.items())),
        "views": list(job.views),
        "records": sum(shard.records for shard in shards),
        "shards": [
            {
                "file": job.shard_name(shard.index),
                "records": shard.records,
                "bytes": shard.size_bytes,
                "sha256": shard.sha256,
            }
            for shard in shards
        ],
        "files": {name: sha256_of(storage.join(job.output, name)) for name in files},
        "fingerprint": {"sha256": job.fingerprint, "fields": fields},
    }

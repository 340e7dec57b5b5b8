"""Taking over what an earlier run wrote, as parts of a job that goes on from there."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import read_records
from fsq.dataset.manifest import STATS_FILE, read_manifest
from fsq.dataset.records import place_digest
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of
from pipeline.core.records import (
    Reject,
    Unit,
    hash_record,
    hex_of_hashes,
    record_numbers,
    sum_of_hashes,
    unit_name,
)
from pipeline.job.job import Job
from pipeline.sources import Listing, open_source
from pipeline.sources.units import MAX_UNIT_RECORDS, spans_of, stamp_of
from pipeline.work.unit_files import PlacedRecord, UnitStatus, commit_part, read_done


def keep_parts(
    before: Job, job: Job, units: list[Unit], listing: Listing
) -> tuple[list[Unit], list[Unit]]:
    """Takes over the parts of an unfinished job.

    Args:
      before: The job whose parts lie there.
      job: The job that goes on; its units are numbered anew.
      units: Those of the job before.
      listing: The input as it is now.

    Returns:
      The finished units without their rejects, and those not begun.

    Raises:
      RequestError: An image that was written before is another now.
    """
    files = {file.path: file for file in listing.files}
    source = open_source(job.source)
    kept: list[Unit] = []
    not_begun: list[Unit] = []
    for unit in units:
        status = read_done(before, unit.name)
        file = files.get(unit.path)
        if status is None:
            if file is not None:  # the input may have been mended since, and then lies elsewhere
                numbers = list(record_numbers(unit))
                stamp = stamp_of(listing, file, numbers)
                unit = dataclasses.replace(unit, spans=spans_of(file, numbers), stamp=stamp)
            not_begun.append(unit)
            continue
        if file is not None:
            rejected = {reject.record for reject in status.rejects}
            numbers = [number for number in record_numbers(unit) if number not in rejected]
            if not numbers:  # a unit of rejects alone holds nothing to keep
                continue
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
        filesystem.copy(before.part(unit.name), job.part(name))
        filesystem.write(job.part_status(name), status.to_json())
        kept.append(unit)
    return kept, not_begun


def keep_shards(job: Job, rejects: tuple[Reject, ...], listing: Listing) -> list[Unit]:
    """Makes parts of the shards of a finished dataset; the first one keeps all accounts.

    Args:
      job: The job that goes on where the dataset lies.
      rejects: Those of the dataset.
      listing: The input as it is now.

    Raises:
      RequestError: An image that was written before is another now.
      DataError: A shard is damaged.
    """
    manifest = read_manifest(job.output)
    stats = json.loads(filesystem.read(filesystem.join(job.output, STATS_FILE)))
    _check_files_with_rejects(job, rejects, listing, stats["by_file"])
    accounts = _accounts_of(stats["by_file"], len(job.views), stats["token_counts"])
    machines = itertools.cycle(manifest["machines"])
    units: list[Unit] = []
    for shard in manifest["shards"]:
        path = filesystem.join(job.output, shard["file"])
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
    with filesystem.open_read(path) as file:
        records = enumerate(read_records(file, path))
        while piece := list(itertools.islice(records, MAX_UNIT_RECORDS)):
            placed = []
            for number, data in piece:
                feature = Example.FromString(data).features.feature
                (key,), (view,) = feature["key"].bytes_list.value, feature["view"].bytes_list.value
                placed.append(PlacedRecord(place_digest(key, view.decode()), data, number))
            yield placed


def _check_files_with_rejects(
    job: Job, rejects: tuple[Reject, ...], listing: Listing, by_file: dict[str, Any]
) -> None:
    """Reads what lies in one file with rejects again: the rest of it must be as it was."""
    rejected = {(reject.file, reject.record) for reject in rejects}
    suspects = {reject.file for reject in rejects}
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

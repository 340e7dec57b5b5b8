"""Reuse of outputs: makes parts or shards of an earlier run the finished units of a new job."""

import dataclasses
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fsq.dataset.example.proto import Example
from fsq.dataset.formats import PRIMARY
from fsq.dataset.manifest import STATS_FILE, Manifest, SourceFileEntry, read_listed
from fsq.dataset.records import place_digest
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file
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
from pipeline.sources import Listing, Source
from pipeline.sources.listing import ListedFile
from pipeline.sources.units import MAX_UNIT_RECORDS, cut_units, etag_of, spans_of
from pipeline.work.unit_files import PlacedRecord, UnitStatus, commit_part, read_done


def reuse_parts(
    before: Job, job: Job, units: Sequence[Unit], listing: Listing
) -> tuple[list[Unit], list[Unit]]:
    """Reuses the parts of an unfinished job.

    Args:
      before: The job that wrote the parts.
      job: The new job, which renumbers the units.
      units: The units of the job before.
      listing: The present input.

    Returns:
      The finished units without their rejects, and the units not started.

    Raises:
      RequestError: An image that is not a reject changed.
    """
    source = job.config.open_source()
    done: list[Unit] = []
    not_started: list[Unit] = []
    for unit in units:
        status, file = read_done(before, unit.name), listing.file_of(unit)
        if status is None:
            not_started.append(unit if file is None else _relocate(unit, set(), file, listing))
            continue
        if file is not None:
            rejected = {reject.record for reject in status.rejects}
            unit = _relocate(unit, rejected, file, listing)
            if not unit.spans:  # a unit of rejects alone holds nothing to reuse
                continue
            _check_content(job, source, unit, status)
        name = unit_name(len(done))
        filesystem.copy(before.part(unit.name), job.part(name))
        filesystem.write(job.part_status(name), _without_rejects(status, unit).to_json())
        done.append(unit)
    return done, not_started


def _relocate(unit: Unit, skip: set[int], file: ListedFile, listing: Listing) -> Unit:
    """Returns a unit without some records, located in the present listing."""
    numbers = [number for number in record_numbers(unit) if number not in skip]
    etag = etag_of(listing, file, numbers)
    return dataclasses.replace(unit, spans=spans_of(file, numbers), etag=etag)


def _check_content(job: Job, source: Source, unit: Unit, status: UnitStatus) -> None:
    """Checks that the images of a unit are unchanged; reads them only if its etag changed."""
    if unit.etag != status.etag:
        content = sum_of_hashes(source.read(unit, job.features))
        before = sum(int(total, 16) for total in status.content.values())
        _refuse_other_content(job, unit.path, before, content)


def _without_rejects(status: UnitStatus, unit: Unit) -> UnitStatus:
    rejects_by_file = Counter(reject.file for reject in status.rejects)
    listed = {group: count - rejects_by_file[group] for group, count in status.listed.items()}
    update = {
        "listed": listed,
        "rejects": (),
        "rejected_content": hex_of_hashes(0),
        "etag": unit.etag,
    }
    return status.model_copy(update=update)


def reuse_shards(
    job: Job, manifest: Manifest, rejects: tuple[Reject, ...], listing: Listing
) -> list[Unit]:
    """Splits the shards of a finished dataset into parts; the first unit has all counts.

    Args:
      job: The new job, in the directory of the dataset.
      manifest: Manifest of the dataset.
      rejects: Rejects of the dataset.
      listing: The present input.

    Raises:
      RequestError: An image that is not a reject changed.
      DataError: A shard is damaged.
    """
    _check_files_with_rejects(job, rejects, listing, manifest)
    stats = json.loads(read_listed(job.output, manifest, STATS_FILE))
    status = _status_of(manifest.by_file, len(job.views), stats["token_counts"])
    machines = itertools.cycle(manifest.machines)
    units: list[Unit] = []
    for shard in manifest.shards:
        path = filesystem.join(job.output, shard.file)
        if sha256_of_file(path) != shard.sha256:
            raise DataError(
                f"{path}: expected sha256 {shard.sha256[:12]}, got another. "
                "The dataset is damaged; run with --overwrite."
            )
        split = job.config.output.split_names.index(shard.split)
        for records in _placed_records(path, split):
            unit = Unit(unit_name(len(units)), path, ())
            update = {"source": path, "machine": next(machines)}
            commit_part(job, unit.name, records, status.model_copy(update=update))
            status = _status_of({}, 1, {})
            units.append(unit)
    return units


def _status_of(
    by_file: Mapping[str, SourceFileEntry], num_views: int, token_counts: Mapping[str, int]
) -> UnitStatus:
    """Returns a unit status with the counts of written images, without rejects."""
    return UnitStatus(
        source="",
        listed={name: entry.written for name, entry in by_file.items()},
        written={name: entry.written * num_views for name, entry in by_file.items()},
        rejects=(),
        token_counts={int(token): count for token, count in token_counts.items()},
        content={name: entry.content for name, entry in by_file.items()},
        rejected_content=hex_of_hashes(0),
        etag="",
        machine="",
        seconds={},
    )


def _placed_records(path: str, split: int) -> Iterator[list[PlacedRecord]]:
    """Yields a shard's records with their places, up to `MAX_UNIT_RECORDS` at a time."""
    records = enumerate(PRIMARY.read(path))
    while piece := list(itertools.islice(records, MAX_UNIT_RECORDS)):
        placed = []
        for number, data in piece:
            feature = Example.FromString(data).features.feature
            (key,), (view,) = feature["key"].bytes_list.value, feature["view"].bytes_list.value
            digest = place_digest(key, view.decode())
            placed.append(PlacedRecord(digest, data, number, split))
        yield placed


def _check_files_with_rejects(
    job: Job,
    rejects: tuple[Reject, ...],
    listing: Listing,
    manifest: Manifest,
) -> None:
    """Reads the files with rejects again, and checks that their other images are unchanged."""
    limit = manifest.fingerprint.fields.limit
    taken = None if limit is None else _numbers_taken(listing, job.config.batch_size, limit)
    rejected = {(reject.file, reject.record) for reject in rejects}
    files_with_rejects = {reject.file for reject in rejects}
    source = job.config.open_source()
    found: Counter[str] = Counter()
    for unit in source.units_of(listing, files_with_rejects):
        records = source.read(unit, job.features)
        for number, record in zip(record_numbers(unit), records, strict=True):
            group = source.group_of(unit, record.key)
            if taken is not None and number not in taken[unit.path]:
                continue
            if (group, number) not in rejected:
                found[group] += hash_record(record)
    for name in sorted(files_with_rejects):
        _refuse_other_content(job, name, int(manifest.by_file[name].content, 16), found[name])


def _numbers_taken(listing: Listing, batch_size: int, limit: int) -> Mapping[str, set[int]]:
    """Returns the numbers of the records that a job with a limit takes, by file."""
    taken = defaultdict[str, set[int]](set)
    for unit in cut_units(listing, batch_size, limit):
        taken[unit.path].update(record_numbers(unit))
    return taken


def _refuse_other_content(job: Job, name: str, before: int, after: int) -> None:
    old, new = hex_of_hashes(before), hex_of_hashes(after)
    if old != new:
        raise RequestError(
            f"{job.output}: expected changes in rejected images only, found others in {name} "
            f"(content was {old[:12]}, is {new[:12]}). Run again with --overwrite."
        )

"""Shards: one output file each, gathered from a slice of every part."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.array_record import open_array_record
from fsq.dataset.formats.tfrecord import FOOTER_BYTES, HEADER_BYTES, unframe
from fsq.errors import DataError, FsqError
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of
from pipeline.job.job import Job
from pipeline.work.signals import NOT_BEGUN, describe, interrupted, stop, stopped
from pipeline.work.unit_files import SliceReader, read_status

RECORDS_IN_MEMORY = 16_384


@dataclasses.dataclass(frozen=True)
class WrittenFile:
    """A file beside a shard, as the manifest speaks of it."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What a finished shard holds, or why it could not be written.

    Attributes:
      index: Its number.
      records: How many records it holds.
      size_bytes: Its size.
      sha256: Of the whole file.
      array_record: The same records once more; None if that was not asked for.
      error: None if all went well.
    """

    index: int
    records: int = 0
    size_bytes: int = 0
    sha256: str = ""
    array_record: WrittenFile | None = None
    error: str | None = None


def write_shard(index: int, job: Job) -> ShardResult:
    """Gathers, sorts and writes one shard: under another name, read back, then renamed."""
    target = job.shard(index)
    if stopped(job):
        return ShardResult(index, error=NOT_BEGUN)
    try:
        waiting = filesystem.join(job.results, job.shard_name(index))
        digest = hashlib.sha256()
        count = size_bytes = 0
        twin = filesystem.join(job.results, job.shard_name(index, "array_record"))
        with (
            filesystem.open_write(waiting) as file,
            open_array_record(twin) if job.array_record else nullcontext() as write_twin,
        ):
            for records in gather_shard(index, job):
                if interrupted(job):
                    raise DataError(f"{target}: interrupted.")
                data = b"".join(records)
                file.write(data)
                digest.update(data)
                count, size_bytes = count + len(records), size_bytes + len(data)
                if write_twin is not None:
                    for framed in records:
                        write_twin(framed[HEADER_BYTES:-FOOTER_BYTES])
        found = sha256_of(waiting)
        if found != digest.hexdigest():
            raise DataError(
                f"{waiting}: expected sha256 {digest.hexdigest()[:12]} as written, got "
                f"{found[:12]} when read back. The disk is at fault; write to another."
            )
        written_twin = _describe(twin) if job.array_record else None
        filesystem.rename(waiting, target)
        if job.array_record:
            filesystem.rename(twin, job.shard(index, "array_record"))
    except (OSError, FsqError) as error:
        message = describe(error, target)
        if isinstance(error, OSError):
            stop(job, message)
        return ShardResult(index, error=message)
    return ShardResult(index, count, size_bytes, found, written_twin)


def _describe(path: str) -> WrittenFile:
    with filesystem.open_read(path) as file:
        size_bytes = file.seek(0, os.SEEK_END)
    return WrittenFile(size_bytes, sha256_of(path))


def gather_shard(index: int, job: Job) -> Iterator[list[bytes]]:
    """Reads a shard's slice of every part.

    The places are hashes, so that equal stretches of them hold about as many
    records each: one stretch is in memory at a time, however long the shard.

    Yields:
      Framed records in their final order.

    Raises:
      OSError: A part cannot be read.
      DataError: A part is damaged, or two records have the same key and view.
    """
    names = job.unit_names()
    slices = [SliceReader(job.part(name), index, job.num_shards) for name in names]
    expected = job.num_records * len(job.views) / job.num_shards
    stretches = math.ceil(expected / RECORDS_IN_MEMORY) or 1
    for stretch in range(1, stretches + 1):
        pieces = [piece.read_below(2**64 * stretch // stretches) for piece in slices]
        rows = np.concatenate([rows for rows, _ in pieces])
        frames = [frame for _, frames in pieces for frame in frames]
        order = np.lexsort((rows["low"], rows["high"]))
        places = rows[["high", "low"]][order]
        twice = np.flatnonzero(places[1:] == places[:-1])
        if len(twice):
            pair = order[twice[0] : twice[0] + 2].tolist()
            units = np.repeat(names, [len(rows) for rows, _ in pieces])
            origins = sorted(_origin(job, str(units[i]), int(rows["record"][i])) for i in pair)
            raise DataError(
                f"{key_of(frames[pair[0]])}: expected each key once, got it in "
                f"{' and in '.join(origins)}. Rename one of the two, or remove it."
            )
        yield [frames[i] for i in order.tolist()]
    for piece in slices:
        piece.check()


def _origin(job: Job, unit_name: str, record: int) -> str:
    status = read_status(job, unit_name)
    return f"{status.source if status else unit_name} (record {record})"


def key_of(framed: bytes) -> str:
    """Reads the key of a framed record."""
    example = Example.FromString(unframe(framed, "a part"))
    return example.features.feature["key"].bytes_list.value[0].decode("utf-8", "surrogateescape")

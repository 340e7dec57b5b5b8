"""Merging: writes each shard from its slice of every part, in shuffled order."""

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from fsq.dataset.example.proto import Example
from fsq.dataset.formats import FORMATS, PRIMARY, WrittenFile
from fsq.dataset.formats.base import describe_file
from fsq.dataset.formats.tfrecord import unframe
from fsq.dataset.open_dataset import grid_of
from fsq.errors import DataError, FsqError
from fsq.storage import filesystem
from pipeline.job.job import Job
from pipeline.work.signals import NOT_STARTED, describe_error, interrupted, stop, stop_reason
from pipeline.work.unit_files import SliceReader, read_status

RECORDS_IN_MEMORY = 16_384


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """The outcome of a shard.

    Attributes:
      index: Index of the shard.
      records: Number of records.
      files: Its files by format; all hold the same records.
      grids: Number of records by rows and columns; only in datasets with buckets.
      error: Why it could not be written; None if it was.
    """

    index: int
    records: int = 0
    files: dict[str, WrittenFile] = dataclasses.field(default_factory=dict)
    grids: dict[tuple[int, ...], int] = dataclasses.field(default_factory=dict)
    error: str | None = None


def write_shard(index: int, job: Job) -> ShardResult:
    """Merges one shard, writes it under a temporary name, reads it back and renames it."""
    if stop_reason(job):
        return ShardResult(index, error=NOT_STARTED)
    try:
        return _write_shard(index, job)
    except (OSError, FsqError) as error:
        target = filesystem.join(job.output, job.shard_name(index, PRIMARY.name))
        message = describe_error(error, target)
        if isinstance(error, OSError):
            stop(job, message)
        return ShardResult(index, error=message)


def _write_shard(index: int, job: Job) -> ShardResult:
    names = {name: job.shard_name(index, name) for name in job.config.output.formats}
    staged = {name: filesystem.join(job.staging, file) for name, file in names.items()}
    count, grids = 0, Counter[tuple[int, ...]]()
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(FORMATS[name].open_writer(path)) for name, path in staged.items()
        ]
        for frames in gather_shard(index, job):
            if interrupted(job):
                raise DataError(f"{names[PRIMARY.name]}: interrupted.")
            for writer in writers:
                writer.write(frames)
            count += len(frames)
            if job.contract.buckets:
                grids.update(grid_of(_features_of(frame), job.contract) for frame in frames)
    files = {name: describe_file(path) for name, path in staged.items()}
    for name, path in staged.items():
        filesystem.rename(path, filesystem.join(job.output, names[name]))
    return ShardResult(index, count, files, dict(grids))


def gather_shard(index: int, job: Job) -> Iterator[list[bytes]]:
    """Merges a shard's slices of all parts.

    Places are hashes, so equal ranges of them hold about equally many records: one
    range is in memory at a time, whatever the size of the shard.

    Yields:
      Framed records of one range, in their final order.

    Raises:
      OSError: A part cannot be read.
      DataError: A part is damaged, or two records have the same key and view.
    """
    names = job.unit_names()
    slices = [SliceReader(job.part(name), index, job.num_shards) for name in names]
    split = job.splits[job.split_of_shard(index)]
    expected = split.num_records * len(job.views) / split.num_shards
    num_ranges = math.ceil(expected / RECORDS_IN_MEMORY) or 1
    for number in range(1, num_ranges + 1):
        pieces = [piece.read_below(2**64 * number // num_ranges) for piece in slices]
        rows = np.concatenate([rows for rows, _ in pieces])
        frames = [frame for _, frames in pieces for frame in frames]
        order = np.lexsort((rows["low"], rows["high"]))
        places = rows[["high", "low"]][order]
        twice = np.flatnonzero(places[1:] == places[:-1])
        if len(twice):
            pair = order[twice[0] : twice[0] + 2].tolist()
            units = np.repeat(names, [len(rows) for rows, _ in pieces])
            origins = sorted(origin_of(job, str(units[i]), int(rows["record"][i])) for i in pair)
            raise DataError(
                f"{key_of(frames[pair[0]])}: expected each key once, got it in "
                f"{' and in '.join(origins)}. Rename one of the two, or remove it."
            )
        yield [frames[i] for i in order.tolist()]
    for piece in slices:
        piece.check()


def origin_of(job: Job, unit_name: str, record: int) -> str:
    """Returns the source file of a record and its number there, for messages."""
    status = read_status(job, unit_name)
    return f"{status.source if status else unit_name} (record {record})"


def key_of(framed: bytes) -> str:
    """Reads the key of a framed record."""
    key: bytes = _features_of(framed)["key"].bytes_list.value[0]
    return key.decode("utf-8", "surrogateescape")


def _features_of(framed: bytes) -> Any:
    return Example.FromString(unframe(framed, "a part")).features.feature

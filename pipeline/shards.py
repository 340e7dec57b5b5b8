"""Shards: one output file each, gathered from a slice of every part."""

import dataclasses
import hashlib

import apache_beam as beam
import numpy as np

from fsq.errors import DataError, FsqError
from pipeline import storage
from pipeline.encode import describe
from pipeline.job import Job, describe_source
from pipeline.parts import read_shard_slice
from pipeline.tfrecord import unframe


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What a finished shard holds, or why it could not be written.

    Attributes:
      index: Its number.
      records: How many records it holds.
      size_bytes: Its size.
      sha256: Of the whole file.
      error: None if all went well.
    """

    index: int
    records: int = 0
    size_bytes: int = 0
    sha256: str = ""
    error: str | None = None


class WriteShards(beam.PTransform):
    """Shard number in, ShardResult out, one for one."""

    def __init__(self, job: Job):
        self.job = job

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        return indices | beam.Map(write_shard, self.job)


def write_shard(index: int, job: Job) -> ShardResult:
    """Gathers, sorts and writes one shard: to a temporary name, checked, then renamed."""
    target = job.shard(index)
    try:
        records = gather_shard(index, job)
        data = b"".join(records)
        digest = hashlib.sha256(data).hexdigest()
        temporary = storage.join(job.work, "shards", job.shard_name(index))
        storage.write(temporary, data)
        found = hashlib.sha256(storage.read(temporary)).hexdigest()
        if found != digest:
            raise DataError(
                f"{temporary}: expected sha256 {digest[:12]} as written, got {found[:12]} when "
                "read back. The disk is at fault; write to another."
            )
        storage.rename(temporary, target)
    except (OSError, FsqError) as error:
        return ShardResult(index, error=describe(error, target))
    return ShardResult(index, len(records), len(data), digest)


def gather_shard(index: int, job: Job) -> list[bytes]:
    """Reads a shard's slice of every part.

    Returns:
      The framed records in their final order.

    Raises:
      OSError: A part cannot be read.
      DataError: A part is damaged, or two records have the same key and view.
    """
    slices = [read_shard_slice(job.part(n), index, job.num_shards) for n in job.unit_names()]
    records = [
        piece.data[offset : offset + length]
        for piece in slices
        for offset, length in zip(
            piece.rows["offset"].tolist(), piece.rows["length"].tolist(), strict=True
        )
    ]
    places = np.concatenate([piece.rows[["high", "low"]] for piece in slices])
    order = np.lexsort((places["low"], places["high"]))
    ordered = places[order]
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise DataError(
            f"{key_of(records[order[twice[0]]])}: expected each key once, got it twice in "
            f"{describe_source(job)}. Rename one of the two, or remove it."
        )
    return [records[i] for i in order.tolist()]


def key_of(framed: bytes) -> str:
    """Reads the key of a framed record."""
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example.FromString(unframe(framed, "a part"))
    return example.features.feature["key"].bytes_list.value[0].decode("utf-8", "surrogateescape")

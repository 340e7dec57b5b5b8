"""Unit files: a unit's part, which is its token records sorted by shard, and its status.

A part file holds, in this order, all little-endian: a magic word; a header per
shard (its first row, its number of rows, checksums of the rows, the records and
the header); the rows, sorted by (shard, place), where place is the hash that
decides shard and order of a record; the records that the rows point to, framed as
in a TFRecord file. So the writer of a shard reads one slice of each part, and
checks it before it renames the shard. The status (JSON) is written last and
commits the part.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np

from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import DIGEST, has_its_digest, with_digest
from fsq.validation import FrozenModel
from pipeline.core.records import Reject
from pipeline.job.job import Job

MAGIC = b"FSQPART2"
ROWS_PER_READ = 512
HEAD = np.dtype(
    [
        ("first", "<u8"),
        ("rows", "<u8"),
        ("rows_checksum", "<u4"),
        ("data_checksum", "<u4"),
        ("own_checksum", "<u8"),
    ]
)
ROW = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("offset", "<u8"), ("length", "<u8"), ("record", "<u8")]
)


class UnitStatus(FrozenModel):
    """The outcome of one unit.

    Attributes:
      source: The file it was read from, for messages.
      listed: Images listed, by source file; see `Listing.groups`.
      written: Token records written, one per image and view, by source file.
      rejects: The images rejected.
      token_counts: How often each token occurs; others are absent.
      content: Sum of the hashes of the images written, by source file; see
        `hash_record`.
      rejected_content: Sum of the hashes of all rejects.
      etag: Etag of the unit when it was read.
      machine: Hardware kind of the worker.
      seconds: Seconds by stage.
      part_sha256: sha256 of the part file.
    """

    source: str
    listed: dict[str, int]
    written: dict[str, int]
    rejects: tuple[Reject, ...]
    token_counts: dict[int, int]
    content: dict[str, str]
    rejected_content: str
    etag: str
    machine: str
    seconds: dict[str, float]
    part_sha256: str = ""

    @property
    def num_listed(self) -> int:
        """Number of images listed."""
        return sum(self.listed.values())

    @property
    def num_unwished(self) -> int:
        """Number of rejects that `max_reject_fraction` limits."""
        return sum(not reject.is_wished for reject in self.rejects)

    @property
    def num_written(self) -> int:
        """Number of token records written."""
        return sum(self.written.values())

    def to_json(self) -> bytes:
        """Returns the content of the status file."""
        # Not in pydantic's JSON mode, which changes names that are not UTF-8.
        content = self.model_dump()
        content["token_counts"] = {str(k): v for k, v in self.token_counts.items()}
        return json.dumps(with_digest(content)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "UnitStatus":
        """The inverse of `to_json`.

        Raises:
          ValueError: The content is damaged.
        """
        content = json.loads(data)
        if not has_its_digest(content):
            raise ValueError("expected the digest of the content, got another")
        return cls.model_validate({k: v for k, v in content.items() if k != DIGEST})


class PlacedRecord(NamedTuple):
    """A serialized token record with its place in the shuffle, and its origin.

    Attributes:
      digest: The place, 16 bytes; see `place_digest`.
      data: A serialized tf.train.Example.
      record: Number of the image in the source file.
      split: Index of the split that it belongs to.
    """

    digest: bytes
    data: bytes
    record: int
    split: int = 0


def pack_part(records: list[PlacedRecord], shards_by_split: Sequence[int]) -> bytes:
    """Returns the content of a part file.

    Args:
      records: The records of the unit.
      shards_by_split: Number of shards of each split; they are numbered one after the other.
    """
    num_shards = sum(shards_by_split)
    high, low = np.frombuffer(b"".join(r.digest for r in records), ">u8").reshape(-1, 2).T
    counts = np.array(shards_by_split, np.uint64)
    splits = np.array([r.split for r in records], np.intp)
    shards = (np.cumsum(counts) - counts)[splits] + high % counts[splits]
    order = np.lexsort((low, high, shards))
    frames = [frame(records[i].data) for i in order.tolist()]
    rows = np.empty(len(frames), ROW)
    rows["high"] = high[order]
    rows["low"] = low[order]
    rows["length"] = [len(f) for f in frames]
    rows["record"] = [records[i].record for i in order.tolist()]
    ends = np.cumsum(rows["length"])
    start = len(MAGIC) + num_shards * HEAD.itemsize + rows.nbytes
    rows["offset"] = ends - rows["length"] + np.uint64(start)
    bounds = np.searchsorted(shards[order], np.arange(num_shards + 1, dtype=np.uint64))
    heads = np.zeros(num_shards, HEAD)
    for shard, (first, stop) in enumerate(itertools.pairwise(bounds.tolist())):
        data = b"".join(frames[first:stop])
        rows_checksum = google_crc32c.value(rows[first:stop].tobytes())
        heads[shard] = (first, stop - first, rows_checksum, google_crc32c.value(data), 0)
        heads[shard]["own_checksum"] = _own_checksum(heads[shard])
    return b"".join([MAGIC, heads.tobytes(), rows.tobytes(), *frames])


def read_rows(job: Job, unit_name: str) -> np.ndarray:
    """Reads the rows of a whole part, in no order that matters; it is trusted to be undamaged."""
    with filesystem.open_read(job.part(unit_name)) as file:
        file.seek(len(MAGIC))
        heads = np.frombuffer(file.read(job.num_shards * HEAD.itemsize), HEAD)
        return np.frombuffer(file.read(int(heads["rows"].sum()) * ROW.itemsize), ROW)


class SliceReader:
    """Reads the slice of a part for one shard, in order, one range of places at a time.

    Args:
      path: The part.
      shard: Index of the shard.
      num_shards: Number of shards.
    """

    def __init__(self, path: str, shard: int, num_shards: int):
        self.path = path
        self._shard, self._num_shards = shard, num_shards
        self._head: np.void | None = None
        self._rows = np.zeros(0, ROW)  # read, not yet returned
        self._next_row = 0
        self._rows_checksum = self._data_checksum = 0

    def read_below(self, bound: int) -> tuple[np.ndarray, list[bytes]]:
        """Reads the next records, up to a place.

        Args:
          bound: Exclusive bound of `high` in the place; never less than in the call before.

        Returns:
          `ROW` entries, sorted by place, and the framed record of each.

        Raises:
          OSError: The part cannot be read.
          DataError: It is damaged.
        """
        # Opened in each call: there can be more parts than a process may have open files.
        with filesystem.open_read(self.path) as file:
            if self._head is None:
                self._head = self._read_head(file)
            self._read_rows(file, bound)
            count = int(np.searchsorted(self._rows["high"], np.uint64(bound - 1), side="right"))
            rows, self._rows = self._rows[:count], self._rows[count:]
            if count == 0:
                return rows, []
            begin = int(rows["offset"][0])
            data = self._read(file, begin, int(rows["length"].sum()))
        self._data_checksum = google_crc32c.extend(self._data_checksum, data)
        starts = (rows["offset"] - np.uint64(begin)).tolist()
        return rows, [
            data[start : start + length]
            for start, length in zip(starts, rows["length"].tolist(), strict=True)
        ]

    def check(self) -> None:
        """Compares the checksums, once all records are read.

        Raises:
          DataError: The part is damaged.
        """
        assert self._head is not None and len(self._rows) == 0
        if (self._rows_checksum, self._data_checksum) != (
            self._head["rows_checksum"],
            self._head["data_checksum"],
        ):
            raise self._damaged()

    def _read_head(self, file: BinaryIO) -> np.void:
        if self._read(file, 0, len(MAGIC)) != MAGIC:
            raise self._damaged()
        start = len(MAGIC) + self._shard * HEAD.itemsize
        head: np.void = np.frombuffer(self._read(file, start, HEAD.itemsize), HEAD)[0]
        # Checked before use: a damaged header points anywhere.
        if _own_checksum(head) != head["own_checksum"]:
            raise self._damaged()
        return head

    def _read_rows(self, file: BinaryIO, bound: int) -> None:
        """Reads rows until one is not below the bound."""
        assert self._head is not None
        left = int(self._head["rows"]) - self._next_row
        start = len(MAGIC) + self._num_shards * HEAD.itemsize
        start += (int(self._head["first"]) + self._next_row) * ROW.itemsize
        while left and not (len(self._rows) and int(self._rows["high"][-1]) >= bound):
            count = min(left, ROWS_PER_READ)
            packed = self._read(file, start, count * ROW.itemsize)
            self._rows_checksum = google_crc32c.extend(self._rows_checksum, packed)
            self._rows = np.concatenate([self._rows, np.frombuffer(packed, ROW)])
            self._next_row += count
            left -= count
            start += len(packed)

    def _read(self, file: BinaryIO, offset: int, size: int) -> bytes:
        # Checked first: a damaged length could exceed the memory.
        if offset + size > file.seek(0, os.SEEK_END):
            raise self._damaged()
        file.seek(offset)
        return file.read(size)

    def _damaged(self) -> DataError:
        return DataError(
            f"{self.path}: expected data with its checksums, got damage in shard {self._shard}. "
            "Run the same command again; it encodes the unit again."
        )


def _own_checksum(head: np.void) -> int:
    return int(google_crc32c.value(head.tobytes()[: -HEAD["own_checksum"].itemsize]))


def commit_part(job: Job, unit_name: str, records: list[PlacedRecord], status: UnitStatus) -> None:
    """Writes a unit's part, then its status."""
    data = pack_part(records, [split.num_shards for split in job.splits])
    filesystem.write(job.part(unit_name), data)
    sha256 = hashlib.sha256(data).hexdigest()
    status = status.model_copy(update={"part_sha256": sha256})
    filesystem.write(job.part_status(unit_name), status.to_json())


def read_status(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a finished unit; None if the unit is still to be done.

    A damaged status commits nothing: the unit is still to be done.
    """
    try:
        return UnitStatus.from_json(filesystem.read(job.part_status(unit_name)))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def read_done(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a finished unit; None if its part does not match the status."""
    status = read_status(job, unit_name)
    if status is None:
        return None
    try:
        return status if sha256_of_file(job.part(unit_name)) == status.part_sha256 else None
    except FileNotFoundError:
        return None

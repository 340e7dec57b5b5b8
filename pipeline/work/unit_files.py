"""Parts: the committed output of one unit, sorted by shard, with an index.

A part file holds, in this order, all little-endian: a magic word; for each
shard a head (the number of its first row and of its rows, the checksums of the
rows, the records and the head itself); the rows, sorted by (shard, place); the
records they point to, framed as in a TFRecord file. A shard's writer thus reads
small slices of it, and renames nothing before their checksums. The status
beside it (JSON) is written last and commits it.
"""

import hashlib
import itertools
import json
import os
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
    """What became of one unit.

    Attributes:
      source: The file it was read from, for messages.
      listed: Images it should read, by source file; see `Listing.groups`.
      written: Token records written, one per image and view, by source file.
      rejects: The images refused.
      token_counts: How often each token occurs, by token; tokens that do not
        occur are left out.
      content: Sum of the hashes of the images written, by source file; see
        `hash_record`.
      rejected_content: The same of the rejects, all together.
      etag: Of the unit when it was read.
      machine: The kind of machine that did it.
      seconds: Time spent, by stage.
      part_sha256: Of the part file.
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
        """Images it should read."""
        return sum(self.listed.values())

    @property
    def num_written(self) -> int:
        """Token records written."""
        return sum(self.written.values())

    def to_json(self) -> bytes:
        """Renders the status file."""
        # Not in pydantic's JSON mode: that changes names that are not UTF-8.
        content = self.model_dump()
        content["token_counts"] = {str(k): v for k, v in self.token_counts.items()}
        return json.dumps(with_digest(content)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "UnitStatus":
        """The inverse of `to_json`.

        Raises:
          ValueError: It is not what was written.
        """
        content = json.loads(data)
        if not has_its_digest(content):
            raise ValueError("expected the status that was written, got another")
        return cls.model_validate({k: v for k, v in content.items() if k != DIGEST})


class PlacedRecord(NamedTuple):
    """A serialized record, where it belongs as `place_digest` says, and where it comes from.

    Attributes:
      digest: Its place.
      data: A tf.train.Example.
      record: The number of its image in the source file.
    """

    digest: bytes
    data: bytes
    record: int


def pack_part(records: list[PlacedRecord], num_shards: int) -> bytes:
    """Builds the bytes of a part file."""
    high, low = np.frombuffer(b"".join(r.digest for r in records), ">u8").reshape(-1, 2).T
    shards = high % np.uint64(num_shards)
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


class SliceReader:
    """Reads what a part holds for one shard, in order, a stretch of places at a time.

    Args:
      path: The part.
      shard: The number of the shard.
      num_shards: How many there are.
    """

    def __init__(self, path: str, shard: int, num_shards: int):
        self.path = path
        self._shard, self._num_shards = shard, num_shards
        self._head: np.void | None = None
        self._rows = np.zeros(0, ROW)  # read, not yet taken
        self._next_row = 0
        self._rows_checksum = self._data_checksum = 0

    def read_below(self, bound: int) -> tuple[np.ndarray, list[bytes]]:
        """Reads on to the first record whose place is not below a bound.

        Args:
          bound: Of the `high` half of a place; never less than in the call before.

        Returns:
          `ROW` entries, sorted by place, and the framed record of each.

        Raises:
          OSError: The part cannot be read.
          DataError: It is damaged.
        """
        # Opened anew each time: there can be more parts than a process may hold open.
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
        """Compares the checksums when all has been read.

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
        # A wrong head would send us anywhere, so it is looked at before it is followed.
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
        # Asked first: a damaged length could be more than there is memory.
        if offset + size > file.seek(0, os.SEEK_END):
            raise self._damaged()
        file.seek(offset)
        return file.read(size)

    def _damaged(self) -> DataError:
        return DataError(
            f"{self.path}: expected the checksums of shard {self._shard}, got a damaged part. "
            "Run the same command again; the unit is encoded anew."
        )


def _own_checksum(head: np.void) -> int:
    return int(google_crc32c.value(head.tobytes()[: -HEAD["own_checksum"].itemsize]))


def commit_part(job: Job, unit_name: str, records: list[PlacedRecord], status: UnitStatus) -> None:
    """Writes a unit's part, then its status."""
    data = pack_part(records, job.num_shards)
    filesystem.write(job.part(unit_name), data)
    sha256 = hashlib.sha256(data).hexdigest()
    status = status.model_copy(update={"part_sha256": sha256})
    filesystem.write(job.part_status(unit_name), status.to_json())


def read_status(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a finished unit, None for one that is still to be done.

    A status that cannot be read commits nothing: the unit is still to be done.
    """
    try:
        return UnitStatus.from_json(filesystem.read(job.part_status(unit_name)))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def read_done(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a unit whose part is the very one that the status speaks of."""
    status = read_status(job, unit_name)
    if status is None:
        return None
    try:
        return status if sha256_of_file(job.part(unit_name)) == status.part_sha256 else None
    except FileNotFoundError:
        return None

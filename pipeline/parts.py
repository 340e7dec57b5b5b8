"""Parts: the committed output of one unit, sorted by shard, with an index.

A part file holds, in this order, all little-endian: a magic word; for each
shard a head (the number of its first row and of its rows, the checksums of the
rows, the records and the head itself); the rows, sorted by (shard, place); the
records they point to, framed as in a TFRecord file. A shard's writer thus reads
three small slices of it, and trusts none before its checksum. The status beside
it (JSON) is written last and commits it.
"""

import dataclasses
import hashlib
import itertools
import json
from typing import Any, NamedTuple

import google_crc32c
import numpy as np

from fsq.errors import DataError
from pipeline import storage
from pipeline.job import Job
from pipeline.manifest import sha256_of
from pipeline.records import Reject
from pipeline.tfrecord import frame

MAGIC = b"FSQPART1"
HEAD = np.dtype(
    [
        ("first", "<u8"),
        ("rows", "<u8"),
        ("rows_checksum", "<u4"),
        ("data_checksum", "<u4"),
        ("own_checksum", "<u8"),
    ]
)
ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("offset", "<u8"), ("length", "<u8")])


@dataclasses.dataclass(frozen=True)
class UnitStatus:
    """What became of one unit.

    Attributes:
      read: Images read.
      written: Token records written, one per image and view.
      rejects: The images refused.
      token_counts: How often each token occurs, by token; tokens that do not
        occur are left out.
      seconds: Time spent, by stage.
      part_sha256: Of the part file.
    """

    read: int
    written: int
    rejects: tuple[Reject, ...]
    token_counts: dict[int, int]
    seconds: dict[str, float]
    part_sha256: str

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "UnitStatus":
        content: dict[str, Any] = json.loads(data)
        content["rejects"] = tuple(Reject(**reject) for reject in content["rejects"])
        content["token_counts"] = {int(k): v for k, v in content["token_counts"].items()}
        return cls(**content)


class PlacedRecord(NamedTuple):
    """A serialized record and where it belongs, as `place_digest` says."""

    digest: bytes
    data: bytes


class ShardSlice(NamedTuple):
    """What a part holds for one shard.

    Attributes:
      rows: `ROW` entries, sorted by place; offsets count from the begin of data.
      data: The framed records.
    """

    rows: np.ndarray
    data: bytes


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


def read_shard_slice(path: str, shard: int, num_shards: int) -> ShardSlice:
    """Reads what a part holds for one shard, and checks it.

    Raises:
      OSError: The part cannot be read.
      DataError: It is damaged.
    """
    damaged = DataError(
        f"{path}: expected the checksum of shard {shard}, got a damaged part. "
        "Remove it and its status, and run again."
    )
    with storage.open_read(path) as file:

        def read(offset: int, size: int, checksum: int | None = None) -> bytes:
            file.seek(offset)
            data = file.read(size)
            if len(data) != size or checksum not in (None, google_crc32c.value(data)):
                raise damaged
            return data

        heads_start = len(MAGIC)
        head = np.frombuffer(read(heads_start + shard * HEAD.itemsize, HEAD.itemsize), HEAD)[0]
        read(0, len(MAGIC), google_crc32c.value(MAGIC))
        # A wrong head would send us anywhere, so it is looked at before it is followed.
        if _own_checksum(head) != head["own_checksum"]:
            raise damaged
        first, count = int(head["first"]), int(head["rows"])
        rows_start = heads_start + num_shards * HEAD.itemsize + first * ROW.itemsize
        packed = read(rows_start, count * ROW.itemsize, int(head["rows_checksum"]))
        rows = np.frombuffer(packed, ROW).copy()
        if count == 0:
            return ShardSlice(rows, b"")
        begin, size = int(rows["offset"][0]), int(rows["length"].sum())
        data = read(begin, size, int(head["data_checksum"]))
    rows["offset"] -= np.uint64(begin)
    return ShardSlice(rows, data)


def _own_checksum(head: np.void) -> int:
    return google_crc32c.value(head.tobytes()[: -HEAD["own_checksum"].itemsize])


def commit_part(job: Job, unit_name: str, records: list[PlacedRecord], status: UnitStatus) -> None:
    """Writes a unit's part, then its status."""
    data = pack_part(records, job.num_shards)
    storage.write(job.part(unit_name), data)
    status = dataclasses.replace(status, part_sha256=hashlib.sha256(data).hexdigest())
    storage.write(job.part_status(unit_name), status.to_json())


def read_status(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a finished unit, None for one that is still to be done.

    A status that cannot be read commits nothing: the unit is still to be done.
    """
    try:
        return UnitStatus.from_json(storage.read(job.part_status(unit_name)))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def is_done(job: Job, unit_name: str) -> bool:
    """Says whether a unit has a status and the very part that the status speaks of."""
    status = read_status(job, unit_name)
    if status is None:
        return False
    try:
        return sha256_of(job.part(unit_name)) == status.part_sha256
    except FileNotFoundError:
        return False

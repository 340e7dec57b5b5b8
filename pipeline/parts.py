"""Parts: the committed output of one unit, sorted by shard, with an index.

A part file holds, in this order: a magic word; for each shard the number of
its first row, and the number of all rows, little-endian uint64; the rows,
sorted by (shard, place); the records they point to, framed as in a TFRecord
file. A shard's writer thus reads three small slices of it. The status beside
it (JSON) is written last and commits it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fsq.errors import DataError
from pipeline import storage
from pipeline.job import Job
from pipeline.records import Place, Reject
from pipeline.tfrecord import frame, unframe

MAGIC = b"FSQPART1"
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
    """A serialized record and where it belongs."""

    place: Place
    data: bytes


class FramedRecord(NamedTuple):
    """A record of a part, still framed, ready to be copied into a shard."""

    place: Place
    framed: bytes


def pack_part(records: Iterable[PlacedRecord], num_shards: int) -> bytes:
    """Builds the bytes of a part file."""
    ordered = sorted(records, key=lambda r: (r.place.shard(num_shards), r.place.high, r.place.low))
    frames = [frame(record.data) for record in ordered]
    lengths = np.array([len(f) for f in frames], np.uint64)
    rows = np.empty(len(frames), ROW)
    rows["high"] = [record.place.high for record in ordered]
    rows["low"] = [record.place.low for record in ordered]
    rows["length"] = lengths
    rows["offset"] = (
        np.cumsum(lengths) - lengths + np.uint64(_records_start(len(frames), num_shards))
    )
    shards = [record.place.shard(num_shards) for record in ordered]
    starts = np.searchsorted(shards, np.arange(num_shards + 1)).astype("<u8")
    return b"".join([MAGIC, starts.tobytes(), rows.tobytes(), *frames])


def read_shard_slice(path: str, shard: int, num_shards: int) -> Iterator[FramedRecord]:
    """Reads the records of one shard out of a part, each checked, in their order.

    Raises:
      OSError: The part cannot be read.
      DataError: It is damaged.
    """
    with storage.open_read(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DataError(f"{path}: expected a part of this job, got other bytes.")
        file.seek(len(MAGIC) + 8 * shard)
        first, stop = (int(n) for n in np.frombuffer(file.read(16), "<u8"))
        if first == stop:
            return
        file.seek(_rows_start(num_shards) + first * ROW.itemsize)
        rows = np.frombuffer(file.read((stop - first) * ROW.itemsize), ROW)
        begin = int(rows["offset"][0])
        file.seek(begin)
        data = file.read(int(rows["length"].sum()))
    for high, low, offset, length in rows.tolist():
        framed = data[offset - begin : offset - begin + length]
        unframe(framed, path)
        yield FramedRecord(Place(high, low), framed)


def commit_part(job: Job, unit_name: str, records: list[PlacedRecord], status: UnitStatus) -> None:
    """Writes a unit's part, then its status."""
    data = pack_part(records, job.num_shards)
    storage.write(job.part(unit_name), data)
    status = dataclasses.replace(status, part_sha256=hashlib.sha256(data).hexdigest())
    storage.write(job.part_status(unit_name), status.to_json())


def read_status(job: Job, unit_name: str) -> UnitStatus | None:
    """Returns the status of a finished unit, None for one that is still to be done."""
    path = job.part_status(unit_name)
    return UnitStatus.from_json(storage.read(path)) if storage.exists(path) else None


def _rows_start(num_shards: int) -> int:
    return len(MAGIC) + 8 * (num_shards + 1)


def _records_start(num_rows: int, num_shards: int) -> int:
    return _rows_start(num_shards) + num_rows * ROW.itemsize

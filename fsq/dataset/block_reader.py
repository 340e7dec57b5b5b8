"""Block reader: reads a dataset's TFRecord shards in blocks of records."""

import functools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsq.dataset.epoch_order import BLOCK_RECORDS
from fsq.dataset.example.decoder import OtherRecordError, parse_records
from fsq.dataset.formats.tfrecord import find_strides, split_frames
from fsq.dataset.open_dataset import DAMAGED, OpenedDataset, unreadable
from fsq.errors import DataError
from fsq.storage import filesystem

Columns = dict[str, np.ndarray]


class Block(NamedTuple):
    """Consecutive records of a shard.

    Attributes:
      shard: Index of the shard.
      number: Index of the block within the shard.
      first: Index of its first record in the whole dataset.
      records: Number of records.
    """

    shard: int
    number: int
    first: int
    records: int


def cut_blocks(shard_records: Sequence[int]) -> list[Block]:
    """Cuts shards into blocks of `BLOCK_RECORDS`; the last of each shard may be shorter."""
    blocks = []
    begin = 0
    for shard, records in enumerate(shard_records):
        for first in range(0, records, BLOCK_RECORDS):
            size = min(BLOCK_RECORDS, records - first)
            blocks.append(Block(shard, first // BLOCK_RECORDS, begin + first, size))
        begin += records
    return blocks


class RecordReader:
    """Reads blocks of records.

    A shard is scanned the first time that this process reads from it; only the byte
    offsets of its blocks are kept.
    """

    def __init__(self, dataset: OpenedDataset):
        self.dataset = dataset
        self.blocks = cut_blocks(dataset.records)

    def read(self, blocks: Sequence[int], wanted: Collection[str]) -> Columns:
        """Reads blocks, given by their indices, and concatenates them.

        Returns:
          A column per field, one row per record: 'tokens' integers [R, N], in datasets with
          buckets their bytes as objects [R]; text as an array of bytes objects [R]; numbers
          int64 or float32, [R] or [R, length].

        Raises:
          DataError: A shard cannot be read, or is damaged.
        """
        pieces: list[bytes] = []
        begins, ends = [], []
        before = 0
        for number in blocks:
            data, begin, end = self._read_block(self.blocks[number])
            pieces.append(data)
            begins.append(begin + before)
            ends.append(end + before)
            before += len(data)
        joined, begin, end = b"".join(pieces), np.concatenate(begins), np.concatenate(ends)
        try:
            found = parse_records(joined, begin, end, self.dataset.fields, wanted)
        except OtherRecordError as error:
            paths = sorted({self.dataset.paths[self.blocks[number].shard] for number in blocks})
            raise DataError(f"{' or '.join(paths)}: {error}. {DAMAGED}") from error
        if "tokens" in found and not self.dataset.contract.buckets:
            found["tokens"] = self.dataset.tokens_of(found["tokens"], self.dataset.directory)
        return {name: as_array(values) for name, values in found.items()}

    def _read_block(self, block: Block) -> tuple[bytes, np.ndarray, np.ndarray]:
        path = self.dataset.paths[block.shard]
        try:
            size, records = self.dataset.sizes_bytes[block.shard], self.dataset.records[block.shard]
            offsets = _find_blocks(path, size, records, self.dataset.sha256)
            begin, end = offsets[block.number : block.number + 2]
            with filesystem.open_read(path) as file:
                file.seek(begin)
                data = file.read(end - begin)
        except OSError as error:
            raise unreadable(path, error) from error
        starts, ends = split_frames(data, path, block.number * BLOCK_RECORDS)
        if len(starts) != block.records:
            raise DataError(
                f"{path}: expected {block.records:,} records from byte {begin:,} to {end:,}, "
                f"got {len(starts):,}. {DAMAGED}"
            )
        return data, starts, ends


# The offsets are few, and the same in every epoch.
@functools.lru_cache(maxsize=100_000)
def _find_blocks(path: str, size_bytes: int, records: int, manifest_sha256: str) -> list[int]:
    """Returns the byte offset of each block of a shard, and the shard's size."""
    with filesystem.open_read(path) as file:
        found = find_strides(file, size_bytes, BLOCK_RECORDS)
    if found.damage is not None:
        raise DataError(f"{path}: {found.damage}. {DAMAGED}")
    if found.num_records != records:
        raise DataError(
            f"{path}: expected {records:,} records, got {found.num_records:,}. {DAMAGED}"
        )
    return [*found.offsets.tolist(), size_bytes]


def as_array(values: Any) -> np.ndarray:
    """Converts a parsed field to an array, text to bytes objects."""
    if not isinstance(values, list):
        return values
    # Not np.array(values), which strips trailing zero bytes.
    return np.fromiter(values, object, len(values))

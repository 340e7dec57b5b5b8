"""Bucket order: which records form each batch of an epoch, where images have several grids.

The records of a bucket follow each other as in the epoch, and are cut into batches. The batches
of all buckets are spread evenly over the epoch, so that neighbours of one read the same windows,
and every host is at the same bucket in the same step. Nothing but numbers decides it, so any
position in an epoch is found again.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsq.dataset.block_reader import RecordReader
from fsq.dataset.epoch_order import WINDOW_BLOCKS, hash_numbers, mix, share_of
from fsq.dataset.open_dataset import DAMAGED, OpenedDataset
from fsq.dataset.records import GRID
from fsq.errors import DataError


class BucketBatch(NamedTuple):
    """A batch of one bucket.

    Attributes:
      bucket: Index of the bucket.
      positions: Positions of its records in the epoch, ascending int64.
    """

    bucket: int
    positions: np.ndarray


class BucketOrder:
    """The batches of one epoch, or of one host's share of it.

    Args:
      buckets: Index of the bucket of each record, in the order of the epoch, uint8 [records].
      batch_records: Records per batch, for each bucket.
      shard: (index, count) of the share. Each bucket is shared out for itself.
      key: (seed, epoch); None for batches at regular distances.
      drop_remainder: Drop the last partial batch of each bucket, so that all shares have the
        same batches of each bucket in the same order.
    """

    def __init__(
        self,
        buckets: np.ndarray,
        batch_records: Sequence[int],
        *,
        shard: tuple[int, int],
        key: tuple[int, int] | None,
        drop_remainder: bool,
    ):
        self._batch_records = batch_records
        self._positions: list[np.ndarray] = []
        places: list[np.ndarray] = []
        for bucket, size in enumerate(batch_records):
            positions = np.flatnonzero(buckets == bucket)
            begin, end = share_of(len(positions), *shard)
            if drop_remainder:
                end = begin + len(positions) // shard[1] // size * size
            self._positions.append(positions[begin:end])
            places.append(_places(-(-(end - begin) // size), bucket, key))
        counts = [len(each) for each in places]
        # Stable, so that the batches of a bucket stay in their order.
        order = np.argsort(np.concatenate(places), kind="stable")
        self._buckets = np.repeat(np.arange(len(counts)), counts)[order]
        self._numbers = np.concatenate([np.arange(count) for count in counts])[order]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._buckets)

    def batch(self, number: int) -> BucketBatch:
        """Returns a batch by its index."""
        bucket, index = int(self._buckets[number]), int(self._numbers[number])
        size = self._batch_records[bucket]
        return BucketBatch(bucket, self._positions[bucket][index * size : (index + 1) * size])


def _places(count: int, bucket: int, key: tuple[int, int] | None) -> np.ndarray:
    """Returns the place of each batch of a bucket in the epoch, ascending in [0, 1)."""
    numbers = np.arange(count)
    if key is None:
        return (numbers + 0.5) / max(count, 1)
    hashes = hash_numbers(numbers, mix(*key, -3, bucket))
    return (numbers + (hashes >> np.uint64(11)) * 2.0**-53) / max(count, 1)


@functools.lru_cache(maxsize=4)
def read_buckets(dataset: OpenedDataset) -> np.ndarray:
    """Returns the bucket of every record, uint8 [records], in the order of the shards.

    The grids of all records are read once per process.

    Raises:
      DataError: A record has a grid of no bucket.
    """
    reader = RecordReader(dataset)
    numbers = {grid: number for number, grid in enumerate(dataset.contract.grids)}
    found: list[np.ndarray] = []
    for first in range(0, len(reader.blocks), WINDOW_BLOCKS):
        blocks = range(first, min(first + WINDOW_BLOCKS, len(reader.blocks)))
        grids = reader.read(blocks, (GRID,))[GRID]
        try:
            found.append(np.array([numbers[tuple(grid)] for grid in grids.tolist()], np.uint8))
        except KeyError as error:
            raise DataError(
                f"{dataset.directory}: expected grids of {dataset.contract.show_grid} tokens, "
                f"got {' x '.join(map(str, error.args[0]))}. {DAMAGED}"
            ) from error
    return np.concatenate(found)

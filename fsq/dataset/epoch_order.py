"""Epoch order: which record is read at each position, computed from (seed, epoch).

Shards are shuffled when they are written, so an epoch need not shuffle single
records over the whole dataset. Blocks of consecutive records are permuted, and
the records of a window (16 blocks) are shuffled among each other. Any position
in an epoch is thus found by arithmetic, and resuming there reads one window.

Random numbers are hashes, not a library's generator, so that no version of a
library changes the order.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

BLOCK_RECORDS = 1024
WINDOW_BLOCKS = 16


def mix(*words: int) -> np.uint64:
    """Hashes integers to 64 bits."""
    digest = hashlib.blake2b(b"".join(word.to_bytes(16, "little", signed=True) for word in words))
    return np.frombuffer(digest.digest(), "<u8")[0]


def hash_numbers(numbers: np.ndarray, key: np.uint64) -> np.ndarray:
    """Hashes each number under a key, uint64 of any shape to uint64.

    Source: the finalizer of SplitMix64, Steele et al. 2014, doi:10.1145/2714064.2660195.
    """
    z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def permutation(count: int, key: np.uint64) -> np.ndarray:
    """Permutes the numbers below `count`, int64 [count]."""
    return np.argsort(hash_numbers(np.arange(count), key), kind="stable")


def share_of(count: int, index: int, shares: int) -> tuple[int, int]:
    """Returns begin and end of one of `shares` slices whose sizes differ by one at most.

    >>> [share_of(10, index, 3) for index in range(3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    return count * index // shares, count * (index + 1) // shares


@dataclasses.dataclass(frozen=True)
class Window:
    """Blocks that are read together.

    Attributes:
      blocks: Indices of the blocks, in the order of concatenation.
      order: Permutation of the concatenated records, int64 [records]; None to
        keep their order.
    """

    blocks: tuple[int, ...]
    order: np.ndarray | None


class EpochOrder:
    """The order of one epoch.

    Args:
      block_sizes: Selected records in each block.
      seed: None for the stored order.
      epoch: Index of the epoch; each has another order.
      window_blocks: Number of blocks in a window.
    """

    def __init__(
        self,
        block_sizes: Sequence[int] | np.ndarray,
        seed: int | None,
        epoch: int,
        window_blocks: int = WINDOW_BLOCKS,
    ):
        self._window_blocks = window_blocks
        sizes = np.asarray(block_sizes, np.int64)
        self._key = None if seed is None else (seed, epoch)
        count = len(sizes)
        self._blocks = (
            np.arange(count) if self._key is None else permutation(count, mix(*self._key, -1))
        )
        sizes = sizes[self._blocks]
        # First position of each window; at the end, the number of records.
        ends = np.append(np.arange(0, count, window_blocks), count)
        self.starts = np.append(0, np.cumsum(sizes))[ends]

    def __len__(self) -> int:
        """Number of records in the epoch."""
        return int(self.starts[-1])

    def window_at(self, position: int) -> int:
        """Returns the index of the window that holds a position."""
        return int(np.searchsorted(self.starts, position, side="right")) - 1

    def window(self, number: int) -> Window:
        """Returns the blocks of a window and the order of its records."""
        first = number * self._window_blocks
        blocks = tuple(self._blocks[first : first + self._window_blocks].tolist())
        if self._key is None:
            return Window(blocks, None)
        size = int(self.starts[number + 1] - self.starts[number])
        return Window(blocks, permutation(size, mix(*self._key, number)))

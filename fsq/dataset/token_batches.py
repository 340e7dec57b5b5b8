"""Dataset reader in NumPy: batches, each a pure function of its index."""

import os
import threading
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np

from fsq.dataset.argument_checks import (
    check_directory,
    check_flag,
    check_index,
    check_shard,
    check_whole,
)
from fsq.dataset.block_reader import Columns, RecordReader
from fsq.dataset.bucket_order import BucketOrder, read_buckets
from fsq.dataset.epoch_order import EpochOrder, Window, share_of
from fsq.dataset.open_dataset import open_dataset
from fsq.dataset.records import GRID
from fsq.dataset.sequence import SequenceSpec, layouts_of
from fsq.dataset.view_selection import Views, check_views, choose_records
from fsq.errors import RequestError
from fsq.quantizer import lattice

Batch = dict[str, np.ndarray]
ElementSpec = dict[str, tuple[np.dtype, tuple[int | None, ...]]]
_WINDOWS = 2  # kept in memory, because a batch may span two
_BUCKET_WINDOWS = 4  # because one of a rare bucket may span more


class TokenBatches:
    """One epoch of a dataset, or one host's share of it, as batches: `batches[index]`.

    A batch depends only on (seed, epoch, shard) and its index, so the number of
    batches taken is the whole position in an epoch: resume with `range(taken,
    len(batches))`, on any machine. See `fsq.dataset.epoch_order`.

    In a dataset with buckets, all records of a batch have one grid, which the batch says; see
    `fsq.dataset.bucket_order`. A host then takes its share of each bucket.

    Also a Grain data source and a PyTorch dataset, with batches as elements.
    Imports neither TensorFlow nor Beam. At most two windows of 16,384 records each
    are in memory, with buckets four.

    Args:
      directory: Path of the dataset.
      split: Name of its split; None for any.
      batch_size: Sequences per batch; without a `sequence`, records per batch.
      sequence: How tokens become sequences; None for records as stored.
      shuffle_seed: Seed of the order; None for the stored order, which is shuffled
        but the same in every epoch.
      epoch: Index of the epoch; each has another order.
      shard: (index, count) of the share to read, for training on several hosts. The
        shares are disjoint, cover the epoch, and differ in size by one record at most.
      views: Views of an image to read: 'all'; the 'first' of the config; or
        'one_per_epoch', drawn again in each epoch.
      with_labels: With a sequence: also return 'label'.
      drop_remainder: Drop the last partial batch, so that all batches have the same
        shape and all shares the same number of batches.

    Raises:
      RequestError: An argument is invalid, the directory is not a finished dataset,
        or it lacks what the arguments ask for.
      DataError: The dataset is damaged, or its format version is not supported.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        split: str | None = None,
        *,
        batch_size: int,
        sequence: SequenceSpec | None = None,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
        views: Views = "all",
        with_labels: bool = False,
        drop_remainder: bool = False,
    ):
        directory = check_directory(directory)
        batch_size = check_whole("batch_size", batch_size, least=1)
        epoch = check_whole("epoch", epoch, least=0)
        if shuffle_seed is not None:
            shuffle_seed = check_whole("shuffle_seed", shuffle_seed)
        index, share_count = check_shard(shard)
        check_views(views)
        with_labels = check_flag("with_labels", with_labels)
        drop_remainder = check_flag("drop_remainder", drop_remainder)
        self._dataset = open_dataset(directory, split)
        self.contract = self._dataset.contract
        self._layouts = layouts_of(sequence, self._dataset, with_labels=with_labels)
        self._layout = next(iter(self._layouts.values()), None)
        self.vocab_size = self._layout.vocab_size if self._layout else self.contract.vocab_size
        self._reader = RecordReader(self._dataset)
        self._chosen = choose_records(self._dataset, views, seed=shuffle_seed, epoch=epoch)
        self._order = EpochOrder(self._block_sizes(), shuffle_seed, epoch)
        self._begin, self._end = share_of(len(self._order), index, share_count)
        self._batch_records = batch_size * (self._layout.images if self._layout else 1)
        self._windows: dict[int, Columns] = {}
        self._lock = threading.Lock()
        self._buckets: BucketOrder | None = None
        if self.contract.buckets:
            self._buckets = self._order_buckets(
                batch_size,
                shard=(index, share_count),
                key=None if shuffle_seed is None else (shuffle_seed, epoch),
                drop_remainder=drop_remainder,
            )
            self._count = len(self._buckets)
        elif drop_remainder:
            self._count = len(self._order) // share_count // self._batch_records
        else:
            self._count = -(-(self._end - self._begin) // self._batch_records)
        if not self._count:
            raise self._too_few(share_count, drop_remainder=drop_remainder)
        self._arguments = {
            "batch_size": batch_size,
            "sequence": sequence,
            "shuffle_seed": shuffle_seed,
            "epoch": epoch,
            "shard": (index, share_count),
            "views": views,
            "with_labels": with_labels,
            "drop_remainder": drop_remainder,
        }

    def _too_few(self, share_count: int, *, drop_remainder: bool) -> RequestError:
        what = f"{self._batch_records:,} records" if drop_remainder else "one record"
        each = f" for each of {share_count:,} shares" if share_count > 1 else ""
        hosts = "with fewer hosts, or " if share_count > 1 else ""
        return RequestError(
            f"{self._dataset.directory}: expected at least {what}{each}, found "
            f"{len(self._order):,} in all. Read it {hosts}in smaller batches."
        )

    def __repr__(self) -> str:
        # Grain compares this when it restores a position: equal if the batches are equal.
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"TokenBatches({self._dataset.identity}, {arguments})"

    def __len__(self) -> int:
        """Number of batches in the epoch, or in the share of it."""
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            yield self[number]

    def __getitem__(self, number: SupportsIndex) -> Batch:
        """Reads a batch.

        Returns:
          With a sequence: see `Layout.lay_out`. Without: every field of the records;
          'tokens' int32 (int64 above 2**31 codes) [B, rows * columns], 'key' and 'view'
          bytes objects [B], 'crop' int64 [B, 4], 'flip' int64 [B], and the carried
          features, [B]. In a dataset with buckets, 'grid' int64 [B, 2], rows and columns, comes
          with either.

        Raises:
          IndexError: There is no such batch.
          RequestError: The index is not an integer.
          DataError: A shard is damaged.
        """
        number = check_index("TokenBatches", number, len(self))
        return self.joined(number, number + 1) if self._buckets is None else self._of_bucket(number)

    @property
    def has_buckets(self) -> bool:
        """Whether batches differ in shape, so that they cannot be joined."""
        return self._buckets is not None

    def joined(self, first: int, end: int) -> Batch:
        """Reads the batches [first, end), concatenated to one; in no dataset with buckets."""
        begin, stop = (self._begin + number * self._batch_records for number in (first, end))
        columns = self._take(begin, min(stop, self._end))
        if self._layout is not None:
            return self._layout.lay_out(columns)
        dtype = lattice.token_dtype(self.vocab_size)
        return {**columns, "tokens": columns["tokens"].astype(dtype)}

    def element_spec(self) -> ElementSpec:
        """Returns dtype and shape of a batch's arrays, without the batch dimension.

        A size that differs by bucket is None.
        """
        if self._layout is not None:
            return self._sequence_spec()
        tokens = np.dtype(lattice.token_dtype(self.vocab_size))
        found: ElementSpec = {}
        for field in self._dataset.fields:
            dtype = np.dtype(object if field.kind == "bytes" else field.kind)
            found[field.name] = (dtype, () if field.length in (1, None) else (field.length,))
        length = None if self.has_buckets else self.contract.tokens_per_image
        return {**found, "tokens": (tokens, (length,))}

    def _sequence_spec(self) -> ElementSpec:
        """Returns what all grids have in common; a size that differs is None."""
        first, *others = (layout.element_spec() for layout in self._layouts.values())
        found: ElementSpec = dict(first)
        for name, (dtype, shape) in first.items():
            if any(other[name][1] != shape for other in others):
                found[name] = (dtype, (None,))
        return {**found, GRID: (np.dtype(np.int64), (2,))} if self.has_buckets else found

    def __getstate__(self) -> dict[str, Any]:
        # Each process of a data loader reads its own windows.
        return {**self.__dict__, "_windows": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}

    def _block_sizes(self) -> list[int]:
        if self._chosen is None:
            return [block.records for block in self._reader.blocks]
        return [int(self._chosen[b.first : b.first + b.records].sum()) for b in self._reader.blocks]

    def _order_buckets(self, batch_size: int, **arguments: Any) -> BucketOrder:
        """Returns the batches of all buckets; see `BucketOrder` for the arguments."""
        records = [
            batch_size * (self._layouts[grid].images if self._layouts else 1)
            for grid in self.contract.grids
        ]
        return BucketOrder(self._buckets_in_order(), records, **arguments)

    def _buckets_in_order(self) -> np.ndarray:
        """Returns the bucket of each record in the order of the epoch, uint8 [records]."""
        buckets = read_buckets(self._dataset)
        pieces = []
        for number in range(len(self._order.starts) - 1):
            window = self._order.window(number)
            blocks = [self._reader.blocks[block] for block in window.blocks]
            rows = np.concatenate([np.arange(b.first, b.first + b.records) for b in blocks])
            order = self._order_in(window)
            pieces.append(buckets[rows if order is None else rows[order]])
        return np.concatenate(pieces)

    def _of_bucket(self, number: int) -> Batch:
        """Reads a batch of one bucket."""
        assert self._buckets is not None
        bucket, positions = self._buckets.batch(number)
        grid = self.contract.grids[bucket]
        columns = self._gather(positions)
        tokens = self._dataset.grid_tokens(columns["tokens"], grid, self._dataset.directory)
        columns["tokens"] = tokens.astype(lattice.token_dtype(self.vocab_size))
        if not self._layouts:
            return columns
        batch = self._layouts[grid].lay_out(columns)
        return {**batch, GRID: np.tile(np.array(grid, np.int64), (len(batch["tokens"]), 1))}

    def _gather(self, positions: np.ndarray) -> Columns:
        """Reads the records at some ascending positions of the epoch."""
        windows = np.searchsorted(self._order.starts, positions, side="right") - 1
        pieces = []
        for number in np.unique(windows).tolist():
            rows = positions[windows == number] - self._order.starts[number]
            pieces.append({name: each[rows] for name, each in self._window(number).items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _take(self, first: int, end: int) -> Columns:
        """Reads the records at the positions [first, end) of the epoch."""
        pieces = []
        while first < end:
            number = self._order.window_at(first)
            begin, stop = self._order.starts[number : number + 2].tolist()
            stop = min(stop, end)
            window = self._window(number)
            pieces.append(
                {name: rows[first - begin : stop - begin] for name, rows in window.items()}
            )
            first = stop
        if len(pieces) == 1:
            # Copied, so that changing a batch does not change the window; tokens are copied later.
            return {
                name: rows if name == "tokens" else rows.copy() for name, rows in pieces[0].items()
            }
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _window(self, number: int) -> Columns:
        """Returns the records of a window, in the order of the epoch."""
        with self._lock:
            if number not in self._windows:
                kept = _BUCKET_WINDOWS if self.has_buckets else _WINDOWS
                while len(self._windows) >= kept:
                    self._windows.pop(next(iter(self._windows)))
                self._windows[number] = self._read_window(number)
            return self._windows[number]

    def _read_window(self, number: int) -> Columns:
        window = self._order.window(number)
        wanted = self._layout.wanted if self._layout else self._dataset.names
        columns = self._reader.read(window.blocks, wanted)
        order = self._order_in(window)
        return columns if order is None else {name: rows[order] for name, rows in columns.items()}

    def _order_in(self, window: Window) -> np.ndarray | None:
        """Returns which records of a window's blocks to take, in which order; None for all."""
        if self._chosen is None:
            return window.order
        blocks = [self._reader.blocks[block] for block in window.blocks]
        chosen = [self._chosen[block.first : block.first + block.records] for block in blocks]
        kept = np.flatnonzero(np.concatenate(chosen))
        return kept if window.order is None else kept[window.order]

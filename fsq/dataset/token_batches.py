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
from fsq.dataset.epoch_order import EpochOrder, share_of
from fsq.dataset.open_dataset import open_dataset
from fsq.dataset.sequence import Layout, SequenceSpec
from fsq.dataset.view_selection import Views, check_views, choose_records
from fsq.errors import RequestError
from fsq.quantizer import lattice

Batch = dict[str, np.ndarray]
_WINDOWS = 2  # kept in memory, because a batch may span two


class TokenBatches:
    """One epoch of a dataset, or one host's share of it, as batches: `batches[index]`.

    A batch depends only on (seed, epoch, shard) and its index, so the number of
    batches taken is the whole position in an epoch: resume with `range(taken,
    len(batches))`, on any machine. See `fsq.dataset.epoch_order`.

    Also a Grain data source and a PyTorch dataset, with batches as elements.
    Imports neither TensorFlow nor Beam. At most two windows of 16,384 records each
    are in memory.

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
        self._layout = (
            None if sequence is None else Layout(sequence, self._dataset, with_labels=with_labels)
        )
        self.vocab_size = self._layout.vocab_size if self._layout else self.contract.vocab_size
        self._reader = RecordReader(self._dataset)
        self._chosen = choose_records(self._dataset, views, seed=shuffle_seed, epoch=epoch)
        self._order = EpochOrder(self._block_sizes(), shuffle_seed, epoch)
        self._begin, self._end = share_of(len(self._order), index, share_count)
        self._batch_records = batch_size * (self._layout.images if self._layout else 1)
        count = self._end - self._begin
        if drop_remainder:
            count = len(self._order) // share_count
            self._count = count // self._batch_records
        else:
            self._count = -(-count // self._batch_records)
        if not self._count:
            what = f"{self._batch_records:,} records" if drop_remainder else "one record"
            each = f" for each of {share_count:,} shares" if share_count > 1 else ""
            hosts = "with fewer hosts, or " if share_count > 1 else ""
            raise RequestError(
                f"{directory}: expected at least {what}{each}, found {len(self._order):,} in all. "
                f"Read it {hosts}in smaller batches."
            )
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
        self._windows: dict[int, Columns] = {}
        self._lock = threading.Lock()

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
          features, [B].

        Raises:
          IndexError: There is no such batch.
          RequestError: The index is not an integer.
          DataError: A shard is damaged.
        """
        number = check_index("TokenBatches", number, len(self))
        return self.joined(number, number + 1)

    def joined(self, first: int, end: int) -> Batch:
        """Reads the batches [first, end), concatenated to one."""
        begin, stop = (self._begin + number * self._batch_records for number in (first, end))
        columns = self._take(begin, min(stop, self._end))
        if self._layout is not None:
            return self._layout.lay_out(columns)
        dtype = lattice.token_dtype(self.vocab_size)
        return {**columns, "tokens": columns["tokens"].astype(dtype)}

    def element_spec(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Returns dtype and shape of a batch's arrays, without the batch dimension."""
        if self._layout is not None:
            return self._layout.element_spec()
        tokens = np.dtype(lattice.token_dtype(self.vocab_size))
        found: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        for field in self._dataset.fields:
            dtype = np.dtype(object if field.kind == "bytes" else field.kind)
            found[field.name] = (dtype, () if field.length in (1, None) else (field.length,))
        return {**found, "tokens": (tokens, (self.contract.tokens_per_image,))}

    def __getstate__(self) -> dict[str, Any]:
        # Each process of a data loader reads its own windows.
        return {**self.__dict__, "_windows": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}

    def _block_sizes(self) -> list[int]:
        if self._chosen is None:
            return [block.records for block in self._reader.blocks]
        return [int(self._chosen[b.first : b.first + b.records].sum()) for b in self._reader.blocks]

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
                while len(self._windows) >= _WINDOWS:
                    self._windows.pop(next(iter(self._windows)))
                self._windows[number] = self._read_window(number)
            return self._windows[number]

    def _read_window(self, number: int) -> Columns:
        window = self._order.window(number)
        wanted = self._layout.wanted if self._layout else self._dataset.names
        columns = self._reader.read(window.blocks, wanted)
        order = window.order
        if self._chosen is not None:
            blocks = [self._reader.blocks[block] for block in window.blocks]
            chosen = [self._chosen[block.first : block.first + block.records] for block in blocks]
            kept = np.flatnonzero(np.concatenate(chosen))
            order = kept if order is None else kept[order]
        return columns if order is None else {name: rows[order] for name, rows in columns.items()}

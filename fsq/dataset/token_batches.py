"""Batches of a dataset, each a pure function of its number. NumPy, no TensorFlow."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fsq.dataset.argument_checks import check_directory, check_shard, check_whole
from fsq.dataset.block_reader import Columns, RecordReader
from fsq.dataset.epoch_order import EpochOrder, share_of
from fsq.dataset.open_dataset import open_dataset
from fsq.dataset.sequence import Layout, SequenceSpec
from fsq.dataset.view_selection import Views, check_views, choose_records
from fsq.errors import RequestError
from fsq.quantizer import lattice

Batch = dict[str, np.ndarray]
_WINDOWS = 2  # kept; a batch may lie across the border of two


class TokenBatches:
    """One epoch of a dataset, or a host's share of it, as batches: `batches[number]`.

    A batch follows from (seed, epoch, shard) and its number alone, so the number
    of batches taken is all that has to be saved: go on with `range(taken,
    len(batches))`, today or on another machine. See `fsq.dataset.epoch_order`.

    A Grain data source and a PyTorch dataset too, batches being its elements.
    Imports neither TensorFlow nor Beam. Not more than two windows of records, 16,384
    each, are in memory.

    Args:
      directory: The dataset.
      split: Its split, None for whichever it is.
      batch_size: Sequences per batch; records, without a `sequence`.
      sequence: How tokens become sequences; None for records as they are stored.
      shuffle_seed: None for the order of the shards, which is shuffled, but always
        the same.
      epoch: Another epoch is another order.
      shard: (index, count): which share, of how many. The shares of an epoch are
        disjoint, together they are all of it, and their sizes differ by one at most.
      views: 'all' records; of every image the 'first' view of the config; or one
        view 'one_per_epoch', another in another epoch.
      with_labels: With a sequence: also return 'label'.
      drop_remainder: Leave out what does not fill a batch, so that all batches have
        one shape and all shares have equally many.

    Raises:
      RequestError: It is not a finished dataset, or has not what is asked for.
      DataError: It is damaged, or has a format that this version does not read.
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
        self._windows: dict[int, Columns] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many batches the epoch, or the share of it, has."""
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            yield self[number]

    def __getitem__(self, number: int) -> Batch:
        """Returns a batch.

        Returns:
          With a sequence: see `Layout.lay_out`. Without: every field of the records;
          'tokens' int32 (int64 above 2**31 codes) [B, rows * columns], 'key' and 'view'
          bytes objects [B], 'crop' int64 [B, 4], 'flip' int64 [B], and what the job
          carried, [B].

        Raises:
          IndexError: There is no such batch.
          DataError: A shard is damaged.
        """
        number = range(len(self))[number]
        return self.joined(number, number + 1)

    def joined(self, first: int, end: int) -> Batch:
        """Returns the batches from number `first` to before `end`, joined to one."""
        begin, stop = (self._begin + number * self._batch_records for number in (first, end))
        columns = self._take(begin, min(stop, self._end))
        if self._layout is not None:
            return self._layout.lay_out(columns)
        dtype = lattice.token_dtype(self.vocab_size)
        return {**columns, "tokens": columns["tokens"].astype(dtype)}

    def element_spec(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Returns type and shape of what a batch holds, without the batch's own dimension."""
        if self._layout is not None:
            return self._layout.element_spec()
        tokens = np.dtype(lattice.token_dtype(self.vocab_size))
        found: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        for field in self._dataset.fields:
            dtype = np.dtype(object if field.kind == "bytes" else field.kind)
            found[field.name] = (dtype, () if field.length in (1, None) else (field.length,))
        return {**found, "tokens": (tokens, (self.contract.tokens_per_image,))}

    def __getstate__(self) -> dict[str, Any]:
        # For the processes of a loader; each reads its own windows.
        return {**self.__dict__, "_windows": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}

    def _block_sizes(self) -> list[int]:
        if self._chosen is None:
            return [block.records for block in self._reader.blocks]
        return [int(self._chosen[b.first : b.first + b.records].sum()) for b in self._reader.blocks]

    def _take(self, first: int, end: int) -> Columns:
        """Takes the records at some positions of the epoch."""
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
            # Copied, lest somebody who changes a batch changes the window; tokens will be.
            return {
                name: rows if name == "tokens" else rows.copy() for name, rows in pieces[0].items()
            }
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _window(self, number: int) -> Columns:
        """Reads a window, its records in the order of the epoch."""
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

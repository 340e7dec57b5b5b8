"""Blocks: consecutive records of one file, which are read together and shuffled as one."""

import concurrent.futures
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fsq.errors import DataError
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources import Listing, Source

# Where records lie one after the other in a file, reading some of them costs less than a seek for
# each. The images of a folder are files of their own: any order costs the same.
RECORDS_PER_BLOCK = 32
# Two windows are in memory, as encoded files: one is read while the rest of another is used.
WINDOW_RECORDS = 2048
WINDOWS_IN_MEMORY = 2

Record = ImageRecord | BadRecord


class Place(NamedTuple):
    """Where a record lies: its block, and its place among the records of the block."""

    block: int
    row: int


class Blocks:
    """The records of a listing in blocks.

    Args:
      listing: The listing, with a stride of 1.
      splits: Which splits of the listing; None for all.

    Attributes:
      records: Records per block, but for the last of a file.
      sizes: Number of records in each block, int64.
      firsts: Number of each block's first record among all records, int64.
    """

    def __init__(self, listing: Listing, splits: Sequence[str | None] | None = None):
        self.records = RECORDS_PER_BLOCK if listing.text is None else 1
        self._files = [f for f in listing.files if splits is None or f.split in splits]
        counts = np.array([-(-f.num_records // self.records) for f in self._files], np.int64)
        self._file = np.repeat(np.arange(len(self._files)), counts)
        # Number of the block in its file.
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._begin = number * self.records
        totals = np.array([f.num_records for f in self._files], np.int64)
        self.sizes: np.ndarray = np.minimum(self.records, totals[self._file] - self._begin)
        self.firsts: np.ndarray = np.cumsum(self.sizes) - self.sizes

    def read(self, source: Source, listing: Listing, blocks: Iterable[int]) -> list[list[Record]]:
        """Reads whole blocks; those of one file that follow each other are one read.

        Raises:
          DataError: A file cannot be read.
        """
        found: list[list[Record]] = []
        wanted = list(blocks)
        while wanted:
            index = int(self._file[wanted[0]])
            count = next((n for n, b in enumerate(wanted) if self._file[b] != index), len(wanted))
            some, wanted = wanted[:count], wanted[count:]
            file = self._files[index]
            spans = [
                span
                for block in some
                for span in file.spans(file.first + int(self._begin[block]), int(self.sizes[block]))
            ]
            try:
                records = list(source.read(file.unit("", tuple(spans)), listing.features))
            except OSError as error:
                raise DataError(
                    f"{file.path}: expected a file that can be read, got: "
                    f"{error.strerror or error}. Start again when it is there."
                ) from error
            ends = np.cumsum(self.sizes[some]).tolist()
            found += [records[end - self.sizes[b] : end] for b, end in zip(some, ends, strict=True)]
        return found

    def group_of(self, source: Source, block: int, key: str) -> str:
        """Returns the source file that a record is counted in."""
        return source.group_of(self._files[int(self._file[block])].unit("", ()), key)

    def number_of(self, place: Place) -> int:
        """Returns the number of a record in its file."""
        file = self._files[int(self._file[place.block])]
        return file.first + int(self._begin[place.block]) + place.row


Future = concurrent.futures.Future[list[Record | None]]


class BlockCache:
    """Reads each block once, though several threads take records of it, and forgets what is taken.

    Args:
      blocks: The blocks.
      source: What they are read from.
      listing: Its listing, on disk.
    """

    def __init__(self, blocks: Blocks, source: Source, listing: Listing):
        self._blocks, self._source, self._listing = blocks, source, listing
        self._windows: OrderedDict[int, dict[int, Future]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, window: int, places: Sequence[Place]) -> list[Record]:
        """Returns records of a window, in the order of their places.

        Raises:
          DataError: A file cannot be read.
        """
        wanted = dict.fromkeys(place.block for place in places)
        with self._lock:
            cached = self._windows.setdefault(window, {})
            while len(self._windows) > WINDOWS_IN_MEMORY:
                self._windows.popitem(last=False)
            own = {block: Future() for block in sorted(wanted) if block not in cached}
            cached |= own
            futures = {block: cached[block] for block in wanted}
        # Whoever claims blocks reads them before it waits for those of others.
        self._read(own, cached)
        return [self._take(futures[place.block], place, cached) for place in places]

    def _read(self, own: dict[int, Future], cached: dict[int, Future]) -> None:
        try:
            for future, records in zip(
                own.values(), self._blocks.read(self._source, self._listing, own), strict=True
            ):
                future.set_result(list(records))
        except BaseException as error:
            with self._lock:
                for block, future in own.items():
                    cached.pop(block, None)
                    if not future.done():
                        future.set_exception(error)
            raise

    def _take(self, future: Future, place: Place, cached: dict[int, Future]) -> Record:
        records = future.result()
        with self._lock:
            record, records[place.row] = records[place.row], None
            if all(left is None for left in records):
                cached.pop(place.block, None)
        if record is not None:
            return record
        # Somebody else reads the same epoch too.
        ((*again,),) = self._blocks.read(self._source, self._listing, [place.block])
        return again[place.row]

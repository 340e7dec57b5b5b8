"""One epoch of images: every position is a record, in an order computed from (seed, epoch)."""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fsq.dataset.epoch_order import EpochOrder, share_of
from fsq.dataset.records import FeatureKind, encode_key
from fsq.dataset.view_selection import Views, check_views, choose_views, hash_key
from fsq.errors import DataError
from fsq.images.view import View
from pipeline.core.records import Reject
from pipeline.loading.blocks import WINDOW_RECORDS, BlockCache, Place
from pipeline.loading.open_images import Fitting, OpenedImages
from pipeline.loading.rejects import OnReject, Rejects, ignore_reject
from pipeline.stages.decode import Refusal, decode_record
from pipeline.stages.gil_limiter import GilLimiter
from pipeline.stages.stage_timer import StageTimer

Columns = dict[str, np.ndarray]


_TYPES: dict[FeatureKind, type] = {"int64": np.int64, "float32": np.float32, "bytes": object}


class Field(NamedTuple):
    """Type of a column, object for bytes, and shape of one of its values."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class ImageEpoch:
    """One epoch of a source's images, or one host's share of it, by position.

    Blocks of records are permuted, and the records of a window of blocks among each other;
    the images of a folder are blocks of one. Thread-safe.

    Args:
      images: The images.
      shuffle_seed: Seed of the order; None for that of the listing.
      epoch: Index of the epoch; each has another order.
      shard: (index, count) of the share to read.
      views: Views of an image to make: all, the first, or one that each epoch draws anew.
      kept: Which records to read, bool [records]; all by default.
      fitting: How images are fitted, in this epoch; as the source was opened by default.
      on_reject: Called for each image that is left out.

    Attributes:
      images: The images.
      fitting: How they are fitted.
      failure: Why a read failed, if one did.
      rejects: The images that were left out so far.
      begin: First position of the share.
      end: One more than its last position.
    """

    def __init__(
        self,
        images: OpenedImages,
        *,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
        views: Views = "all",
        kept: np.ndarray | None = None,
        fitting: Fitting | None = None,
        on_reject: OnReject = ignore_reject,
    ):
        check_views(views)
        self.images, self.fitting = images, fitting or images.fitting
        self.failure: DataError | None = None
        self._seed, self._epoch, self._views, self._kept = shuffle_seed, epoch, views, kept
        window_blocks = WINDOW_RECORDS // images.blocks.records
        self._order = EpochOrder(images.sizes(kept), shuffle_seed, epoch, window_blocks)
        self.begin, self.end = share_of(len(self._order), *shard)
        self.rejects = Rejects(images.max_rejects(self.end - self.begin), on_reject)
        self._cache = BlockCache(images.blocks, images.source, images.listing)
        self._windows: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    @property
    def views_per_image(self) -> int:
        """Number of views of each image."""
        return len(self.fitting.view_names) if self._views == "all" else 1

    @property
    def count(self) -> int | None:
        """Number of views in the share; None if it depends on what is in the source."""
        images = self.images
        if not images.are_counted or images.max_rejects(self.end - self.begin):
            return None
        return (self.end - self.begin) * self.views_per_image

    def fields(self) -> dict[str, Field]:
        """Returns type and shape of the columns, without the first dimension."""
        carried = {
            feature.name: Field(np.dtype(_TYPES[feature.kind]), ())
            for feature in self.images.listing.features
        }
        return {
            "image": Field(np.dtype(np.uint8), self.fitting.spec.shape),
            "key": Field(np.dtype(object), ()),
            "view": Field(np.dtype(object), ()),
            "crop": Field(np.dtype(np.int64), (4,)),
            "flip": Field(np.dtype(np.int64), ()),
            "source_size": Field(np.dtype(np.int64), (2,)),
            "position": Field(np.dtype(np.int64), ()),
            **carried,
        }

    def read(self, first: int, end: int) -> Columns:
        """Reads and decodes the images at the positions [first, end) of the epoch.

        Returns:
          One row for each view of an image that is not rejected, in the order of the epoch.

        Raises:
          DataError: A file cannot be read, or there are too many rejects.
        """
        try:
            return self._read(first, end)
        except DataError as error:
            self.failure = error
            raise

    def _read(self, first: int, end: int) -> Columns:
        rows: list[tuple[Any, ...]] = []
        fitting, keep, views = self.fitting, self.images.keep, self.views_per_image
        with GilLimiter() as limiter:
            timer = StageTimer()
            parts = list(self._by_window(first, end))
            records = [one for window, some in parts for one in self._cache.take(window, some)]
            places = [place for _, some in parts for place in some]
            timer.lap("read")
            for position, place, record in zip(range(first, end), places, records, strict=True):
                if keep is not None and not keep(record.key):
                    continue
                decoded = decode_record(
                    record,
                    fitting.spec,
                    fitting.policies,
                    fitting.rules,
                    size_filter=fitting.size_filter,
                    choose=self._choose,
                )
                if isinstance(decoded, Refusal):
                    blocks, source = self.images.blocks, self.images.source
                    group = blocks.group_of(source, place.block, record.key)
                    number = blocks.number_of(place)
                    reject = Reject(record.key, decoded.stage, decoded.reason, group, number)
                    self.rejects.add(position, reject)
                    continue
                key = encode_key(record.key)
                for number, (view, pixels) in enumerate(
                    zip(decoded.views, decoded.pixels, strict=True)
                ):
                    view_position = position * views + number
                    of_view = view.name.encode(), view.crop, view.flip, view.source_size
                    rows.append((pixels, key, *of_view, view_position, *decoded.carried))
            columns = self._columns(rows)
            limiter.observe(timer.lap("decode") / max(1, end - first))
        return columns

    def _columns(self, rows: list[tuple[Any, ...]]) -> Columns:
        columns: Columns = {}
        for number, (name, field) in enumerate(self.fields().items()):
            columns[name] = np.empty((len(rows), *field.shape), field.dtype)
            for index, row in enumerate(rows):
                columns[name][index] = row[number]
        return columns

    def _choose(self, key: str, views: tuple[View, ...]) -> tuple[View, ...]:
        match self._views:
            case "all":
                return views
            case "first":
                return views[:1]
            case "one_per_epoch":
                hashed = np.array([hash_key(encode_key(key))], np.uint32)
                (chosen,) = choose_views(hashed, len(views), seed=self._seed, epoch=self._epoch)
                return (views[int(chosen)],)

    def _by_window(self, first: int, end: int) -> Iterator[tuple[int, list[Place]]]:
        """Yields the windows that hold the positions, with the places of the records."""
        while first < end:
            window = self._order.window_at(first)
            begin, stop = self._order.starts[window : window + 2].tolist()
            stop = min(stop, end)
            blocks, rows = self._records_of(window)
            part = slice(first - begin, stop - begin)
            yield window, list(map(Place, blocks[part].tolist(), rows[part].tolist()))
            first = stop

    def _records_of(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns block and row of the records of a window, in the order of the epoch."""
        with self._lock:
            if number not in self._windows:
                while len(self._windows) >= 2:
                    self._windows.pop(next(iter(self._windows)))
                self._windows[number] = self._make_window(number)
            return self._windows[number]

    def _make_window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        window = self._order.window(number)
        blocks = np.array(window.blocks, np.int64)
        sizes = self.images.blocks.sizes[blocks]
        block = np.repeat(blocks, sizes)
        row = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        if self._kept is not None:
            kept = self._kept[self.images.blocks.firsts[block] + row]
            block, row = block[kept], row[kept]
        return (block, row) if window.order is None else (block[window.order], row[window.order])

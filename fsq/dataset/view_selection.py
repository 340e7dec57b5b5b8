"""View selection: which views of each image an epoch reads."""

import dataclasses
import functools
from typing import Literal, get_args

import google_crc32c
import numpy as np

from fsq.dataset.block_reader import RecordReader
from fsq.dataset.epoch_order import WINDOW_BLOCKS, hash_numbers, mix
from fsq.dataset.open_dataset import DAMAGED, OpenedDataset
from fsq.errors import DataError, RequestError

Views = Literal["all", "first", "one_per_epoch"]


@dataclasses.dataclass(frozen=True)
class ViewIndex:
    """View and image of every record of a dataset, in the order of the shards.

    Attributes:
      view: Index of the view, uint8 [records].
      image: Hash of the key, uint32 [records]. On a collision two images get the same view.
    """

    view: np.ndarray
    image: np.ndarray


def check_views(views: str) -> None:
    """Raises a RequestError unless the value is one of `Views`."""
    if not isinstance(views, str) or views not in get_args(Views):
        raise RequestError(
            f"views: expected 'all', 'first' or 'one_per_epoch', got {views!r}. Choose one of them."
        )


def choose_records(
    dataset: OpenedDataset, views: Views, *, seed: int | None, epoch: int
) -> np.ndarray | None:
    """Selects the records of an epoch, bool [records]; None for all of them.

    With 'one_per_epoch' the view of an image is chosen by (seed, epoch, key). If there is
    a choice, the keys and views of all records are read once per process.
    """
    if views == "all" or len(dataset.views) == 1:
        return None
    index = _read_index(dataset)
    if views == "first":
        return index.view == 0
    return index.view == choose_views(index.image, len(dataset.views), seed=seed, epoch=epoch)


def choose_views(images: np.ndarray, count: int, *, seed: int | None, epoch: int) -> np.ndarray:
    """Chooses one of `count` views of each image, uint64 of any shape.

    Args:
      images: Hashes of the images' keys; see `hash_key`.
      count: Number of views of an image.
      seed: Of the choice, with the epoch.
      epoch: Index of the epoch.
    """
    return hash_numbers(images, mix(seed or 0, epoch, -2)) % np.uint64(count)


def hash_key(key: bytes) -> int:
    """Hashes a key to 32 bits."""
    hashed: int = google_crc32c.value(key)
    return hashed


@functools.lru_cache(maxsize=4)
def _read_index(dataset: OpenedDataset) -> ViewIndex:
    reader = RecordReader(dataset)
    numbers = {name.encode(): number for number, name in enumerate(dataset.views)}
    views, images = [], []
    for first in range(0, len(reader.blocks), WINDOW_BLOCKS):
        blocks = range(first, min(first + WINDOW_BLOCKS, len(reader.blocks)))
        columns = reader.read(blocks, ("key", "view"))
        try:
            views.append(np.array([numbers[name] for name in columns["view"].tolist()], np.uint8))
        except KeyError as error:
            raise DataError(
                f"{dataset.directory}: expected views {', '.join(dataset.views)}, "
                f"got {error.args[0]!a}. {DAMAGED}"
            ) from error
        hashes = [hash_key(key) for key in columns["key"].tolist()]
        images.append(np.array(hashes, np.uint32))
    return ViewIndex(np.concatenate(views), np.concatenate(images))

"""Held-out images: a source of their own or a share of the training images, and who is in both."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fsq.dataset.split_by_key import split_of
from fsq.errors import RequestError
from fsq.storage import filesystem
from pipeline.core.left_out import describe_left_out
from pipeline.sources import Listing, SourceConfig
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.training_images import read_in_order

REMEDY = "Give held_out other images, or a share of the source such as 0.1."


class Sizes(NamedTuple):
    """How many images there are, of a share about, and what the source leaves out, in words."""

    trained_on: int
    held_out: int
    left_out: str


@dataclasses.dataclass(frozen=True)
class Division:
    """Which images are trained on, and which are held out.

    Attributes:
      source: The training images, or those that are divided.
      held_out: The source of the held-out images.
      share: The share of `source` that is held out; None if they have a source of their own.
    """

    source: SourceConfig
    held_out: SourceConfig
    share: float | None

    @classmethod
    def of(cls, config: TrainConfig) -> "Division":
        """Returns the division of a run."""
        if isinstance(config.held_out, float):
            return cls(config.source, config.source, config.held_out)
        return cls(config.source, config.held_out, None)

    def is_trained_on(self, key: str) -> bool:
        """Returns whether an image of `source` is trained on."""
        return self.share is None or not is_held_out(key, self.share)

    @property
    def keep(self) -> Callable[[str], bool] | None:
        """Says which images of `source` are trained on; None for all."""
        return None if self.share is None else self.is_trained_on

    def held_out_batches(self, config: TrainConfig) -> Iterator[np.ndarray]:
        """Yields the held-out images; see `read_in_order`."""
        share = self.share
        keep = None if share is None else lambda key: is_held_out(key, share)
        return read_in_order(self.held_out, config.tokenizer.image, keep)

    def sizes(self) -> "Sizes":
        """Returns how many images are trained on and held out, without reading them.

        Raises:
          RequestError: A source is missing, or both read the same files.
        """
        listing = self.source.open().list()
        count, left_out = listing.num_records, describe_left_out(listing.left_out)
        if self.share is not None:
            held_out = round(count * self.share)
            return Sizes(count - held_out, held_out, left_out)
        try:
            other = self.held_out.open().list()
        except RequestError as error:
            # A source does not know which key of the config it came from.
            message = re.sub(r"(?<![\w./])source\.(?=[a-z])", "held_out.", str(error))
            raise RequestError(f"held_out: {message}") from error
        if _is_part_of(_places(self.held_out, other), _places(self.source, listing)):
            raise RequestError(
                "held_out: expected images that are not trained on, found what 'source' reads: "
                f"{self.held_out.open().describe()}. {REMEDY}"
            )
        return Sizes(count, other.num_records, left_out)


def is_held_out(key: str, share: float) -> bool:
    """Returns whether an image belongs to the last split of {train: 1 - share, val: share}."""
    rest = float(1 - Fraction(str(share)))
    return split_of(key, {"train": rest, "held_out": share}) == "held_out"


Place = tuple[str, range | None]


def _places(config: SourceConfig, listing: Listing) -> list[Place]:
    """Returns each file and its records, or a folder of images."""
    if listing.text is not None:
        return [(_real_path(config.open().describe()), None)]
    return [(_real_path(file.path), file.numbers) for file in listing.files]


def _real_path(path: str) -> str:
    return os.path.realpath(path) if filesystem.is_local(path) else path


def _is_part_of(places: list[Place], whole: list[Place]) -> bool:
    """Returns whether all records in `places` are among those of `whole`."""

    def holds(outer: Place, inner: Place) -> bool:
        (path, numbers), (inner_path, inner_numbers) = outer, inner
        if numbers is None or inner_numbers is None:
            return numbers is inner_numbers and f"{inner_path}/".startswith(f"{path}/")
        return (
            path == inner_path
            and numbers.start <= inner_numbers.start
            and inner_numbers.stop <= numbers.stop
        )

    return all(any(holds(outer, inner) for outer in whole) for inner in places)


class Overlap:
    """Counts the held-out images that are trained on too.

    Two images are the same if their pixels are, fitted as the tokenizer sees them: then
    another file format or name does not hide it.
    """

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._seen: set[bytes] = set()

    def add_held_out(self, batches: Iterator[np.ndarray]) -> np.ndarray:
        """Notes all held-out images; returns the first batch.

        Raises:
          RequestError: There are none.
        """
        first: np.ndarray | None = None
        for batch in batches:
            first = batch if first is None else first
            for image in batch:
                digest = _digest(image)
                self._counts[digest] = self._counts.get(digest, 0) + 1
        if first is None:
            raise RequestError(
                "held_out: expected at least one image, got none. Choose a larger share."
            )
        return first

    def see(self, image: np.ndarray) -> None:
        """Notes an image that is trained on."""
        if (digest := _digest(image)) in self._counts:
            self._seen.add(digest)

    def check(self, warn: Callable[[str], None]) -> int:
        """Returns how many held-out images are trained on, and warns of them.

        Raises:
          RequestError: All are.
        """
        total, shared = sum(self._counts.values()), sum(self._counts[one] for one in self._seen)
        if shared == total:
            raise RequestError(
                "held_out: expected images that are not trained on, found the pixels of all "
                f"{total:,} among those of 'source'. {REMEDY}"
            )
        if shared:
            warn(
                f"held_out: {shared:,} of {total:,} images have the pixels of a training image; "
                "the figures count them."
            )
        return shared


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()

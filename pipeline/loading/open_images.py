"""Opened images: a source listed once for any number of epochs, and how its images are fitted."""

import contextlib
import dataclasses
import math
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from fsq.images.spec import DEFAULT_RULES, DecodeRules, ImageSpec
from pipeline.core.size_filter import SizeFilter
from pipeline.loading.blocks import Blocks
from pipeline.sources import Source
from pipeline.views import DEFAULT_VIEWS, ViewPolicy


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How pixels are made of image files.

    Attributes:
      spec: How images are fitted.
      policies: Which views are made of them.
      rules: Which image files are decoded.
      size_filter: Which images are left out on purpose, by their size.
    """

    spec: ImageSpec
    policies: tuple[ViewPolicy, ...] = DEFAULT_VIEWS
    rules: DecodeRules = DEFAULT_RULES
    size_filter: SizeFilter | None = None

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the views of an image, in order."""
        return tuple(name for policy in self.policies for name in policy.names)


class OpenedImages:
    """The images of a source, listed once.

    A listing of image files lies in a temporary folder until nothing refers to this object.

    Args:
      source: The source.
      fitting: How its images are fitted.
      max_reject_fraction: Share of the images that may be rejected; None where none may be, and
        no config says otherwise.
      splits: The splits of the listing to read; all by default.
      keep: Which images to read, by key; all by default.

    Attributes:
      listing: The listing.
      blocks: Its records in blocks.

    Raises:
      RequestError, DataError: See `Source.list`.
    """

    def __init__(
        self,
        source: Source,
        fitting: Fitting,
        *,
        max_reject_fraction: float | None = None,
        splits: Sequence[str | None] | None = None,
        keep: Callable[[str], bool] | None = None,
    ):
        self.source, self.fitting, self.keep = source, fitting, keep
        stack = contextlib.ExitStack()
        self.listing = stack.enter_context(source.list().on_disk())
        self._removal = weakref.finalize(self, stack.close)
        self.blocks = Blocks(self.listing, splits)
        self._max_reject_fraction = max_reject_fraction

    def __len__(self) -> int:
        """Number of records, those that `keep` leaves out too."""
        return int(self.blocks.sizes.sum())

    @property
    def are_counted(self) -> bool:
        """Whether the number of images is known before they are read, unless one is bad."""
        return self.keep is None and self.fitting.size_filter is None

    def max_rejects(self, count: int) -> int | None:
        """Returns how many of some images may be rejected; None where none ever may be."""
        if self._max_reject_fraction is None:
            return None
        # In binary, a fraction such as 0.29 is slightly smaller than written.
        return math.floor(self._max_reject_fraction * count + 1e-6)

    def sizes(self, kept: np.ndarray | None) -> np.ndarray:
        """Returns the number of records of each block, or of those that are kept."""
        if kept is None:
            return self.blocks.sizes
        sizes: np.ndarray = np.add.reduceat(kept.astype(np.int64), self.blocks.firsts)
        return sizes

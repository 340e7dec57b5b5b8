"""Center crop: the largest centred square of an image, as it is or mirrored."""

import functools
from typing import Literal

from fsq.images.crop import View, center_crop
from pipeline.views.base import ViewPolicy


class Center(ViewPolicy):
    """The center crop."""

    kind: Literal["center"] = "center"

    def views(self, key: str, width: int, height: int) -> tuple[View, ...]:
        """Returns the view; see `ViewPolicy.views`."""
        return _center(self.kind, width, height, flip=False)


class CenterFlipped(ViewPolicy):
    """The center crop, flipped horizontally."""

    kind: Literal["center_flipped"] = "center_flipped"

    def views(self, key: str, width: int, height: int) -> tuple[View, ...]:
        """Returns the view; see `ViewPolicy.views`."""
        return _center(self.kind, width, height, flip=True)


# Most images of a dataset have the same few sizes.
@functools.lru_cache(maxsize=256)
def _center(name: str, width: int, height: int, *, flip: bool) -> tuple[View, ...]:
    return (View(name, center_crop(width, height), flip),)

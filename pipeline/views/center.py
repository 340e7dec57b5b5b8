"""Center: the crop of the tokenizer's own policy, as it is or mirrored."""

import functools
from typing import Literal

from fsq.images.crops import CROPS
from fsq.images.spec import ImageSpec
from fsq.images.view import View, placed_view
from pipeline.views.base import ViewPolicy


class Center(ViewPolicy):
    """The image as the tokenizer's crop policy fits it."""

    kind: Literal["center"] = "center"

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the view; see `ViewPolicy.views`."""
        return _fitted(self.kind, width, height, spec, flip=False)


class CenterFlipped(ViewPolicy):
    """The same, flipped horizontally."""

    kind: Literal["center_flipped"] = "center_flipped"

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the view; see `ViewPolicy.views`."""
        return _fitted(self.kind, width, height, spec, flip=True)


# Most images of a dataset have the same few sizes.
@functools.lru_cache(maxsize=256)
def _fitted(name: str, width: int, height: int, spec: ImageSpec, *, flip: bool) -> tuple[View, ...]:
    placement = CROPS[spec.crop].place(width, height, spec.width, spec.height)
    return (placed_view(name, placement, (width, height), spec, flip=flip),)

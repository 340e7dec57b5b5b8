"""Corner crops: the corners and the middle of an image that is a little larger than the encoder's.

Source: ten-crop of LlamaGen (arXiv:2406.06525) with torchvision's `TenCrop`; its range factors
are 1.1 and 1.05. With the crop `adm` the pixels are LlamaGen's.
"""

import functools
from collections.abc import Iterator
from typing import Annotated, Literal

import pydantic

from fsq.images.crops import CROPS
from fsq.images.placement import Placement
from fsq.images.spec import ImageSpec
from fsq.images.view import View, placed_view
from pipeline.views.base import ViewPolicy

PLACES = ("top_left", "top_right", "bottom_left", "bottom_right", "middle")
# In a mirrored image the left corner shows what was right.
_MIRRORED = ("top_right", "top_left", "bottom_right", "bottom_left", "middle")


class FiveCrop(ViewPolicy):
    """Four corners and the middle.

    Attributes:
      range: Size of the image that they are cut from, over the encoder's.
    """

    kind: Literal["five_crop"] = "five_crop"
    range: Annotated[float, pydantic.Field(ge=1, le=4)] = 1.1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the views: the place, and the range."""
        return tuple(f"{place}_{self.range:g}" for place in PLACES)

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the views; see `ViewPolicy.views`."""
        return _views(self.names, self.range, (width, height), spec)


class TenCrop(ViewPolicy):
    """Four corners and the middle, then those of the mirrored image.

    Attributes:
      range: Size of the image that they are cut from, over the encoder's.
    """

    kind: Literal["ten_crop"] = "ten_crop"
    range: Annotated[float, pydantic.Field(ge=1, le=4)] = 1.1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the views: the place, whether it is mirrored, and the range."""
        mirrored = (f"{place}_flipped_{self.range:g}" for place in _MIRRORED)
        return (*(f"{place}_{self.range:g}" for place in PLACES), *mirrored)

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the views; see `ViewPolicy.views`."""
        return _views(self.names, self.range, (width, height), spec)


# Most images of a dataset have the same few sizes.
@functools.lru_cache(maxsize=256)
def _views(
    names: tuple[str, ...], factor: float, size: tuple[int, int], spec: ImageSpec
) -> tuple[View, ...]:
    canvas_width, canvas_height = int(spec.width * factor), int(spec.height * factor)
    base = CROPS[spec.crop].place(*size, canvas_width, canvas_height)
    free = (canvas_width - spec.width, canvas_height - spec.height)
    corners = [*_corners(*free)]
    # The place in the upright image of what is cut from the mirrored one.
    corners += [(free[0] - left, top) for left, top in corners]
    return tuple(
        placed_view(name, _moved(base, *corner), size, spec, flip=number >= len(PLACES))
        for number, (name, corner) in enumerate(zip(names, corners, strict=False))
    )


def _corners(free_x: int, free_y: int) -> Iterator[tuple[int, int]]:
    """Yields left and top of each place; the middle as torchvision rounds it, to even."""
    yield from ((0, 0), (free_x, 0), (0, free_y), (free_x, free_y))
    yield round(free_x / 2), round(free_y / 2)


def _moved(placement: Placement, left: int, top: int) -> Placement:
    return placement._replace(left=placement.left + left, top=placement.top + top)

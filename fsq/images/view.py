"""View: one crop of an image, as it is or mirrored."""

from typing import NamedTuple

from fsq.images.crop import CropBox
from fsq.images.placement import Placement, box_placement
from fsq.images.spec import ImageSpec


class View(NamedTuple):
    """A view of an image.

    Attributes:
      name: Its name.
      crop: The box that it shows, in source pixels.
      flip: Whether it is mirrored.
      placement: How its pixels are made; None if `crop` is resampled to the whole of it.
      source_size: Height and width of the upright image, in pixels; filled in when it is decoded.
    """

    name: str
    crop: CropBox
    flip: bool
    placement: Placement | None = None
    source_size: tuple[int, int] = (0, 0)

    def place(self, spec: ImageSpec) -> Placement:
        """Returns how its pixels are made."""
        return self.placement or box_placement(self.crop, spec.height, spec.width)


def placed_view(
    name: str, placement: Placement, size: tuple[int, int], spec: ImageSpec, *, flip: bool = False
) -> View:
    """Returns the view of a placement; its box is that of the placement in source pixels.

    Args:
      name: Its name.
      placement: How its pixels are made.
      size: Width and height of the upright image, in pixels.
      spec: Size of the view.
      flip: Whether it is mirrored.
    """
    box = placement.source_box(*size, spec.width, spec.height)
    if placement == box_placement(box, spec.height, spec.width):
        return View(name, box, flip)
    return View(name, box, flip, placement)

"""Placement: how the pixels of a view come from an image, as plain numbers.

An image is halved some times, a box of it is resampled to a canvas, and a window is cut out of
the canvas. Every crop policy and every view is such a placement, so that the pixels of one view
can be made again from another modality of the image, and its box be told in source pixels.
"""

from typing import NamedTuple

from fsq.images.crop import CropBox


class Placement(NamedTuple):
    """Where the pixels of a view come from.

    Attributes:
      halvings: How often the image is first halved by a box filter, odd pixels dropped.
      box: The part of the halved image that is resampled; None for all of it.
      height: Height of the canvas that it is resampled to, in pixels.
      width: Width of the canvas.
      top: First row of the canvas that is in the view; negative if the view is padded above.
      left: First column, likewise.
    """

    halvings: int
    box: CropBox | None
    height: int
    width: int
    top: int = 0
    left: int = 0

    @property
    def canvas(self) -> tuple[int, CropBox | None, int, int]:
        """What decides the canvas; views with equal ones share it."""
        return self[:4]

    def halved(self, source_width: int, source_height: int) -> tuple[int, int]:
        """Returns width and height of the halved image."""
        return source_width >> self.halvings, source_height >> self.halvings

    def source_box(self, source_width: int, source_height: int, width: int, height: int) -> CropBox:
        """Returns the box that a view shows, rounded to source pixels and without padding.

        Args:
          source_width: Width of the upright image, in pixels.
          source_height: Height of the upright image.
          width: Width of the view.
          height: Height of the view.
        """
        halved_width, halved_height = self.halved(source_width, source_height)
        box = self.box or CropBox(0, 0, halved_width, halved_height)
        left, right = _span(
            (self.left, self.left + width),
            self.width,
            (box.left, box.right),
            source_width / halved_width,
            source_width,
        )
        top, bottom = _span(
            (self.top, self.top + height),
            self.height,
            (box.top, box.bottom),
            source_height / halved_height,
            source_height,
        )
        return CropBox(left, top, right, bottom)


def _span(
    window: tuple[int, int], canvas: int, box: tuple[int, int], scale: float, size: int
) -> tuple[int, int]:
    """Maps an interval of the canvas to source pixels; at least one pixel, inside the image."""
    step = (box[1] - box[0]) / canvas
    first, last = (round((box[0] + place * step) * scale) for place in window)
    first = min(max(first, 0), size - 1)
    return first, max(min(last, size), first + 1)


def box_placement(box: CropBox, height: int, width: int) -> Placement:
    """Returns the placement that resamples a box to the whole view."""
    return Placement(0, box, height, width)

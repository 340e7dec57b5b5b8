"""Crop boxes: rectangles in the pixels of an upright image."""

from typing import NamedTuple


class CropBox(NamedTuple):
    """A rectangle in the pixels of the upright image; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def center_crop(source_width: int, source_height: int, width: int = 1, height: int = 1) -> CropBox:
    """Returns the largest centred box of a shape; an odd pixel remains at the right or bottom.

    Args:
      source_width: Width of the image, in pixels.
      source_height: Height of the image.
      width: Width of the shape, which is a square by default.
      height: Height of the shape.

    >>> center_crop(400, 533)
    CropBox(left=0, top=66, right=400, bottom=466)
    >>> center_crop(400, 533, 320, 192)
    CropBox(left=0, top=146, right=400, bottom=386)
    """
    box_width, box_height = _largest(source_width, source_height, width, height)
    left, top = (source_width - box_width) // 2, (source_height - box_height) // 2
    return CropBox(left, top, left + box_width, top + box_height)


def random_crop(
    size: tuple[int, int],
    smallest: float,
    draws: tuple[float, float, float],
    shape: tuple[int, int] = (1, 1),
) -> CropBox:
    """Returns a box of a shape inside the image, given by uniform random numbers.

    Args:
      size: Width and height of the image, in pixels.
      smallest: Smallest side of the box, as a share of the largest that fits.
      draws: In [0, 1): the side between smallest and largest, then the position between left
        and right, and between top and bottom.
      shape: Width and height of the shape, which is a square by default.

    >>> random_crop((400, 533), 0.5, (0.0, 0.0, 0.999))
    CropBox(left=0, top=333, right=200, bottom=533)
    """
    scale, x, y = draws
    share = smallest + (1 - smallest) * scale
    largest = _largest(*size, *shape)
    width, height = (max(1, round(side * share)) for side in largest)
    left, top = int(x * (size[0] - width + 1)), int(y * (size[1] - height + 1))
    return CropBox(left, top, left + width, top + height)


def _largest(source_width: int, source_height: int, width: int, height: int) -> tuple[int, int]:
    """Returns width and height of the largest box of a shape; rounded down, at least 1."""
    if source_width * height > source_height * width:
        return max(1, source_height * width // height), source_height
    return source_width, max(1, source_width * height // width)

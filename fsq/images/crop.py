"""Cropping and resampling: boxes in the pixels of an upright image, views."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from fsq.images.spec import ImageSpec

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class CropBox(NamedTuple):
    """A rectangle in the pixels of the upright image; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def center_crop(width: int, height: int) -> CropBox:
    """Returns the largest centred square; an odd pixel remains at the right or bottom.

    >>> center_crop(400, 533)
    CropBox(left=0, top=66, right=400, bottom=466)
    """
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return CropBox(left, top, left + side, top + side)


def fit_image(
    pixels: np.ndarray, spec: ImageSpec, box: CropBox, *, flip: bool = False
) -> np.ndarray:
    """Crops, resamples and flips a decoded image.

    Args:
      pixels: Result of `decode_image`, uint8 [H, W, C].
      spec: Size, channels and resize rule.
      box: The crop, inside the image.
      flip: Mirror left and right, after resampling.

    Returns:
      uint8 pixels, shape [S, S, C].
    """
    size = spec.size_pixels
    if box.right - box.left == size and box.bottom - box.top == size:
        fitted = pixels[box.top : box.bottom, box.left : box.right]
    else:
        image = Image.fromarray(pixels[..., 0] if spec.channels == 1 else pixels)
        image = image.resize((size, size), _FILTERS[spec.resize], box=box)
        fitted = np.asarray(image).reshape(spec.shape)
    return fitted[:, ::-1] if flip else fitted


class View(NamedTuple):
    """A view of an image: its name, its crop in source pixels, whether it is mirrored."""

    name: str
    crop: CropBox
    flip: bool


def random_crop(
    width: int, height: int, smallest: float, scale: float, x: float, y: float
) -> CropBox:
    """Returns a square inside the image, given by uniform random numbers.

    Args:
      width: Width of the image, in pixels.
      height: Height of the image, in pixels.
      smallest: Smallest side of the square, as a fraction of the shorter side.
      scale: In [0, 1), side of the square between smallest and largest.
      x: In [0, 1), position of the square between left and right.
      y: In [0, 1), position of the square between top and bottom.

    >>> random_crop(400, 533, 0.5, 0.0, 0.0, 0.999)
    CropBox(left=0, top=333, right=200, bottom=533)
    """
    shorter = min(width, height)
    side = max(1, round(shorter * (smallest + (1 - smallest) * scale)))
    left, top = int(x * (width - side + 1)), int(y * (height - side + 1))
    return CropBox(left, top, left + side, top + side)

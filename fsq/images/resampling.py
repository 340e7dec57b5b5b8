"""Resampling: makes the pixels of a view from those of an image, by its placement."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from fsq.images.crop import CropBox
from fsq.images.crops import CROPS
from fsq.images.placement import Placement
from fsq.images.spec import ImageSpec
from fsq.images.view import View

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def fit_image(
    pixels: np.ndarray, spec: ImageSpec, placement: Placement | None = None, *, flip: bool = False
) -> np.ndarray:
    """Crops, resamples and flips a decoded image.

    Args:
      pixels: Result of `decode_image`, uint8 [H, W, C].
      spec: Size, channels, crop and resize rule.
      placement: Where the pixels come from; by default the spec's crop.
      flip: Mirror left and right, after resampling.

    Returns:
      uint8 pixels of `spec.shape`.
    """
    if placement is None:
        height, width, _ = pixels.shape
        placement = CROPS[spec.crop].place(width, height, spec.width, spec.height)
    fitted = cut_window(resample(pixels, placement, spec.filter), placement, spec)
    return fitted[:, ::-1] if flip else fitted


def fit_views(pixels: np.ndarray, spec: ImageSpec, views: Sequence[View]) -> list[np.ndarray]:
    """Fits an image for each view; views that share a canvas share its resampling.

    Args:
      pixels: Result of `decode_image`, uint8 [H, W, C].
      spec: Size, channels, crop and resize rule.
      views: The views.

    Returns:
      uint8 pixels of `spec.shape` for each view.
    """
    fitted: list[np.ndarray] = []
    made: Placement | None = None
    for view in views:
        placement = view.place(spec)
        if made is None or placement.canvas != made.canvas:
            canvas = resample(pixels, placement, spec.filter)
        if placement != made:
            upright = cut_window(canvas, placement, spec)
        made = placement
        fitted.append(upright[:, ::-1] if view.flip else upright)
    return fitted


def resample(pixels: np.ndarray, placement: Placement, filter_name: str) -> np.ndarray:
    """Makes the canvas of a placement, uint8 [height, width, C]; unscaled pixels do not change."""
    source_height, source_width, channels = pixels.shape
    box = placement.box or CropBox(0, 0, source_width, source_height)
    unscaled = (placement.width, placement.height) == (box.right - box.left, box.bottom - box.top)
    if unscaled and not placement.halvings:
        return pixels[box.top : box.bottom, box.left : box.right]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    for _ in range(placement.halvings):
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    size = (placement.width, placement.height)
    image = image.resize(size, FILTERS[filter_name], box=placement.box)
    return np.asarray(image).reshape(placement.height, placement.width, channels)


def cut_window(canvas: np.ndarray, placement: Placement, spec: ImageSpec) -> np.ndarray:
    """Cuts a view out of its canvas; what lies outside of the canvas is black."""
    height, width, channels = canvas.shape
    top, left = placement.top, placement.left
    rows = slice(max(top, 0), min(top + spec.height, height))
    columns = slice(max(left, 0), min(left + spec.width, width))
    inside = canvas[rows, columns]
    if inside.shape[:2] == (spec.height, spec.width):
        return inside
    padded = np.zeros((spec.height, spec.width, channels), canvas.dtype)
    y, x = max(-top, 0), max(-left, 0)
    padded[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return padded

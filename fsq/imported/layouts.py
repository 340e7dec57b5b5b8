"""Array layouts of images and latents: found by shape, converted to and from channels last.

`arrays` is TensorFlow or NumPy, whose `transpose` and `reshape` have the same arguments.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from fsq.images.spec import ImageSpec
from fsq.spec.network_spec import ImageLayout, LatentLayout

Shape = Sequence[int | None]
Grid = tuple[int, int]


class LatentShape(NamedTuple):
    """A layout and a grid that fit the shape of latents."""

    layout: LatentLayout
    grid: Grid


def image_layouts(shape: Shape | None, spec: ImageSpec) -> list[ImageLayout]:
    """Lists the layouts in which images of the contract fit a declared shape.

    >>> image_layouts((None, 3, None, None), ImageSpec(size_pixels=32, channels=3))
    ['channels_first']
    """
    height, width, channels = spec.shape
    shapes: dict[ImageLayout, tuple[int, ...]] = {
        "channels_last": (height, width, channels),
        "channels_first": (channels, height, width),
    }
    return [layout for layout, full in shapes.items() if shape is None or _fits(full, shape[1:])]


def latent_shapes(
    shape: Sequence[int], channels: int, grid: Grid | None, images: ImageLayout
) -> list[LatentShape]:
    """Lists the layouts and grids that fit the shape of latents, the likeliest first.

    Args:
      shape: Of the latents, [B, ...].
      channels: D, one per level.
      grid: Rows and columns, if known.
      images: The layout of the images; latents mostly have the same.

    >>> latent_shapes((2, 4, 7, 7), 4, None, "channels_first")
    [LatentShape(layout='channels_first', grid=(7, 7))]
    >>> latent_shapes((2, 32, 4), 4, (1, 32), "channels_last")
    [LatentShape(layout='flat', grid=(1, 32))]
    """
    found = []
    match tuple(shape[1:]):
        case (rows, columns, last) if last == channels:
            found.append(LatentShape("channels_last", (rows, columns)))
    match tuple(shape[1:]):
        case (first, rows, columns) if first == channels:
            found.append(LatentShape("channels_first", (rows, columns)))
        case (positions, last) if last == channels:
            side = math.isqrt(positions)
            square = (side, side) if side * side == positions else None
            flat = grid or square
            if flat is not None and flat[0] * flat[1] == positions:
                found.append(LatentShape("flat", flat))
    found.sort(key=lambda one: one.layout != images)
    return [one for one in found if grid in (None, one.grid)]


def place_images(images: Any, layout: ImageLayout, arrays: ModuleType) -> Any:
    """Converts images [B, H, W, C] to the layout."""
    return arrays.transpose(images, [0, 3, 1, 2]) if layout == "channels_first" else images


def images_to_last(images: Any, layout: ImageLayout, arrays: ModuleType) -> Any:
    """Converts images from the layout to [B, H, W, C]; the inverse of `place_images`."""
    return arrays.transpose(images, [0, 2, 3, 1]) if layout == "channels_first" else images


def place_latents(latents: Any, layout: LatentLayout, arrays: ModuleType) -> Any:
    """Converts latents [B, rows, columns, D] to the layout."""
    match layout:
        case "channels_first":
            return arrays.transpose(latents, [0, 3, 1, 2])
        case "flat":
            rows, columns, channels = latents.shape[1:]
            return arrays.reshape(latents, [-1, rows * columns, channels])
    return latents


def latents_to_last(
    latents: Any, layout: LatentLayout, shape: tuple[int, int, int], arrays: ModuleType
) -> Any:
    """Converts latents from the layout to [B, *shape]; the inverse of `place_latents`.

    Args:
      latents: In the layout.
      layout: The layout.
      shape: Rows, columns and D.
      arrays: TensorFlow or NumPy.
    """
    if layout == "channels_first":
        latents = arrays.transpose(latents, [0, 2, 3, 1])
    # In every layout: a TensorFlow graph does not always know the shape of its output.
    return arrays.reshape(latents, [-1, *shape])


def _fits(full: tuple[int, ...], declared: Shape) -> bool:
    return len(full) == len(declared) and all(
        size in (None, wanted) for size, wanted in zip(declared, full, strict=True)
    )

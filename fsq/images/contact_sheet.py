"""Contact sheet: rows of images in one image."""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE_PIXELS = 84  # small images are enlarged to at least this


GAP_PIXELS = 4


MARGIN_PIXELS = 96


MAX_COLUMNS = 16


def arrange(rows: list[tuple[str, list[np.ndarray]]]) -> Image.Image:
    """Draws rows of equally many images, line by line, with their names at the left.

    Args:
      rows: Name and images of each row, uint8 [H, W, C]; the sizes may differ, the images of
        one column should have the same.
    """
    count = len(rows[0][1])
    columns = min(count, MAX_COLUMNS)
    height, width = (max(image.shape[axis] for _, row in rows for image in row) for axis in (0, 1))
    zoom = max(1, math.ceil(TILE_PIXELS / max(height, width)))
    height, width = height * zoom, width * zoom
    step = height + GAP_PIXELS
    block = len(rows) * step + 2 * GAP_PIXELS
    size = (
        MARGIN_PIXELS + columns * (width + GAP_PIXELS),
        math.ceil(count / columns) * block + GAP_PIXELS,
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for number, (name, images) in enumerate(rows):
        for index, pixels in enumerate(images):
            top = GAP_PIXELS + index // columns * block + number * step
            left = MARGIN_PIXELS + index % columns * (width + GAP_PIXELS)
            tile = _enlarge(pixels, zoom)
            # A smaller image lies in the middle of its place.
            sheet.paste(tile, (left + (width - tile.width) // 2, top + (height - tile.height) // 2))
            if index % columns == 0:
                draw.text((MARGIN_PIXELS - 12, top + height // 2), name, "black", font, anchor="rm")
    return sheet


def _enlarge(pixels: Any, zoom: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    size = (image.width * zoom, image.height * zoom)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)

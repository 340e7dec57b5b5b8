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
    """Draws rows of equally many images, line by line, with their names at the left."""
    count = len(rows[0][1])
    columns = min(count, MAX_COLUMNS)
    side = rows[0][1][0].shape[0]
    tile = side * max(1, math.ceil(TILE_PIXELS / side)) if side < TILE_PIXELS else side
    step = tile + GAP_PIXELS
    block = len(rows) * step + 2 * GAP_PIXELS
    size = (MARGIN_PIXELS + columns * step, math.ceil(count / columns) * block + GAP_PIXELS)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for number, (name, images) in enumerate(rows):
        for index, pixels in enumerate(images):
            top = GAP_PIXELS + index // columns * block + number * step
            left = MARGIN_PIXELS + index % columns * step
            sheet.paste(_tile(pixels, tile), (left, top))
            if index % columns == 0:
                draw.text((MARGIN_PIXELS - 12, top + tile // 2), name, "black", font, anchor="rm")
    return sheet


def _tile(pixels: Any, size: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return image.convert("RGB").resize((size, size), Image.Resampling.NEAREST)

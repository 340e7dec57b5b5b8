"""The usual way to decode: Pillow, centre crop, bicubic resampling."""

import io

import numpy as np
from PIL import Image


def load_pixels(data: bytes, size: int, channels: int) -> np.ndarray:
    """Decodes one image file to uint8 [size, size, channels]."""
    image = Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB")
    return fit_pixels(image, size).reshape(size, size, channels)


def fit_pixels(image: Image.Image, size: int) -> np.ndarray:
    """Takes the centre square of an image, resampled to size x size."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.size != (size, size):
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)

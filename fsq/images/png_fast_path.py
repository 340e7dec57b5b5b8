"""PNG fast path: plain PNGs decoded without Pillow.

Research datasets are made of small PNGs, on which Pillow spends most of its time
in Python, holding the GIL. A file with a single 8-bit grey or RGB image and valid
checksums can be decoded in only one way; any other is left to Pillow.
"""

import functools
import struct
import zlib
from typing import Any

import numpy as np

from fsq.images.png_file import PNG_BEGIN

_END = b"\0\0\0\0IEND\xaeB`\x82"
# Signature and header, then length and name of the next chunk.
_FRONT = struct.Struct(">33sI4s")
_MOST_PLAIN_PIXELS = 2**20
# By channels: 8 bits, number of the colour type, compression, filter, interlacing.
_KINDS = {1: bytes((8, 0, 0, 0, 0)), 3: bytes((8, 2, 0, 0, 0))}


def decode_plain_png(data: bytes, channels: int, *, max_pixels: int = 2**20) -> np.ndarray | None:
    """Decodes a PNG that consists of a header, one chunk of pixels and an end.

    Args:
      data: The bytes of a file.
      channels: 1 for grey, 3 for RGB; nothing is converted.
      max_pixels: A larger image is left to Pillow, as is any above 2^20 pixels.

    Returns:
      uint8 [H, W, channels], the same pixels as Pillow's; None if the file is of
      another kind, damaged or too large, and left to Pillow.
    """
    if not _is_plain(data, channels, max_pixels):
        return None
    cv2 = load_opencv()
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    return pixels[..., None] if channels == 1 and pixels is not None else pixels


@functools.cache
def load_opencv() -> Any:
    """Returns OpenCV, which takes a tenth of a second to import."""
    import cv2

    return cv2


def _is_plain(data: bytes, channels: int, max_pixels: int) -> bool:
    # 57 bytes without the pixels: signature 8, header 25, framing of two chunks 12 each.
    if len(data) < 57:
        return False
    header, size, name = _FRONT.unpack_from(data)
    return (
        name == b"IDAT"
        and size == len(data) - 57
        and _is_plain_header(header, channels, max_pixels)
        and data.endswith(_END)
        # For small data a copy is cheaper than a view.
        and zlib.crc32(data[37:-16]) == int.from_bytes(data[-16:-12])
    )


@functools.lru_cache(maxsize=1024)  # the images of a dataset often have one size
def _is_plain_header(header: bytes, channels: int, max_pixels: int) -> bool:
    return (
        header[:16] == PNG_BEGIN
        and header[24:29] == _KINDS[channels]
        and zlib.crc32(header[12:29]) == int.from_bytes(header[29:33])
        and int.from_bytes(header[16:20]) * int.from_bytes(header[20:24])
        <= min(max_pixels, _MOST_PLAIN_PIXELS)
    )

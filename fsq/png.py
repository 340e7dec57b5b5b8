"""The plainest PNGs, decoded without Pillow's cost per file.

Small PNGs are what research datasets are made of, and Pillow spends most of
its time on them in Python, holding the interpreter. A file that is nothing but
one 8-bit grey or RGB picture, whole by its own checksums, has only one possible
meaning; any other is left to Pillow, the reasons for refusing one included.
"""

import functools
import zlib
from typing import Any

import numpy as np

_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_END = b"\0\0\0\0IEND\xaeB`\x82"
# By channels: 8 bits, the number of the colour type, and the only methods there are.
_KINDS = {1: bytes((8, 0, 0, 0, 0)), 3: bytes((8, 2, 0, 0, 0))}


def decode_plain_png(data: bytes, channels: int) -> np.ndarray | None:
    """Decodes a PNG made of one header, one block of pixels and an end.

    Args:
      data: The bytes of a file.
      channels: 1 for grey, 3 for RGB; nothing is converted.

    Returns:
      uint8 [H, W, channels], the pixels that Pillow would give; or None if the
      file is of another kind, damaged or too large, and Pillow has to look.
    """
    if not _is_plain(data, channels):
        return None
    cv2 = _load_cv2()
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    return None if pixels is None else pixels.reshape(*pixels.shape[:2], channels)


@functools.cache
def _load_cv2() -> Any:
    import cv2

    return cv2


def _is_plain(data: bytes, channels: int) -> bool:
    # 57 bytes are all but the pixels: signature 8, header 25, two chunks' frames 12 each.
    return (
        data[:16] == _BEGIN
        and data[24:29] == _KINDS[channels]
        and data[37:41] == b"IDAT"
        and len(data) == int.from_bytes(data[33:37]) + 57
        and data[-12:] == _END
        and zlib.crc32(data[12:29]) == int.from_bytes(data[29:33])
        and zlib.crc32(memoryview(data)[37:-16]) == int.from_bytes(data[-16:-12])
        and int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) < 2**20
    )

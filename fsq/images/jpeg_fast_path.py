"""JPEG fast path: plain JPEGs decoded without Pillow's cost per file and per pixel.

Research datasets are made of small JPEGs, and half of their decoding time is
Pillow opening them: it keeps every segment of the header, wraps the bytes in a
file and tries its plugins. Large ones are copied piece by piece from Pillow's
memory into an array. If a header contains nothing special, both are avoided:
libjpeg-turbo, Pillow's own decoder, writes into an array directly. Its warnings
count as failures here: only intact files are decoded, all others are left to
Pillow.
"""

import functools
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

_BEGIN = b"\xff\xd8"
_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_SKIPPED = (b"\xff\xc4", b"\xff\xdd", b"\xff\xfe")  # Huffman tables, restarts, comments
_QUANTIZATION = b"\xff\xdb"
_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")  # baseline, extended, progressive
_JFIF = b"\xff\xe0"
_ADOBE = b"\xff\xee"
# EXIF, profiles, previews and others that libjpeg skips: all but JFIF and Adobe.
_APPLICATIONS = frozenset(bytes((0xFF, code)) for code in (*range(0xE1, 0xEE), 0xEF))
_LONGEST_HEADER = 2**16
_SMALL_PIXELS = 2**20
_MOST_PIXELS = 2**29  # the decoder counts bytes in 31 bits


class _Frame(NamedTuple):
    channels: int
    num_pixels: int


def decode_plain_jpeg(data: bytes, channels: int, *, max_pixels: int = 2**20) -> np.ndarray | None:
    """Decodes a JPEG whose header has only tables, one frame, JFIF, Adobe and comments.

    Args:
      data: The bytes of a file.
      channels: 1 for grey, 3 for RGB; converted as Pillow does.
      max_pixels: A larger image is left to Pillow.

    Returns:
      uint8 [H, W, channels], the same pixels as Pillow's; None if the file is of
      another kind, damaged or too large, and left to Pillow.
    """
    if not data.startswith(_BEGIN):
        return None
    # A table or comment may contain these bytes too; then the header before them is not valid.
    scan = data.find(_SCAN, 0, _LONGEST_HEADER)
    frame = _read_header(data[:scan]) if scan > 0 else None
    if frame is None or frame.num_pixels > max_pixels:
        return None
    # Do not allocate memory for a truncated file, or one with a wrong size in its header.
    if frame.num_pixels > _SMALL_PIXELS and not data.endswith(_END):
        return None
    mode = "GRAY" if frame.channels == channels == 1 else "RGB"
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data, mode, fastdct=False, fastupsample=False, strict=True
        )
        if pixels.shape[2] == channels:
            return pixels
        # Pillow makes grey from RGB, which differs slightly from the brightness in the file.
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    # Truncated, damaged, with unsupported subsampling, or too large for memory.
    except (ValueError, MemoryError):
        return None


def without_applications(data: bytes) -> bytes:
    """Removes EXIF, colour profiles and other application segments from a JPEG's header.

    Args:
      data: The bytes of a file that begins like a JPEG.

    Returns:
      The file without them; what follows a damaged segment is not changed.
    """
    kept, at = [data[:2]], 2
    while data[at : at + 2] != _SCAN:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end < at + 4 or end > len(data):
            break
        if data[at : at + 2] not in _APPLICATIONS:
            kept.append(data[at:end])
        at = end
    return b"".join((*kept, data[at:]))


@functools.lru_cache(maxsize=16)  # files of one writer often have the same header
def _read_header(header: bytes) -> _Frame | None:
    """Reads the header before the scan; None unless Pillow would accept all of it."""
    frame = None
    at = len(_BEGIN)
    while at < len(header):
        marker = header[at : at + 2]
        end = at + 2 + int.from_bytes(header[at + 2 : at + 4])
        segment = header[at + 4 : end]
        if end < at + 4 or end > len(header):
            return None
        at = end
        if marker in _SKIPPED:
            continue
        if marker == _QUANTIZATION:
            # 8-bit tables: an index and 64 values each.
            plain = len(segment) % 65 == 0 and all(number < 16 for number in segment[::65])
        elif marker in _FRAMES:
            plain = frame is None and _is_plain_frame(segment)
            if plain:
                height, width = int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
                frame = _Frame(segment[5], width * height)
        else:
            plain = (marker == _JFIF and segment[:5] == b"JFIF\0" and len(segment) >= 14) or (
                marker == _ADOBE and segment[:5] == b"Adobe" and len(segment) == 12
            )
        if not plain:
            return None
    return frame if frame is not None and 0 < frame.num_pixels <= _MOST_PIXELS else None


def _is_plain_frame(segment: bytes) -> bool:
    """Returns whether a frame has 8 bits and 1 or 3 components, all of them described."""
    return (
        len(segment) in (9, 15)
        and segment[0] == 8
        and segment[5] in (1, 3)
        and len(segment) == 6 + 3 * segment[5]
    )

"""PNG fast path: plain PNGs decoded without Pillow, all others checked and cleaned for Pillow.

Research datasets are made of small PNGs, on which Pillow spends most of its time
in Python, holding the GIL. A file with a single 8-bit grey or RGB image and valid
checksums can be decoded in only one way; any other is checked here and decoded by
Pillow.
"""

import functools
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from fsq.errors import BadImageError

_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Signature and header, then length and name of the next chunk.
_FRONT = struct.Struct(">33sI4s")
_MOST_PLAIN_PIXELS = 2**20
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the number of the colour type
# Adam7: left, top, and the steps to the right and down, of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
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
        header[:16] == _BEGIN
        and header[24:29] == _KINDS[channels]
        and zlib.crc32(header[12:29]) == int.from_bytes(header[29:33])
        and int.from_bytes(header[16:20]) * int.from_bytes(header[20:24])
        <= min(max_pixels, _MOST_PLAIN_PIXELS)
    )


class ReadPng(NamedTuple):
    """A checked PNG, reduced to the chunks that decide the pixels.

    Attributes:
      data: The file: header, palette, transparency, EXIF, pixels, end.
      animated: Whether it was an APNG; the image is the one shown without animation.
      transparent_grey: The transparent grey, 0 to 255; None if there is none.
      num_colours: Size of the palette, if pixels are palette indices.
      pixels: The compressed pixels.
    """

    data: bytes
    animated: bool
    transparent_grey: int | None
    num_colours: int | None
    pixels: list[memoryview]


def png_size(data: bytes) -> tuple[int, int]:
    """Reads width and height.

    Raises:
      BadImageError: The file does not begin with an intact header.
    """
    if len(data) < 33:
        raise BadImageError("expected a whole PNG, got one that ends early")
    if data[:16] != _BEGIN or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        raise BadImageError("expected a whole PNG, got one with a damaged header")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def read_png(data: bytes) -> ReadPng:
    """Checks a PNG, and removes its text, times and colour profiles.

    Pillow does not check the checksum of pixels, leaves missing rows black, and
    refuses a file with large texts and profiles, which are not used here.

    Args:
      data: The bytes of a file whose header `png_size` has read.

    Raises:
      BadImageError: It is damaged, or Pillow would decode it wrongly.
    """
    chunks = _read_chunks(data)
    depth, colour = data[24], data[25]
    if colour == 3 and b"PLTE" not in chunks:
        raise BadImageError("expected a PNG with its palette, got none")
    grey = None
    if transparent := chunks.get(b"tRNS"):
        if depth == 16:
            raise BadImageError("expected a 16-bit PNG without a transparent colour, got one")
        if colour == 0:
            grey = int.from_bytes(transparent[0]) * 255 // (2**depth - 1)
    wanted = [
        (name, b"".join(chunks[name]) if name == b"IDAT" else chunks[name][0])
        for name in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
        if name in chunks
    ]
    return ReadPng(
        data[:8] + b"".join(_chunk(name, content) for name, content in wanted),
        animated=b"acTL" in chunks and b"fdAT" in chunks,
        transparent_grey=grey,
        num_colours=len(chunks[b"PLTE"][0]) // 3 if colour == 3 else None,
        pixels=chunks.get(b"IDAT", []),
    )


def _read_chunks(data: bytes) -> dict[bytes, list[memoryview]]:
    """Returns the contents of all chunks by name, after checking their checksums."""
    chunks: dict[bytes, list[memoryview]] = {}
    view, at, name = memoryview(data), 8, b""
    while name != b"IEND":
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + size + 12
        if end > len(data):
            raise BadImageError("expected a whole PNG, got one that ends early")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise BadImageError("expected a whole PNG, got one with a wrong checksum")
        chunks.setdefault(name, []).append(view[at + 8 : end - 4])
        at = end
    if unknown := [name for name in chunks if name[:1].isupper() and name not in _CRITICAL]:
        label = unknown[0].decode("ascii", "replace")
        raise BadImageError(f"expected known critical chunks in a PNG, got {label!r}")
    return chunks


def check_pixels(png: ReadPng, decoded: np.ndarray) -> None:
    """Refuses an incomplete file that Pillow decoded.

    Pillow leaves missing rows black. Decompressing the pixels a second time to count
    them is expensive, so it is done only if the last row is black, or interlaced.

    Args:
      png: The file.
      decoded: Its pixels as decoded by Pillow, before any conversion, [H, W] or [H, W, C].

    Raises:
      BadImageError: Rows are missing, or an index is outside the palette.
    """
    if png.num_colours is not None and decoded.max() >= png.num_colours:
        raise BadImageError("expected indices in the palette, got one beyond its end")
    width, height, depth, colour = struct.unpack_from(">IIBB", png.data, 16)
    interlaced = bool(png.data[28])
    if interlaced or not decoded[-1].any():
        wanted = _pixel_bytes(width, height, depth * _CHANNELS[colour], interlaced)
        if not _holds(png.pixels, wanted):
            raise BadImageError("expected a whole PNG, got fewer rows than its header says")


def _pixel_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Returns the size of the decompressed pixels; each row has one more byte, for its filter."""
    total = 0
    for left, top, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _holds(blocks: list[memoryview], wanted: int) -> bool:
    """Returns whether the blocks decompress to at least `wanted` bytes, in little memory."""
    inflate, total = zlib.decompressobj(), 0
    for block in blocks:
        for at in range(0, len(block), 2**14):
            total += len(inflate.decompress(block[at : at + 2**14]))
            if total >= wanted:
                return True
            if inflate.eof:
                return False
    return False


def _chunk(name: bytes, content: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return b"".join((len(content).to_bytes(4), name, content, checksum.to_bytes(4)))

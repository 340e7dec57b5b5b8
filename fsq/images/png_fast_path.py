"""PNGs: the plainest without Pillow's cost per file, all others made safe for Pillow.

Small PNGs are what research datasets are made of, and Pillow spends most of
its time on them in Python, holding the interpreter. A file that is nothing but
one 8-bit grey or RGB picture, whole by its own checksums, has only one possible
meaning; any other is checked here and decoded by Pillow.
"""

import functools
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from fsq.errors import BadImageError

_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Signature and header, then the length of the pixels and what should be their name.
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
# By channels: 8 bits, the number of the colour type, and the only methods there are.
_KINDS = {1: bytes((8, 0, 0, 0, 0)), 3: bytes((8, 2, 0, 0, 0))}


def decode_plain_png(data: bytes, channels: int, *, max_pixels: int = 2**20) -> np.ndarray | None:
    """Decodes a PNG made of one header, one block of pixels and an end.

    Args:
      data: The bytes of a file.
      channels: 1 for grey, 3 for RGB; nothing is converted.
      max_pixels: A larger picture is left to Pillow, and so is any above 2^20 pixels.

    Returns:
      uint8 [H, W, channels], the pixels that Pillow would give; or None if the
      file is of another kind, damaged or too large, and Pillow has to look.
    """
    if not _is_plain(data, channels, max_pixels):
        return None
    cv2 = _load_cv2()
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    return pixels[..., None] if channels == 1 and pixels is not None else pixels


@functools.cache
def _load_cv2() -> Any:
    import cv2

    return cv2


def _is_plain(data: bytes, channels: int, max_pixels: int) -> bool:
    # 57 bytes are all but the pixels: signature 8, header 25, two chunks' frames 12 each.
    if len(data) < 57:
        return False
    header, size, name = _FRONT.unpack_from(data)
    return (
        name == b"IDAT"
        and size == len(data) - 57
        and _is_plain_header(header, channels, max_pixels)
        and data.endswith(_END)
        # A copy of what is small takes less than a view of it.
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
    """A PNG with nothing left in it but what decides the pixels.

    Attributes:
      data: The file: header, palette, transparency, EXIF, pixels, end.
      animated: It was an APNG; the picture is the one that is shown without animation.
      transparent_grey: The one grey of 0 to 255 that is transparent, if there is one.
      num_colours: The size of the palette, if pixels are numbers of its colours.
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
      BadImageError: The file does not begin with a header that is whole.
    """
    if len(data) < 33:
        raise BadImageError("expected a whole PNG, got one that ends early")
    if data[:16] != _BEGIN or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        raise BadImageError("expected a whole PNG, got one with a damaged header")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def read_png(data: bytes) -> ReadPng:
    """Checks that a PNG is whole, and leaves its text, times and colour profiles out.

    Pillow checks no checksum of pixels, leaves missing rows black, and gives a
    file up for the size of its texts and profiles, which we do not use.

    Args:
      data: The bytes of a file whose header `png_size` has read.

    Raises:
      BadImageError: It is damaged, or means what Pillow would not give.
    """
    chunks = _read_chunks(data)
    depth, colour = data[24], data[25]
    if colour == 3 and b"PLTE" not in chunks:
        raise BadImageError("expected a PNG with its palette, got none")
    grey = None
    if transparent := chunks.get(b"tRNS"):
        if depth == 16:
            raise BadImageError("expected 16 bits without a transparent colour, got one")
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
    """Returns the contents of all chunks by their name, each checked."""
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
        raise BadImageError(f"expected a PNG of known chunks, got {label!r}, which is critical")
    return chunks


def check_pixels(png: ReadPng, decoded: np.ndarray) -> None:
    """Refuses what Pillow decoded though something was missing.

    It leaves missing rows black. Unpacking the pixels a second time to count
    them is dear, so it is done only if the last row is black, or interlaced.

    Args:
      png: The file.
      decoded: Its pixels as Pillow gives them before any conversion, [H, W] or [H, W, C].
    """
    if png.num_colours is not None and decoded.max() >= png.num_colours:
        raise BadImageError("expected colours of the palette, got one beyond its end")
    width, height, depth, colour = struct.unpack_from(">IIBB", png.data, 16)
    interlaced = bool(png.data[28])
    if interlaced or not decoded[-1].any():
        wanted = _pixel_bytes(width, height, depth * _CHANNELS[colour], interlaced)
        if not _holds(png.pixels, wanted):
            raise BadImageError("expected a whole PNG, got fewer rows than its header says")


def _pixel_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Counts the bytes that the pixels unpack to; each row has one more, for its filter."""
    total = 0
    for left, top, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _holds(blocks: list[memoryview], wanted: int) -> bool:
    """Says whether the compressed blocks hold so many bytes, never holding many at once."""
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

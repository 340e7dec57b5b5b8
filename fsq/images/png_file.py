"""PNG files: checked, and reduced to what decides the pixels, before Pillow decodes them."""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from fsq.errors import BadImageError

PNG_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Keywords of the texts that Pillow reads an orientation from.
_ORIENTING = (b"exif", b"xmp", b"Raw profile type exif", b"XML:com.adobe.xmp")
# Pillow refuses longer texts: 2^20 bytes decompressed, 2^26 in all.
_LONGEST_TEXT = 2**23
_LONGEST_DECOMPRESSED = 2**20
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


class ReadPng(NamedTuple):
    """A checked PNG, reduced to the chunks that decide the pixels.

    Attributes:
      data: The file: header, palette, transparency, what may hold an orientation, pixels, end.
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
    if data[:16] != PNG_BEGIN or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        raise BadImageError("expected a whole PNG, got one with a damaged header")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def read_png(data: bytes) -> ReadPng:
    """Checks a PNG, and removes its texts, times and colour profiles.

    Pillow does not check the checksum of pixels, leaves missing rows black, and
    refuses a file with large texts and profiles, which are not used here. Texts that
    may hold an orientation remain.

    Args:
      data: The bytes of a file whose header `png_size` has read.

    Raises:
      BadImageError: It is damaged, or Pillow would decode it wrongly.
    """
    listed = _read_chunks(data)
    chunks: dict[bytes, list[memoryview]] = {}
    for name, content in listed:
        chunks.setdefault(name, []).append(content)
    depth, colour = data[24], data[25]
    if colour == 3 and b"PLTE" not in chunks:
        raise BadImageError("expected a PNG with its palette, got none")
    grey = None
    if transparent := chunks.get(b"tRNS"):
        if depth == 16:
            raise BadImageError("expected a 16-bit PNG without a transparent colour, got one")
        if colour == 0:
            grey = int.from_bytes(transparent[0]) * 255 // (2**depth - 1)
    pixels = chunks.get(b"IDAT", [])
    wanted: list[tuple[bytes, bytes | memoryview]] = [
        (name, chunks[name][0]) for name in (b"IHDR", b"PLTE", b"tRNS") if name in chunks
    ]
    wanted += _orienting_chunks(listed)
    wanted += [(b"IDAT", b"".join(pixels))] if pixels else []
    wanted += [(b"IEND", b"")]
    return ReadPng(
        data[:8] + b"".join(_chunk(name, content) for name, content in wanted),
        animated=b"acTL" in chunks and b"fdAT" in chunks,
        transparent_grey=grey,
        num_colours=len(chunks[b"PLTE"][0]) // 3 if colour == 3 else None,
        pixels=pixels,
    )


def _read_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Returns name and content of each chunk, after checking its checksum."""
    chunks: list[tuple[bytes, memoryview]] = []
    view, at, name = memoryview(data), 8, b""
    while name != b"IEND":
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + size + 12
        if end > len(data):
            raise BadImageError("expected a whole PNG, got one that ends early")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise BadImageError("expected a whole PNG, got one with a wrong checksum")
        chunks.append((name, view[at + 8 : end - 4]))
        at = end
    if unknown := [name for name, _ in chunks if name[:1].isupper() and name not in _CRITICAL]:
        label = unknown[0].decode("ascii", "replace")
        raise BadImageError(f"expected known critical chunks in a PNG, got {label!r}")
    return chunks


def _orienting_chunks(chunks: list[tuple[bytes, memoryview]]) -> list[tuple[bytes, memoryview]]:
    """Returns those that Pillow may read an orientation from; of each kind the last one counts."""
    found: dict[bytes, tuple[bytes, memoryview]] = {}
    for name, content in chunks:
        if keyword := _orienting_keyword(name, content):
            found.pop(keyword, None)
            found[keyword] = name, content
    return list(found.values())


def _orienting_keyword(name: bytes, content: memoryview) -> bytes | None:
    """Returns what the content of a chunk is called; None unless it may hold an orientation."""
    if name == b"eXIf":
        return b"exif"
    if name not in (b"tEXt", b"zTXt", b"iTXt") or len(content) > _LONGEST_TEXT:
        return None
    keyword, _, text = bytes(content[:80]).partition(b"\0")
    if keyword not in _ORIENTING:
        return None
    if name == b"tEXt" or (name == b"iTXt" and text[:1] == b"\0"):
        return keyword
    # A method, in iTXt behind a flag and before two more texts; then the compressed text.
    rest = bytes(content[len(keyword) + 1 :])
    if name == b"iTXt":
        rest = rest[1:2] + rest[2:].split(b"\0", 2)[-1]
    return keyword if rest[:1] == b"\0" and _is_short_stream(rest[1:]) else None


def _is_short_stream(data: bytes) -> bool:
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(data, _LONGEST_DECOMPRESSED)
    except zlib.error:
        return False
    return not inflate.unconsumed_tail


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

"""Image files put together for tests: by Pillow, and by hand where Pillow would not write them."""

import io
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

SIZE = 16


def make_picture() -> np.ndarray:
    """A smooth picture, uint8 [16, 16, 3], that looks different whichever way it is turned."""
    rows, columns = np.mgrid[:SIZE, :SIZE] * 17
    return np.stack([columns, rows, (rows + 255 - columns) // 2], axis=-1).astype(np.uint8)


def save(image: Image.Image | np.ndarray, format_name: str = "PNG", **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_rows(pixels: np.ndarray) -> bytes:
    """The rows of a picture before compression, none of them filtered."""
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    return b"".join(b"\0" + row.tobytes() for row in big_endian)


def png(
    rows: bytes,
    size: tuple[int, int] = (SIZE, SIZE),
    *,
    colour: int = 2,
    depth: int = 8,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
    pixels: bytes | None = None,
) -> bytes:
    """A PNG of any header; `before` and `after` are chunks around the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            before,
            pixels if pixels is not None else chunk(b"IDAT", zlib.compress(rows)),
            after,
            chunk(b"IEND", b""),
        )
    )


def interlaced_rows(pixels: np.ndarray) -> bytes:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    parts = [pixels[top::down, left::right] for left, top, right, down in [*passes, (0, 1, 1, 2)]]
    return b"".join(png_rows(part) for part in parts if part.size)


def png_header_only(width: int, height: int) -> bytes:
    return png(b"\0", (width, height))


def jpeg_with_size(data: bytes, width: int, height: int) -> bytes:
    """Changes the size that a baseline JPEG claims."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def jpeg_with_byte(data: bytes, marker: int, offset: int, value: int) -> bytes:
    """Changes a byte, counted from where a segment begins."""
    at = data.index(bytes((0xFF, marker))) + offset
    return data[:at] + bytes((value,)) + data[at + 1 :]


def jpeg_without(data: bytes, marker: int) -> bytes:
    at = data.index(bytes((0xFF, marker)))
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]


def gif_header_only(width: int, height: int, *, disposal: int = 0) -> bytes:
    control = b"!\xf9\x04" + bytes((disposal << 2, 0, 0, 0, 0))
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + screen + control + frame + b"\x02\x02\x4c\x01\0;"


def bmp(
    pixels: bytes,
    width: int,
    height: int,
    *,
    bits: int = 24,
    compression: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
) -> bytes:
    """A BMP; a negative height says that the rows go down. Masks are those of red, green, blue
    and alpha."""
    palette = struct.pack(f"<{len(masks)}I", *masks) + palette
    start = 54 + len(palette)
    colours = len(palette) // 4 - len(masks)
    info = struct.pack(
        "<IiiHHIIiiII",
        40 + 4 * len(masks),
        width,
        height,
        1,
        bits,
        compression,
        len(pixels),
        0,
        0,
        colours,
        0,
    )
    header = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    return header + info + palette + pixels


def tiff(
    pixels: bytes,
    size: tuple[int, int] = (SIZE, SIZE),
    *,
    bits: tuple[int, ...] = (8, 8, 8),
    photometric: int = 2,
    **tags: Iterable[int],
) -> bytes:
    """A little-endian TIFF of one uncompressed strip; more tags as `t254=[1]`."""
    width, height = size
    entries: dict[int, Iterable[int]] = {
        256: (width,),
        257: (height,),
        258: bits,
        259: (1,),
        262: (photometric,),
        273: (8,),
        277: (len(bits),),
        278: (height,),
        279: (len(pixels),),
    }
    entries |= {int(name[1:]): values for name, values in tags.items()}
    arrays, directory = b"", struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        packed = b"".join(struct.pack("<I", value) for value in values)
        place = packed
        if len(packed) > 4:
            place = struct.pack("<I", 8 + len(pixels) + len(arrays))
            arrays += packed
        directory += struct.pack("<HHI", tag, 4, len(packed) // 4) + place
    start = 8 + len(pixels) + len(arrays)
    return b"II*\0" + struct.pack("<I", start) + pixels + arrays + directory + bytes(4)


def big_endian_tiff(grey: np.ndarray) -> bytes:
    """A big-endian TIFF of 16-bit grey, one uncompressed strip."""
    height, width = grey.shape
    pixels = grey.astype(">u2").tobytes()
    entries = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    entries[279] = len(pixels)
    directory = b"".join(struct.pack(">HHII", tag, 4, 1, v) for tag, v in entries.items())
    start = struct.pack(">I", 8 + len(pixels))
    return b"MM\0*" + start + pixels + struct.pack(">H", len(entries)) + directory + bytes(4)


def webp_header_only(kind: bytes, width: int, height: int) -> bytes:
    """A WebP that ends behind its header, whose length is right."""
    match kind:
        case b"VP8X":
            size = [(side - 1).to_bytes(3, "little") for side in (width, height)]
            content = bytes(4) + b"".join(size)
        case b"VP8L":
            content = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
        case _:
            content = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    content += bytes(20)
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


PICTURE = make_picture()

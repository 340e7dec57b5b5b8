"""What becomes of every kind of image file: its picture, or the reason it is refused for."""

import dataclasses
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageCms

import builders.image_files as make
from builders.image_files import PICTURE, SIZE, chunk, png, png_rows, save
from fsq.images.signatures import FORMATS
from fsq.images.spec import DecodeRules

NONE_OF_OURS = f"expected one of {', '.join(FORMATS)}, got an unknown format"
SEVERAL_PAGES = "expected a still image, got several pages"
NO_ROWS = "expected a whole PNG, got: unrecognized data stream contents when reading image file"
FEWER_ROWS = "expected a whole PNG, got fewer rows than its header says"
CHECKSUM = "expected a whole PNG, got one with a wrong checksum"
OTHER_SAMPLES = "expected unsigned samples of 1 to 8 or 16 bits, got other samples"
NOTHING_VISIBLE = "expected something visible, got transparency everywhere"
BAD_HEADER = "got: a header that cannot be used"


def unsupported(format_name: str) -> str:
    return f"expected one of {', '.join(FORMATS)}, got {format_name} (convert it)"


def ends_early(format_name: str) -> str:
    return f"expected a whole {format_name}, got one that ends early"


def animated(format_name: str) -> str:
    return f"expected a still image, got an animated {format_name}"


def too_large(width: int, height: int, limit: int = 178_000_000) -> str:
    return f"expected at most {limit:,} pixels, got {width} x {height}"


@dataclasses.dataclass(frozen=True)
class Case:
    """One image file.

    Attributes:
      name: What it is.
      data: Its bytes.
      expected: The pixels of its centre at 16 x 16, or why it is refused.
      tolerance: By how much a pixel may differ; 0 where the format keeps all.
      file_name: Its name, for sources that keep names.
    """

    name: str
    data: bytes
    expected: np.ndarray | str
    tolerance: int = 0
    file_name: str = ""


# The picture is smooth. Through JPEG at quality 95: measured 4 at most; with half of the
# colours' resolution lost, and in every lossy WebP, 12 at most.
LOSSY = 6
SUBSAMPLED = 16
FLAT_RED = np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)
GREY = PICTURE[..., 1]
GREY_PICTURE = np.repeat(GREY[..., None], 3, axis=2)
OTHER = PICTURE[::-1, ::-1]
IMAGE = Image.fromarray(PICTURE)
PNG = save(PICTURE)
JPEG = save(PICTURE, "JPEG", quality=95, subsampling=0)
GIF = save(IMAGE.quantize(), "GIF")
WEBP = save(PICTURE, "WEBP", lossless=True)
BMP = save(PICTURE, "BMP")
TIFF = save(PICTURE, "TIFF")
AVIF = save(PICTURE, "AVIF", quality=95, subsampling="4:4:4")
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
LARGE_JPEG = save(NOISE, "JPEG", quality=95)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DAMAGED_PROFILE = SRGB[:40] + bytes(60) + SRGB[100:-50]
INDEXED = (PICTURE[..., 0] // 64 + PICTURE[..., 1] // 64 * 4).astype(np.uint8)
PALETTE = np.random.default_rng(1).integers(0, 256, (16, 3), np.uint8)
INDEXED_PICTURE = PALETTE[INDEXED]
MASK = INDEXED[..., None] == 5
ONE_VISIBLE = np.pad(np.full((1, 1, 1), 255, np.uint8), ((3, 12), (7, 8), (0, 0)))
TRANSPARENT = np.where(MASK, 255, PICTURE).astype(np.uint8)
WIDE_GREY = GREY.astype(np.uint16) * 257


def indexed_image() -> Image.Image:
    image = Image.fromarray(INDEXED).convert("P")
    image.frombytes(INDEXED.tobytes())
    image.putpalette(PALETTE.tobytes())
    return image


def half_transparent() -> Image.Image:
    image = IMAGE.convert("RGBA")
    image.putalpha(Image.fromarray(np.where(MASK[..., 0], 0, 255).astype(np.uint8)))
    return image


def animation(format_name: str, **options: object) -> bytes:
    """Two pictures: the tests' own, and the same turned around."""
    second = Image.fromarray(OTHER)
    first: Image.Image = indexed_image() if format_name == "GIF" else IMAGE
    return save(first, format_name, save_all=True, append_images=[second], **options)


def wide_avif(bits: int) -> bytes:
    wide = (PICTURE[..., ::-1].astype(np.uint16) << (bits - 8)) + (1 << (bits - 9))
    settings = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 95]
    return cv2.imencode(".avif", wide, settings)[1].tobytes()


def apng_of_one_frame_behind_a_still() -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, SIZE, SIZE, 0, 0, 1, 10, 0, 0)
    frame = struct.pack(">I", 1) + zlib.compress(png_rows(np.ascontiguousarray(OTHER)))
    return png(
        png_rows(PICTURE),
        before=chunk(b"acTL", struct.pack(">II", 1, 0)),
        after=chunk(b"fcTL", control) + chunk(b"fdAT", frame),
    )


def rle8(rows: bytes) -> bytes:
    palette = b"".join(bytes((*colour[::-1].tolist(), 0)) for colour in PALETTE)
    return make.bmp(rows, SIZE, SIZE, bits=8, compression=1, palette=palette)


def rle8_rows(count: int) -> bytes:
    rows = [bytes(v for pixel in row for v in (1, pixel)) + b"\0\0" for row in INDEXED[::-1]]
    return b"".join(rows[:count]) + b"\0\x01"


def stored(rows: bytes) -> bytes:
    """Rows as a zlib stream that compresses nothing: a changed byte is still a stream."""
    return zlib.compress(rows, 0)


def upside_down(rgb: np.ndarray) -> bytes:
    return rgb[::-1, :, ::-1].tobytes()


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def oriented(orientation: int) -> np.ndarray:
    """What a camera held so would have written, for the upright picture."""
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(turns[orientation](PICTURE))


def jpeg_of(pixels: np.ndarray, **options: object) -> bytes:
    return save(pixels, "JPEG", quality=95, subsampling=0, **options)


def cmyk_jpeg() -> bytes:
    ink = Image.fromarray(np.dstack([255 - PICTURE, np.zeros_like(GREY)]), "CMYK")
    return save(ink, "JPEG", quality=95, subsampling=0)


def mpo() -> bytes:
    second = Image.fromarray(OTHER)
    return save(IMAGE, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0)


def flat(width: int, height: int, format_name: str = "PNG") -> bytes:
    return save(Image.new("RGB", (width, height), (255, 0, 0)), format_name)


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


CUT_JPEG = cut(LARGE_JPEG)
TALL_JPEG = jpeg_of(np.full((64, SIZE, 3), (255, 0, 0), np.uint8))
BGRA = {"bits": 32, "compression": 3, "masks": (0xFF0000, 0xFF00, 0xFF, 0xFF000000)}


def bgra(alpha: object) -> bytes:
    """The rows of a BMP of 32 bits."""
    fourth = np.broadcast_to(np.asarray(alpha, np.uint8), MASK.shape)
    return np.dstack([PICTURE[..., ::-1], fourth])[::-1].tobytes()


def rgba(alpha: int) -> bytes:
    """The rows of a TIFF of four samples."""
    return np.dstack([PICTURE, np.full_like(GREY, alpha)]).tobytes()


def clear(mode: str = "RGBA") -> Image.Image:
    """A picture of which nothing is visible."""
    image = IMAGE.convert("RGBA")
    image.putalpha(0)
    return image.convert(mode)


PNGS = [
    Case("png, colour", PNG, PICTURE),
    Case("png, grey", save(GREY), GREY_PICTURE),
    Case("png, palette", save(indexed_image()), INDEXED_PICTURE),
    Case("png, 1 bit", save(Image.fromarray(GREY > 127)), np.where(GREY_PICTURE > 127, 255, 0)),
    Case("png, 2 bits with a transparent grey",
         png(b"\0\x1b\x1b\x1b\x1b" * SIZE, colour=0, depth=2, before=chunk(b"tRNS", b"\0\x02")),
         np.tile(np.array([0, 85, 255, 255], np.uint8)[None, :, None], (SIZE, 4, 3))),
    Case("png, 16-bit grey", save(WIDE_GREY), GREY_PICTURE),
    Case("png, 16-bit colour keeps its upper 8 bits",
         png(png_rows(PICTURE.astype(np.uint16) * 256 + 255), depth=16), PICTURE),
    Case("png, 16 bits with a transparent colour",
         png(png_rows(PICTURE.astype(np.uint16)), depth=16, before=chunk(b"tRNS", bytes(6))),
         "expected a 16-bit PNG without a transparent colour, got one"),
    Case("png, alpha", save(half_transparent()), TRANSPARENT),
    Case("png, transparent everywhere", save(clear()), NOTHING_VISIBLE),
    Case("png, grey, transparent everywhere", save(clear("LA")), NOTHING_VISIBLE),
    Case("png, palette, transparent everywhere", save(indexed_image(), transparency=bytes(16)),
         NOTHING_VISIBLE),
    Case("png, the only colour transparent",
         png(png_rows(FLAT_RED), before=chunk(b"tRNS", struct.pack(">3H", 255, 0, 0))),
         NOTHING_VISIBLE),
    Case("png, one pixel visible", png(png_rows(np.pad(ONE_VISIBLE, ((0, 0), (0, 0), (3, 0)))),
         colour=6), np.where(ONE_VISIBLE, 0, 255).repeat(3, 2)),
    Case("png, grey and alpha", save(half_transparent().convert("LA").convert("RGBA")),
         np.where(MASK, 255, np.asarray(IMAGE.convert("L"))[..., None].repeat(3, 2))),
    Case("png, palette with a transparent colour", save(indexed_image(), transparency=5),
         np.where(MASK, 255, INDEXED_PICTURE)),
    Case("png, a transparent colour",
         png(png_rows(PICTURE), before=chunk(b"tRNS", struct.pack(">3H", *PICTURE[3, 4].tolist()))),
         np.where((PICTURE[3, 4] == PICTURE).all(axis=-1, keepdims=True), 255, PICTURE)),
    Case("png, interlaced", png(make.interlaced_rows(PICTURE), interlaced=True), PICTURE),
    Case("png, interlaced, a pass missing",
         png(make.interlaced_rows(PICTURE)[:-400], interlaced=True), ends_early("PNG")),
    Case("png, pixels in many chunks",
         png(b"", pixels=b"".join(chunk(b"IDAT", bytes((byte,))) for byte in PNG[41:-16])),
         PICTURE),
    Case("png, more rows in the header", png(png_rows(PICTURE), (SIZE, 20)), FEWER_ROWS),
    Case("png, fewer rows in the header", png(png_rows(np.vstack([PICTURE, OTHER]))), PICTURE),
    Case("png, black, and nothing missing",
         png(png_rows(0 * PICTURE), before=chunk(b"pHYs", bytes(9))), 0 * PICTURE),
    Case("png, wider in the header", png(png_rows(PICTURE), (SIZE + 1, SIZE)), NO_ROWS),
    Case("png, narrower in the header", png(png_rows(PICTURE), (SIZE - 1, SIZE)), NO_ROWS),
    Case("png, a bit changed", changed(PNG, 60, bytes((PNG[60] ^ 1,))), CHECKSUM),
    Case("png, a bit changed in the header", changed(PNG, 19, b"\x11"),
         "expected a whole PNG, got one with a damaged header"),
    Case("png, the pixels' own checksum wrong",
         png(b"", pixels=chunk(b"IDAT", stored(png_rows(PICTURE))[:-1] + b"?")),
         "expected a whole PNG, got: broken data stream when reading image file"),
    Case("png, pixels that are no stream", png(b"", pixels=chunk(b"IDAT", b"no stream")),
         "expected a whole PNG, got: broken data stream when reading image file"),
    Case("png, no pixels", png(b"", pixels=b""),
         "expected a whole PNG, got: cannot load this image"),
    Case("png, 0 pixels wide", make.png_header_only(0, SIZE),
         "expected at least one pixel, got 0 x 16"),
    Case("png, colour of an unknown type", png(png_rows(PICTURE), colour=7),
         f"expected a whole PNG, {BAD_HEADER}"),
    Case("png, no palette", png(png_rows(INDEXED), colour=3),
         "expected a PNG with its palette, got none"),
    Case("png, colours beyond the palette",
         png(png_rows(INDEXED), colour=3, before=chunk(b"PLTE", PALETTE[:9].tobytes())),
         "expected indices in the palette, got one beyond its end"),
    Case("png, an unknown critical chunk", png(png_rows(PICTURE), before=chunk(b"CgBX", b"")),
         "expected known critical chunks in a PNG, got 'CgBX'"),
    Case("png, a text of 50 MB",
         png(png_rows(PICTURE), before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
         PICTURE),
    Case("png, a profile of 50 MB",
         png(png_rows(PICTURE), before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
         PICTURE),
    Case("png, a damaged profile", save(PICTURE, icc_profile=DAMAGED_PROFILE), PICTURE),
    Case("png, a profile that is no stream",
         png(png_rows(PICTURE), before=chunk(b"iCCP", b"a\0\0no stream")), PICTURE),
    Case("png, a text with a wrong checksum",
         png(png_rows(PICTURE), after=chunk(b"tEXt", b"a\0b", checksum=1)), CHECKSUM),
    Case("png, EXIF orientation 6", save(oriented(6), exif=make.exif(6)), PICTURE),
    Case("png, ends early", cut(PNG), ends_early("PNG")),
    Case("png, its end missing", PNG[:-12], ends_early("PNG")),
    Case("png, the signature alone", PNG[:8], ends_early("PNG")),
    Case("png, bytes behind", PNG + b"behind", PICTURE),
    Case("png, bytes before", b"before" + PNG, NONE_OF_OURS),
    Case("png, claims 30000 x 30000", make.png_header_only(30_000, 30_000),
         too_large(30_000, 30_000)),
    Case("apng", animation("PNG"), animated("PNG")),
    Case("apng, one frame behind a still", apng_of_one_frame_behind_a_still(), animated("PNG")),
    Case("apng, of one frame",
         png(png_rows(PICTURE), before=chunk(b"acTL", struct.pack(">II", 1, 0))), PICTURE),
]  # fmt: skip
JPEGS = [
    Case("jpeg, colour", JPEG, PICTURE, LOSSY),
    Case("jpeg, subsampled", save(PICTURE, "JPEG", quality=95, subsampling=2), PICTURE, SUBSAMPLED),
    Case("jpeg, grey", jpeg_of(GREY), GREY_PICTURE, LOSSY),
    Case("jpeg, progressive", jpeg_of(PICTURE, progressive=True), PICTURE, LOSSY),
    Case("jpeg, CMYK of Adobe", cmyk_jpeg(), PICTURE, LOSSY),
    Case("jpeg, CMYK without Adobe's marker", make.jpeg_without(cmyk_jpeg(), 0xEE),
         "expected a CMYK JPEG with an Adobe marker, got none"),
    Case("jpeg, with a preview behind (MPO)", mpo(), PICTURE, LOSSY),
    Case("jpeg, MPO, its preview cut off", mpo()[:-100], PICTURE, LOSSY),
    *(Case(f"jpeg, EXIF orientation {n}", jpeg_of(oriented(n), exif=make.exif(n)), PICTURE, LOSSY)
      for n in range(1, 9)),
    Case("jpeg, EXIF orientation 9", jpeg_of(PICTURE, exif=make.exif(9)), PICTURE, LOSSY),
    Case("jpeg, EXIF orientation 0", jpeg_of(PICTURE, exif=make.exif(0)), PICTURE, LOSSY),
    Case("jpeg, damaged EXIF", jpeg_of(PICTURE, exif=b"Exif\0\0no EXIF"), PICTURE, LOSSY),
    Case("jpeg, EXIF cut off", jpeg_of(PICTURE, exif=make.exif(6)[:16]), PICTURE, LOSSY),
    Case("jpeg, a damaged profile", jpeg_of(PICTURE, icc_profile=DAMAGED_PROFILE), PICTURE, LOSSY),
    Case("jpeg, bytes behind", JPEG + b"behind" * 100, PICTURE, LOSSY),
    Case("jpeg, bytes before", b"before" + JPEG, NONE_OF_OURS),
    Case("jpeg, 12 bits", make.jpeg_with_byte(JPEG, 0xC0, 4, 12),
         "expected a whole JPEG, got: cannot handle 12-bit layers"),
    Case("jpeg, of an unknown process", make.jpeg_with_byte(JPEG, 0xC0, 1, 0xC5),
         "expected a whole JPEG, got: broken data stream when reading image file"),
    Case("jpeg, 2 channels", make.jpeg_with_byte(JPEG, 0xC0, 9, 2),
         "expected a whole JPEG, got: cannot handle 2-layer images"),
    Case("jpeg, 0 pixels high", make.jpeg_with_size(JPEG, SIZE, 0),
         f"expected a whole JPEG, {BAD_HEADER}"),
    Case("jpeg, ends early", CUT_JPEG, ends_early("JPEG")),
    Case("jpeg, ends in its header", JPEG[:100], ends_early("JPEG")),
    Case("jpeg, its end missing", JPEG[:-2], ends_early("JPEG")),
    Case("jpeg, the first bytes alone", JPEG[:3], ends_early("JPEG")),
    Case("jpeg, claims 30000 x 30000", make.jpeg_with_size(JPEG, 30_000, 30_000),
         too_large(30_000, 30_000)),
]  # fmt: skip
WEBPS = [
    Case("webp, lossless", WEBP, PICTURE),
    Case("webp, lossy", save(PICTURE, "WEBP", quality=95), PICTURE, SUBSAMPLED),
    Case("webp, alpha", save(half_transparent(), "WEBP", lossless=True), TRANSPARENT),
    Case("webp, transparent everywhere", save(clear(), "WEBP", lossless=True), NOTHING_VISIBLE),
    Case("webp, EXIF orientation 6", save(oriented(6), "WEBP", lossless=True, exif=make.exif(6)),
         PICTURE),
    Case("webp, a damaged profile",
         save(PICTURE, "WEBP", lossless=True, icc_profile=DAMAGED_PROFILE), PICTURE),
    Case("webp, animated", animation("WEBP", lossless=True), animated("WEBP")),
    Case("webp, ends early", cut(WEBP), ends_early("WEBP")),
    Case("webp, the first bytes alone", WEBP[:16], ends_early("WEBP")),
    Case("webp, nothing but a header", make.webp_header_only(b"VP8L", SIZE, SIZE),
         "expected a whole WEBP, got: could not create decoder object"),
    Case("webp, bytes behind", WEBP + b"behind", PICTURE),
    Case("webp, claims 30000 x 30000", make.webp_header_only(b"VP8X", 30_000, 30_000),
         too_large(30_000, 30_000)),
    Case("webp, lossless, claims 16384 x 16384", make.webp_header_only(b"VP8L", 16_384, 16_384),
         too_large(16_384, 16_384)),
    Case("webp, lossy, claims 16383 x 16383", make.webp_header_only(b"VP8 ", 16_383, 16_383),
         too_large(16_383, 16_383)),
    Case("riff, but no webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(24), NONE_OF_OURS),
]  # fmt: skip
BMPS = [
    Case("bmp, 24 bits", BMP, PICTURE),
    Case("bmp, rows downwards", make.bmp(PICTURE[..., ::-1].tobytes(), SIZE, -SIZE), PICTURE),
    Case("bmp, palette", save(indexed_image(), "BMP"), INDEXED_PICTURE),
    Case("bmp, grey", save(GREY, "BMP"), GREY_PICTURE),
    Case("bmp, 1 bit", save(Image.fromarray(GREY > 127), "BMP"),
         np.where(GREY_PICTURE > 127, 255, 0)),
    Case("bmp, run lengths", rle8(rle8_rows(SIZE)), INDEXED_PICTURE),
    Case("bmp, run lengths that end early", rle8(rle8_rows(9)), ends_early("BMP")),
    Case("bmp, ends early", cut(BMP), ends_early("BMP")),
    Case("bmp, the first bytes alone", BMP[:10], ends_early("BMP")),
    Case("bmp, bytes behind", BMP + b"behind", PICTURE),
    Case("bmp, 0 pixels wide", make.bmp(b"", 0, SIZE), f"expected a whole BMP, {BAD_HEADER}"),
    Case("bmp, claims 30000 x 30000", make.bmp(b"", 30_000, 30_000), too_large(30_000, 30_000)),
    Case("bmp, 32 bits", make.bmp(bgra(0), SIZE, SIZE, bits=32), PICTURE),
    Case("bmp, alpha", make.bmp(bgra(np.where(MASK, 0, 255)), SIZE, SIZE, **BGRA),
         TRANSPARENT),
    Case("bmp, alpha that is never set", make.bmp(bgra(0), SIZE, SIZE, **BGRA), PICTURE),
    Case("bmp, alpha that is never set, rows downwards",
         make.bmp(bgra(0), SIZE, -SIZE, **BGRA), PICTURE[::-1]),
    Case("bmp, alpha that is never set, empty masks",
         make.bmp(bgra(0), SIZE, SIZE, bits=32, compression=3, masks=(0, 0, 0, 0)), PICTURE),
    Case("text that begins with BM", b"BMW is a maker of cars." * 9,
         NONE_OF_OURS),
]  # fmt: skip
GIFS = [
    Case("gif", save(indexed_image(), "GIF"), INDEXED_PICTURE),
    Case("gif, interlaced", save(indexed_image(), "GIF", interlace=True), INDEXED_PICTURE),
    Case("gif, a transparent colour", save(indexed_image(), "GIF", transparency=5),
         np.where(MASK, 255, INDEXED_PICTURE)),
    Case("gif, transparent everywhere",
         save(Image.new("P", (SIZE, SIZE), 5), "GIF", transparency=5), NOTHING_VISIBLE),
    Case("gif, grey", save(GREY, "GIF"), GREY_PICTURE),
    Case("gif, animated", animation("GIF"), animated("GIF")),
    Case("gif, ends early", cut(GIF), ends_early("GIF")),
    Case("gif, the first bytes alone", GIF[:6], ends_early("GIF")),
    Case("gif, fewer pixels than its header says", make.gif_header_only(SIZE, SIZE),
         ends_early("GIF")),
    Case("gif, no picture", GIF[:10] + bytes(3) + b";",
         "expected a whole GIF, got: no more images in GIF file"),
    Case("gif, bytes behind", save(indexed_image(), "GIF") + b"behind", INDEXED_PICTURE),
    Case("gif, claims 30000 x 30000", make.gif_header_only(30_000, 30_000),
         too_large(30_000, 30_000)),
    Case("gif, claims 30000 x 30000 and to clear them",
         make.gif_header_only(30_000, 30_000, disposal=2), too_large(30_000, 30_000)),
    Case("gif, claims a frame far beyond its screen",
         changed(make.gif_header_only(30_000, 30_000), 6, struct.pack("<HH", 1, 1)),
         too_large(30_000, 30_000)),
]  # fmt: skip
TIFFS = [
    Case("tiff, colour", TIFF, PICTURE),
    Case("tiff, grey", save(GREY, "TIFF"), GREY_PICTURE),
    Case("tiff, 16-bit grey", save(WIDE_GREY, "TIFF"), GREY_PICTURE),
    Case("tiff, 1 bit", save(Image.fromarray(GREY > 127), "TIFF"),
         np.where(GREY_PICTURE > 127, 255, 0)),
    Case("tiff, palette", save(indexed_image(), "TIFF"), INDEXED_PICTURE),
    Case("tiff, transparent everywhere", save(clear(), "TIFF"), NOTHING_VISIBLE),
    Case("tiff, a fourth sample that is not declared", make.tiff(rgba(0), bits=(8,) * 4), PICTURE),
    Case("tiff, a fourth sample that is no alpha", make.tiff(rgba(0), bits=(8,) * 4, t338=[0]),
         PICTURE),
    Case("tiff, alpha that is declared and never set",
         make.tiff(rgba(0), bits=(8,) * 4, t338=[2]), NOTHING_VISIBLE),
    Case("tiff, alpha", save(half_transparent(), "TIFF"), TRANSPARENT),
    Case("tiff, CMYK", make.tiff(np.dstack([255 - PICTURE, 0 * GREY]).tobytes(),
                                 bits=(8, 8, 8, 8), photometric=5), PICTURE),
    Case("tiff, grey with 0 as white", make.tiff((255 - GREY).tobytes(), bits=(8,), photometric=0),
         GREY_PICTURE),
    Case("tiff, LZW", save(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE),
    Case("tiff, deflate", save(PICTURE, "TIFF", compression="tiff_adobe_deflate"), PICTURE),
    Case("tiff, JPEG", save(PICTURE, "TIFF", compression="jpeg", quality=95), PICTURE, LOSSY),
    Case("tiff, orientation 6", save(oriented(6), "TIFF", tiffinfo={274: 6}), PICTURE),
    Case("tiff, orientation 9", save(PICTURE, "TIFF", tiffinfo={274: 9}), PICTURE),
    Case("tiff, several pages", animation("TIFF"), SEVERAL_PAGES),
    Case("tiff, a preview first", make.tiff(PICTURE.tobytes(), t254=[1]),
         "expected the full image first in a TIFF, got a preview"),
    Case("tiff, float", save(Image.fromarray(GREY.astype(np.float32)), "TIFF"), OTHER_SAMPLES),
    Case("tiff, 32 bits", save(Image.fromarray(GREY.astype(np.int32)), "TIFF"), OTHER_SAMPLES),
    Case("tiff, 12 bits", make.tiff(bytes(SIZE * SIZE * 3 // 2), bits=(12,), photometric=1),
         OTHER_SAMPLES),
    Case("tiff, signed 8 bits", make.tiff(GREY.tobytes(), bits=(8,), photometric=1, t339=[2]),
         OTHER_SAMPLES),
    Case("tiff, 16-bit grey with 0 as white",
         make.tiff(WIDE_GREY.tobytes(), bits=(16,), photometric=0),
         "expected 0 to be black in 16-bit grey, got 0 as white"),
    Case("tiff, Lab", save(Image.new("LAB", (SIZE, SIZE)), "TIFF"),
         "expected grey, palette, RGB or CMYK of 8 or 16 bits, got mode LAB"),
    Case("tiff, a strip missing", make.tiff(PICTURE.tobytes(), t278=[8]),
         "expected a whole TIFF, got one with missing strips"),
    Case("tiff, deflate, the stream's first bytes damaged",
         changed(save(PICTURE, "TIFF", compression="tiff_adobe_deflate"), 8, bytes(4)),
         "expected a whole TIFF, got: decoder error -2"),
    Case("tiff, ends early", TIFF[:-100], ends_early("TIFF")),
    Case("tiff, its directory missing", make.tiff(PICTURE.tobytes())[:400],
         "expected a whole TIFF, got: Missing dimensions"),
    Case("tiff, the first bytes alone", TIFF[:6], ends_early("TIFF")),
    Case("tiff, bytes behind", TIFF + b"behind", PICTURE),
    Case("tiff, claims 30000 x 30000", make.tiff(b"", (30_000, 30_000)), too_large(30_000, 30_000)),
    Case("tiff, claims 30000 x 30000 turned", make.tiff(b"", (30_000, 20_000), t274=[6]),
         too_large(20_000, 30_000)),
]  # fmt: skip
AVIFS = [
    Case("avif", AVIF, PICTURE, LOSSY),
    Case("avif, subsampled", save(PICTURE, "AVIF", quality=95, subsampling="4:2:0"), PICTURE,
         SUBSAMPLED),
    Case("avif, grey", save(GREY, "AVIF", quality=95), GREY_PICTURE, LOSSY),
    Case("avif, limited range",
         save(PICTURE, "AVIF", quality=95, subsampling="4:4:4", range="limited"), PICTURE, LOSSY),
    Case("avif, 10 bits", wide_avif(10), PICTURE, SUBSAMPLED),
    Case("avif, 12 bits", wide_avif(12), PICTURE, SUBSAMPLED),
    Case("avif, alpha", save(half_transparent(), "AVIF", quality=100, subsampling="4:4:4"),
         TRANSPARENT, LOSSY),
    Case("avif, premultiplied alpha",
         save(half_transparent(), "AVIF", quality=100, subsampling="4:4:4",
              alpha_premultiplied=True), TRANSPARENT, LOSSY),
    Case("avif, transparent everywhere", save(clear(), "AVIF"), NOTHING_VISIBLE),
    Case("avif, orientation 6",
         save(oriented(6), "AVIF", quality=95, subsampling="4:4:4", exif=make.exif(6)), PICTURE,
         LOSSY),
    Case("avif, a damaged profile",
         save(PICTURE, "AVIF", quality=95, subsampling="4:4:4", icc_profile=DAMAGED_PROFILE),
         PICTURE, LOSSY),
    Case("avif, animated", animation("AVIF"), animated("AVIF")),
    Case("avif, ends early", AVIF[:-50], ends_early("AVIF")),
    Case("avif, the first bytes alone", AVIF[:32], ends_early("AVIF")),
    Case("avif, damaged header", AVIF[:40] + b"????" + AVIF[44:],
         "expected a whole AVIF, got: Failed to decode image: BMFF parsing failed"),
    Case("avif, bytes behind", AVIF + b"behind", PICTURE, LOSSY),
    Case("avif, claims 15000 x 15000",
         changed(AVIF, AVIF.index(b"ispe") + 8, struct.pack(">II", 15_000, 15_000)),
         too_large(15_000, 15_000)),
    Case("avif, wider", changed(AVIF, AVIF.index(b"ispe") + 8, struct.pack(">II", 32_769, 1)),
         "expected a whole AVIF, got: Failed to decode image: BMFF parsing failed"),
]  # fmt: skip
OTHERS = [
    Case("no bytes", b"", "expected an image, got 0 bytes"),
    Case("one byte", b"\xff", NONE_OF_OURS),
    Case("html", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", NONE_OF_OURS),
    Case("text", "Ein Text, kein Bild: äöü\n".encode() * 20, NONE_OF_OURS),
    Case("random bytes", np.random.default_rng(2).bytes(5000), NONE_OF_OURS),
    Case("zeros", bytes(5000), NONE_OF_OURS),
    Case("pdf", save(IMAGE, "PDF"), unsupported("PDF")),
    Case("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', unsupported("SVG")),
    Case("ico", save(IMAGE, "ICO"), unsupported("ICO")),
    Case("psd", b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x10\0\0\0\x10\0\x08\0\x03",
         unsupported("PSD")),
    Case("jpeg 2000", save(IMAGE, "JPEG2000"), unsupported("JPEG 2000")),
    Case("heic", b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(40), unsupported("HEIC")),
    Case("jpeg xl", b"\xff\x0a\xfa\x1f" + bytes(40), unsupported("JPEG XL")),
    Case("film", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), NONE_OF_OURS),
    Case("ppm", save(IMAGE, "PPM"), unsupported("PNM")),
    Case("eps", save(IMAGE, "EPS"), unsupported("PostScript")),
    Case("1 x 1", flat(1, 1), FLAT_RED),
    Case("1 x 60000", flat(1, 60_000), FLAT_RED),
    Case("60000 x 1", flat(60_000, 1), FLAT_RED),
    Case("1 x 60000, jpeg", save(Image.new("RGB", (1, 60_000), (255, 0, 0)), "JPEG", quality=95),
         FLAT_RED, LOSSY),
    Case("a jpeg named png", JPEG, PICTURE, LOSSY, "cases/a jpeg.png"),
    Case("a png named JPEG", PNG, PICTURE, 0, "cases/a png.JPEG"),
]  # fmt: skip
AWKWARD_NAMES = {
    "bytes that are no UTF-8": "cases/\udcff\udcfe\udc80.png",
    "255 bytes": "cases/" + "n" * 251 + ".png",
    "255 bytes of 2-byte letters": "cases/" + "ä" * 125 + "n.png",
    "deep folders": "/".join(["cases", *["folder of a folder"] * 40, "n.png"]),
    "a newline": "cases/a\nb.png",
    "a newline and nothing else": "cases/\n.png",
    "a carriage return": "cases/a\rb.png",
    "a tab": "cases/a\tb.png",
    "quotes": "cases/\"a\" 'b' `c`.png",
    "backslashes": "cases/a\\b\\\\c\\n.png",
    "percent signs": "cases/100%s %d %20.png",
    "a leading dash": "cases/--output.png",
    "a leading space": "cases/ a.png",
    "an emoji": "cases/🐈\u200d⬛.png",
    "right to left": "cases/\u202egnp.\u202ctac.png",
    "letters with marks apart": "cases/cafe\u0301.png",
    "brackets and stars": "cases/[a]*?{b}.png",
    "a colon": "cases/c:a.png",
    "a dollar": "cases/$HOME ~ #1 & <2> |3;.png",
    "a number": "cases/0.png",
    "a control character": "cases/\x01\x1b[31m.png",
}
NAMES = [
    *(Case(f"named with {what}", PNG, PICTURE, 0, name) for what, name in AWKWARD_NAMES.items()),
    *(
        Case(
            f"refused, named with {what}",
            b"",
            "expected an image, got 0 bytes",
            0,
            name[:-4] + ".gif",
        )
        for what, name in AWKWARD_NAMES.items()
    ),
]
CASES = [*PNGS, *JPEGS, *WEBPS, *BMPS, *GIFS, *TIFFS, *AVIFS, *OTHERS, *NAMES]
RULES = DecodeRules(max_pixels=64 * 64, animated="first_frame", truncated="fill")
RULE_CASES = [
    Case("apng, its first", animation("PNG"), PICTURE),
    Case("apng, the still before its one frame", apng_of_one_frame_behind_a_still(), PICTURE),
    Case("gif, its first", animation("GIF"), INDEXED_PICTURE),
    Case("webp, its first", animation("WEBP", lossless=True), PICTURE),
    Case("avif, its first", animation("AVIF", quality=95, subsampling="4:4:4"), PICTURE, LOSSY),
    Case("avif, cut", AVIF[:-50], ends_early("AVIF")),
    Case("tiff, its first page", animation("TIFF"), PICTURE),
    Case("jpeg, cut in its middle and filled with grey",
         TALL_JPEG[: TALL_JPEG.index(b"\xff\xda") + 33],
         np.where(np.arange(SIZE)[:, None, None] < 8, FLAT_RED, 128), LOSSY),
    Case("jpeg, its end alone missing", JPEG[:-2], PICTURE, LOSSY),
    Case("jpeg, cut in its end", JPEG[:-1], PICTURE, LOSSY),
    Case("jpeg, cut in its header", JPEG[:100], ends_early("JPEG")),
    Case("png, cut", cut(PNG), ends_early("PNG")),
    Case("gif, cut", cut(GIF), ends_early("GIF")),
    Case("webp, cut", cut(WEBP), ends_early("WEBP")),
    Case("bmp, cut", cut(BMP), ends_early("BMP")),
    Case("tiff, cut", TIFF[:-100], ends_early("TIFF")),
    *(Case(f"{name}, 64 x 64", flat(64, 64, name), FLAT_RED,
           LOSSY if name in ("JPEG", "WEBP", "AVIF") else 0) for name in FORMATS),
    *(Case(f"{name}, 65 x 64", flat(65, 64, name), too_large(65, 64, 4096)) for name in FORMATS),
]  # fmt: skip

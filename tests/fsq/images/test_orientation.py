"""Orientation: images are as upright as Pillow's `exif_transpose` makes them."""

import io
import zlib

import builders.image_files as make
import numpy as np
import pytest
from builders.image_files import chunk, png_rows, save
from PIL import Image, ImageOps

from fsq.images.decode import decode_image

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
ROWS = png_rows(PICTURE)


def xmp(orientation: object, *, element: bool = False) -> bytes:
    if element:
        return b"<x><tiff:Orientation>%b</tiff:Orientation></x>" % str(orientation).encode()
    return b'<x tiff:Orientation="%b"/>' % str(orientation).encode()


def profile(orientation: int) -> bytes:
    """EXIF as ImageMagick writes it into a text."""
    exif = make.exif(orientation)
    digits = exif.hex().encode()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return b"\nexif\n    %8d\n" % len(exif) + b"\n".join(lines) + b"\n"


def png(*before: bytes, after: bytes = b"") -> bytes:
    return make.png(ROWS, PICTURE.shape[1::-1], before=b"".join(before), after=after)


def text(keyword: bytes, content: bytes) -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + content)


def compressed(keyword: bytes, content: bytes) -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(content))


def international(keyword: bytes, content: bytes) -> bytes:
    return chunk(b"iTXt", keyword + b"\0\0\0\0\0" + content)


def international_compressed(keyword: bytes, content: bytes) -> bytes:
    return chunk(b"iTXt", keyword + b"\0\1\0de\0titel\0" + zlib.compress(content))


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", make.exif(orientation)[6:])


def tiff(**options: object) -> bytes:
    return save(PICTURE, "TIFF", **options)


RAW, XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"
CARRIERS = {
    "png, EXIF": lambda n: png(exif(n)),
    "png, EXIF behind the pixels": lambda n: png(after=exif(n)),
    "png, raw profile": lambda n: png(compressed(RAW, profile(n))),
    "png, raw profile not compressed": lambda n: png(text(RAW, profile(n))),
    "png, raw profile behind the pixels": lambda n: png(after=compressed(RAW, profile(n))),
    "png, raw profile as international text": lambda n: png(
        international_compressed(RAW, profile(n))
    ),
    "png, XMP": lambda n: png(international(XMP, xmp(n))),
    "png, XMP as an element": lambda n: png(international(XMP, xmp(n, element=True))),
    "png, XMP compressed": lambda n: png(international_compressed(XMP, xmp(n))),
    "png, XMP behind the pixels": lambda n: png(after=international(XMP, xmp(n))),
    "png, XMP of 2 MB": lambda n: png(international(XMP, xmp(n) + bytes(2_000_000))),
    "png, XMP among other texts": lambda n: png(
        text(b"Title", b"a"), international(XMP, xmp(n)), compressed(b"Comment", bytes(900_000))
    ),
    "png, grey of 16 bits, XMP": lambda n: make.png(
        png_rows(PICTURE[..., 0].astype(np.uint16) * 257),
        PICTURE.shape[1::-1],
        colour=0,
        depth=16,
        before=international(XMP, xmp(n)),
    ),
    "jpeg, EXIF": lambda n: save(PICTURE, "JPEG", exif=make.exif(n)),
    "jpeg, XMP": lambda n: save(PICTURE, "JPEG", xmp=xmp(n)),
    "jpeg, XMP as an element": lambda n: save(PICTURE, "JPEG", xmp=xmp(n, element=True)),
    "webp, EXIF": lambda n: save(PICTURE, "WEBP", lossless=True, exif=make.exif(n)),
    "webp, XMP": lambda n: save(PICTURE, "WEBP", lossless=True, xmp=xmp(n)),
    "avif, its own": lambda n: save(PICTURE, "AVIF", exif=make.exif(n)),
    "avif, XMP": lambda n: save(PICTURE, "AVIF", xmp=xmp(n)),
    "avif, its own and XMP": lambda n: save(PICTURE, "AVIF", exif=make.exif(9 - n), xmp=xmp(3)),
    "tiff, its tag": lambda n: tiff(tiffinfo={274: n}),
    "tiff, its tag, compressed": lambda n: tiff(tiffinfo={274: n}, compression="tiff_lzw"),
    "tiff, XMP": lambda n: tiff(tiffinfo={700: xmp(n)}),
    "tiff, XMP, compressed": lambda n: tiff(tiffinfo={700: xmp(n)}, compression="tiff_lzw"),
    # What wins where several say something else: EXIF, then the raw profile, then XMP.
    "png, all three": lambda n: png(
        international(XMP, xmp(3)), compressed(RAW, profile(n)), exif(9 - n)
    ),
    "png, raw profile and XMP": lambda n: png(
        international(XMP, xmp(3)), compressed(RAW, profile(n))
    ),
    "png, EXIF without orientation, and XMP": lambda n: png(
        chunk(b"eXIf", Image.Exif().tobytes()[6:]), international(XMP, xmp(n))
    ),
    "png, XMP twice": lambda n: png(international(XMP, xmp(3)), after=international(XMP, xmp(n))),
    "png, EXIF twice": lambda n: png(exif(3), exif(n)),
    "jpeg, EXIF and XMP": lambda n: save(PICTURE, "JPEG", exif=make.exif(9 - n), xmp=xmp(n)),
    "webp, EXIF and XMP": lambda n: save(
        PICTURE, "WEBP", lossless=True, exif=make.exif(9 - n), xmp=xmp(n)
    ),
    "tiff, its tag and XMP": lambda n: tiff(tiffinfo={274: 9 - n, 700: xmp(n)}),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS.keys())
def test_an_image_is_turned_as_pillow_turns_it(carrier):
    shapes = set()
    for orientation in range(1, 9):
        data = carrier(orientation)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if upright.mode == "I;16":
            upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
        pixels = decode_image(data, 3)
        np.testing.assert_array_equal(pixels, np.asarray(upright.convert("RGB")))
        shapes.add(pixels.shape)
    assert shapes == {(6, 9, 3), (9, 6, 3)}


def test_exif_that_says_upright_is_believed_before_xmp():
    data = png(exif(1), international(XMP, xmp(6)))
    np.testing.assert_array_equal(decode_image(data, 3), PICTURE)


UNREADABLE = {
    "png, raw profile that is no hexadecimal": png(text(RAW, b"\nexif\n 4\nxyz\n")),
    "png, raw profile that is cut": png(text(RAW, profile(6)[:40])),
    "png, raw profile, empty": png(text(RAW, b"")),
    "png, raw profile, no stream": png(chunk(b"zTXt", RAW + b"\0\0no stream")),
    "png, raw profile, unknown compression": png(chunk(b"zTXt", RAW + b"\0\7" + bytes(9))),
    "png, raw profile of 9 MB": png(compressed(RAW, bytes(9_000_000))),
    "png, raw profile, no end of its keyword": png(chunk(b"zTXt", RAW)),
    "png, XMP, cut": png(chunk(b"iTXt", XMP + b"\0")),
    "png, XMP, not UTF-8": png(international(XMP, b"\xff" + b"tiff:Orientation")),
    "png, XMP, unknown compression": png(chunk(b"iTXt", XMP + b"\0\1\7\0\0" + bytes(9))),
    "png, XMP of 20 MB": png(international(XMP, bytes(20_000_000))),
    "png, XMP as another text": png(text(b"xmp", xmp(6))),
    "png, EXIF as a text": png(text(b"exif", b"no EXIF")),
    "png, damaged EXIF": png(chunk(b"eXIf", b"no EXIF")),
    "png, orientation 9": png(international(XMP, xmp(9))),
    "png, orientation by its name": png(international(XMP, xmp("top-left"))),
    "jpeg, damaged EXIF": save(PICTURE, "JPEG", exif=b"Exif\0\0no EXIF"),
    "jpeg, XMP of nothing": save(PICTURE, "JPEG", xmp=b"\xff\0\xfe"),
    "webp, damaged EXIF": save(PICTURE, "WEBP", lossless=True, exif=b"Exif\0\0no EXIF"),
    "webp, XMP of nothing": save(PICTURE, "WEBP", lossless=True, xmp=b"\xff\0\xfe"),
    "tiff, XMP of numbers": make.tiff(PICTURE.tobytes(), PICTURE.shape[1::-1], t700=[1, 2, 3]),
    "tiff, XMP of one number": make.tiff(PICTURE.tobytes(), PICTURE.shape[1::-1], t700=[1]),
    "tiff, orientation 77": make.tiff(PICTURE.tobytes(), PICTURE.shape[1::-1], t274=[77]),
    "tiff, EXIF outside the file": make.tiff(
        PICTURE.tobytes(), PICTURE.shape[1::-1], t34665=[9_999_999]
    ),
    "tiff, EXIF inside the pixels": make.tiff(PICTURE.tobytes(), PICTURE.shape[1::-1], t34665=[11]),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_orientation_that_cannot_be_read_does_no_harm(data: bytes):
    expected = PICTURE
    if data.startswith(b"\xff\xd8"):
        expected = np.asarray(Image.open(io.BytesIO(save(PICTURE, "JPEG"))))
    np.testing.assert_array_equal(decode_image(data, 3), expected)

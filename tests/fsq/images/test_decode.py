"""The image contract: any image to uint8 [S, S, C]."""

import io
import warnings
import zlib
from typing import get_args

import builders.image_files as make
import numpy as np
import pytest
from builders.image_files import png_rows
from PIL import AvifImagePlugin, Image
from PIL.PngImagePlugin import PngInfo

from fsq.errors import BadImageError
from fsq.images.crop import CropBox, center_crop
from fsq.images.decode import _decode, _reason, decode_image
from fsq.images.placement import box_placement
from fsq.images.png_fast_path import decode_plain_png
from fsq.images.resampling import fit_image
from fsq.images.signatures import FORMATS
from fsq.images.spec import DEFAULT_RULES, DecodeRules, ImageSpec
from pipeline.core.records import ImageRecord
from pipeline.stages.decode import DecodedImage, decode_record
from pipeline.views.center import Center, CenterFlipped

RGB = ImageSpec(size_pixels=16, channels=3)


def encode(image: Image.Image, format_name: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def picture(width: int = 16, height: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def upright_xmp() -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="1"/>')
    return info


def fit(data: bytes, spec: ImageSpec = RGB, *, flip: bool = False) -> np.ndarray:
    image = decode_image(data, spec.channels)
    return fit_image(image, spec, flip=flip)


def test_an_image_of_the_right_size_keeps_its_pixels():
    pixels = picture()
    np.testing.assert_array_equal(fit(encode(Image.fromarray(pixels))), pixels)


def test_a_flip_mirrors_left_and_right():
    pixels = picture()
    flipped = fit(encode(Image.fromarray(pixels)), flip=True)
    np.testing.assert_array_equal(flipped, pixels[:, ::-1])


def test_a_crop_of_the_right_size_is_cut_not_resampled():
    pixels = picture(width=20)
    np.testing.assert_array_equal(fit(encode(Image.fromarray(pixels))), pixels[:, 2:18])


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((400, 533), (0, 66, 400, 466)),
        ((533, 400), (66, 0, 466, 400)),
        ((5, 4), (0, 0, 4, 4)),
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_centre_crop_is_the_largest_centred_square(size, box):
    assert center_crop(*size) == CropBox(*box)


@pytest.mark.parametrize("size", [16, 40])
def test_views_of_one_crop_are_each_what_fitting_gives(size: int):
    pixels = picture(size, size)
    policies = (CenterFlipped(), Center(), CenterFlipped())
    record = ImageRecord("a", encode(Image.fromarray(pixels)), ())
    decoded = decode_record(record, RGB, policies, DEFAULT_RULES)
    assert isinstance(decoded, DecodedImage)
    expected = [fit_image(pixels, RGB, flip=policy != Center()) for policy in policies]
    np.testing.assert_array_equal(np.stack(decoded.pixels), np.stack(expected))


def test_resampling_is_antialiased():
    # Alternating black and white columns: without antialiasing some stripes would survive.
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    fitted = fit(encode(Image.fromarray(stripes)))
    assert fitted.min() >= 120 and fitted.max() <= 136


def test_grey_becomes_colour_by_repetition_and_colour_becomes_grey_by_itu_601():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(
        fit(encode(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2)
    )
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    grey_of_red = fit(encode(Image.fromarray(red)), ImageSpec(size_pixels=16, channels=1))
    assert grey_of_red.shape == (16, 16, 1)
    assert set(grey_of_red.ravel().tolist()) == {76}  # 0.299 * 255


ALL_VALUES = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
WIDE_FILES = {
    "png": encode(Image.fromarray(ALL_VALUES)),
    "png, interlaced": make.png(
        make.interlaced_rows(ALL_VALUES), (256, 256), colour=0, depth=16, interlaced=True
    ),
    "png, upright by its text": encode(Image.fromarray(ALL_VALUES), pnginfo=upright_xmp()),
    "tiff": encode(Image.fromarray(ALL_VALUES), "TIFF"),
    "tiff, compressed": encode(Image.fromarray(ALL_VALUES), "TIFF", compression="tiff_lzw"),
    "tiff, big endian": make.big_endian_tiff(ALL_VALUES),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data", WIDE_FILES.values(), ids=WIDE_FILES.keys())
def test_sixteen_bit_grey_becomes_the_nearest_of_eight_bits(data: bytes, channels: int):
    # round(v / 257), which is never a tie, in integers.
    nearest = (2 * ALL_VALUES.astype(int) + 257) // 514
    expected = np.repeat(nearest[..., None], channels, axis=2)
    np.testing.assert_array_equal(decode_image(data, channels), expected)


def test_sixteen_bits_of_colour_or_with_alpha_keep_their_upper_eight():
    colour = np.dstack([ALL_VALUES, ALL_VALUES.T, 65535 - ALL_VALUES])
    data = make.png(png_rows(colour), (256, 256), depth=16)
    np.testing.assert_array_equal(decode_image(data, 3), colour >> 8)
    opaque = np.dstack([ALL_VALUES, np.full_like(ALL_VALUES, 65535)])
    data = make.png(png_rows(opaque), (256, 256), colour=4, depth=16)
    np.testing.assert_array_equal(decode_image(data, 1)[..., 0], ALL_VALUES >> 8)


FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width_and_height", [(40, 23), (19, 57), (7, 9)], ids=str)
@pytest.mark.parametrize("name", get_args(ImageSpec.model_fields["resize"].annotation))
def test_each_filter_gives_the_pixels_of_pillow(name, width_and_height, channels):
    width, height = width_and_height
    image = Image.fromarray(picture(width, height)).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(height, width, channels)
    spec = ImageSpec(size_pixels=16, channels=channels, resize=name)
    for box in (center_crop(width, height), CropBox(1, 2, 6, 7), CropBox(0, 0, width, height)):
        placement = box_placement(box, 16, 16)
        resized = image.resize((16, 16), FILTERS[name], box=box)
        expected = np.asarray(resized).reshape(16, 16, channels)
        np.testing.assert_array_equal(fit_image(pixels, spec, placement), expected)
        flipped = fit_image(pixels, spec, placement, flip=True)
        np.testing.assert_array_equal(flipped, expected[:, ::-1])


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (16, 16), (10, 20, 30, 0))
    clear.putpixel((3, 4), (10, 20, 30, 255))
    expected = np.full((16, 16, 3), 255, np.uint8)
    expected[4, 3] = 10, 20, 30
    np.testing.assert_array_equal(fit(encode(clear)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8, :8] = 255  # white in the upper left, before the camera is turned
    exif = Image.Exif()
    exif[0x0112] = orientation
    fitted = fit(encode(Image.fromarray(pixels), "JPEG", quality=95, exif=exif))
    corners = {
        (row, column)
        for row in (0, 1)
        for column in (0, 1)
        if fitted[row * 15, column * 15].mean() > 128
    }
    expected = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1)}
    assert corners == {expected.get(orientation, (1, 0))}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an image, got 0 bytes"),
        (
            b"<html>404</html>",
            "expected one of PNG, JPEG, .*, got an unknown format",
        ),
        (encode(Image.fromarray(picture()))[:-40], "expected a whole PNG, got one that ends"),
        (
            encode(Image.fromarray(picture(64, 64)), "JPEG")[:-200],
            "expected a whole JPEG, got one that ends",
        ),
        (
            encode(
                Image.fromarray(picture()),
                "GIF",
                save_all=True,
                append_images=[Image.fromarray(picture(seed=1))],
            ),
            "expected a still image, got an animated GIF",
        ),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\0\0\0\0" + b"\0" * 60,
            "expected a whole PNG, got one with a damaged header",
        ),
    ],
)
def test_what_is_no_whole_still_image_is_refused_with_its_reason(data: bytes, message: str):
    with pytest.raises(BadImageError, match=message):
        decode_image(data, 3)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_cut_of_a_file_is_refused_or_decodes_to_the_same_pixels(format_name: str):
    options = {"quality": 90} if format_name in ("JPEG", "WEBP") else {}
    data = encode(Image.fromarray(picture(24, 24)), format_name, **options)
    whole = decode_image(data, 3)
    refused = 0
    for length in range(0, len(data), 7):
        try:
            cut = decode_image(data[:length], 3)
        except BadImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(cut, whole)
    assert refused > 0


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["noise", "ramp", "flat"])
def test_a_plain_png_gives_the_pixels_that_pillow_gives(mode: str, kind: str):
    height, width = 23, 31
    pixels = {
        "noise": picture(width, height),
        "ramp": np.tile(np.arange(width, dtype=np.uint8)[None, :, None] * 8, (height, 1, 3)),
        "flat": np.full((height, width, 3), 77, np.uint8),
    }[kind]
    image = Image.fromarray(pixels).convert(mode)
    channels = len(mode)
    for options in ({}, {"optimize": True}, {"compress_level": 0}):
        data = encode(image, **options)
        fast = decode_plain_png(data, channels)
        assert fast is not None
        expected = np.asarray(image).reshape(height, width, channels)
        np.testing.assert_array_equal(fast, expected)
        np.testing.assert_array_equal(_decode(data, "PNG", channels, DEFAULT_RULES), expected)


@pytest.mark.parametrize(
    ("image", "channels", "options"),
    [
        (Image.new("L", (16, 16), 9), 3, {}),
        (Image.new("RGB", (16, 16), "red"), 1, {}),
        (Image.new("RGBA", (16, 16)), 3, {}),
        (Image.new("P", (16, 16), 3), 3, {}),
        (Image.new("1", (16, 16), 1), 1, {}),
        (Image.new("I;16", (16, 16), 9), 1, {}),
        (Image.new("L", (16, 16), 9), 1, {"transparency": 9}),
        (Image.new("L", (16, 16), 9), 1, {"dpi": (72, 72)}),
        (Image.new("L", (2048, 1024), 9), 1, {}),
    ],
)
def test_a_png_with_anything_more_to_it_is_left_to_pillow(image, channels, options):
    assert decode_plain_png(encode(image, **options), channels) is None


def test_a_damaged_plain_png_is_refused_or_gives_what_pillow_gives():
    data = encode(Image.fromarray(picture(12, 12)), optimize=True)
    for position in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            # A right checksum over wrong data: a writer's fault, not the wire's.
            for checksum in (False, True):
                if checksum:
                    damaged[-16:-12] = zlib.crc32(bytes(damaged[37:-16])).to_bytes(4)
                fast = decode_plain_png(bytes(damaged), 3)
                if fast is not None:
                    np.testing.assert_array_equal(
                        fast, _decode(bytes(damaged), "PNG", 3, DEFAULT_RULES)
                    )


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_filled_jpeg_has_its_size_and_the_rows_that_it_holds(subsampling, progressive):
    data = encode(
        Image.fromarray(picture(64, 64)),
        "JPEG",
        quality=95,
        subsampling=subsampling,
        progressive=progressive,
    )
    whole = decode_image(data, 3)
    filled = decode_image(data[: len(data) // 2], 3, DecodeRules(truncated="fill"))
    assert filled.shape == whole.shape
    if not progressive:  # there all rows are coarse until the end
        np.testing.assert_array_equal(filled[:8], whole[:8])
    assert (filled != whole).any()


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_only_pixel_limit_is_ours(format_name: str, monkeypatch: pytest.MonkeyPatch):
    data = encode(Image.new("RGB", (40, 40)), format_name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _decode(data, format_name, 3, DecodeRules(max_pixels=1600)).shape == (40, 40, 3)
    with pytest.raises(BadImageError, match="expected at most 1,599 pixels, got 40 x 40"):
        decode_image(data, 3, DecodeRules(max_pixels=1599))
    assert Image.MAX_IMAGE_PIXELS == 10


def test_threads_change_no_pixel_of_an_avif_and_pillow_keeps_its_own_number(
    monkeypatch: pytest.MonkeyPatch,
):
    data = encode(Image.fromarray(picture(640, 400)), "AVIF")
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 4)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data, 3), expected)
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 4


def test_a_reason_is_the_same_in_every_run():
    error = OSError("cannot\nread <_io.BytesIO object at 0x7f3a5c0e1d50> \x1b[31m")
    assert _reason(error) == "cannot read ?[31m"
    assert _reason(KeyError(320)) == "a header that cannot be used"
    assert _reason(OSError("Unsupported BMP compression (24)")) == "Unsupported BMP compression"

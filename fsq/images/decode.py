"""Image decoding: any image file to upright 8-bit pixels, the same in training and in encoding.

Decoding, colour conversion and resampling are Pillow's. Plain PNGs (`png_fast_path`) and
upright JPEGs (`jpeg_fast_path`) are decoded without it, to the same pixels. The rules, in order:

1. The format is detected from the first bytes, never from a name: PNG, JPEG, WebP, BMP, GIF, TIFF,
   AVIF. Others that are known (`signatures`), like HEIC and JPEG XL, are refused by their name.
2. The size in the header must be within `DecodeRules.max_pixels`, which is checked before
   decoding. Pillow's own limit is switched off meanwhile.
3. The file must be complete, as far as its format allows to check. With `truncated:
   fill` a JPEG that ends early is accepted, and libjpeg fills in the missing part.
   Bytes after the end of the image are ignored.
4. It must contain one image. With `animated: first_frame` the first frame is used; of an
   APNG, the image shown without animation. Of a JPEG with a preview after the image (MPO),
   the image is used.
5. Orientation is applied, from wherever Pillow's `exif_transpose` takes it (`orientation`); a
   missing, damaged or invalid one means upright.
6. 16-bit grey v becomes round(v / 257); 16-bit colour, and grey with alpha, keeps its upper 8
   bits. Other depths above 8, floats, signed samples and Lab are refused; but AVIFs of 10
   and 12 bits are rounded to 8.
7. Transparency is composited on white; an image that is transparent everywhere is refused. Where
   writers leave alpha at 0 and mean none (BMP, TIFFs that do not declare it), it is not
   transparency. CMYK becomes RGB by (255 - c)(255 - k) / 255. Colour
   profiles and PNG's gamma are not applied, so a damaged profile does no harm.
8. Colour becomes grey by ITU-R 601, and grey becomes colour by repetition.
9. The crop box is resampled with antialiasing, unless it has the wanted size already;
   then its pixels are not changed.
"""

import re

import numpy as np
from PIL import Image

from fsq.errors import BadImageError
from fsq.images.image_formats import EndsEarlyError, open_image, pillow_settings
from fsq.images.jpeg_fast_path import decode_plain_jpeg, without_applications
from fsq.images.orientation import drop_unreadable_xmp, turn_of
from fsq.images.png_fast_path import decode_plain_png
from fsq.images.png_file import check_pixels
from fsq.images.signatures import FORMATS, format_of
from fsq.images.spec import DEFAULT_RULES, DecodeRules

# By the first bytes.
_DECODE_PLAIN = {b"\x89P": decode_plain_png, b"\xff\xd8": decode_plain_jpeg}

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_END_OF_JPEG = b"\xff\xd9"
# Messages of Pillow and `struct`.
_ENDS_EARLY = re.compile("truncated|requires a buffer|not enough image data|out of range", re.I)


def decode_image(
    data: bytes | np.ndarray, channels: int, rules: DecodeRules = DEFAULT_RULES
) -> np.ndarray:
    """Decodes an image file to upright 8-bit pixels, grey or RGB.

    Args:
      data: The bytes of one image file; or pixels, uint8 [H, W], [H, W, 1] or [H, W, 3].
      channels: 1 or 3.
      rules: Which files are decoded.

    Returns:
      uint8 pixels, shape [H, W, channels].

    Raises:
      BadImageError: The bytes are not a complete still image of a supported format.
    """
    if not isinstance(data, bytes):
        return _convert_pixels(data, channels, rules)
    if not data:
        raise BadImageError("expected an image, got 0 bytes")
    if decode_plain := _DECODE_PLAIN.get(data[:2]):
        pixels = decode_plain(data, channels, max_pixels=rules.max_pixels)
        if pixels is not None:
            return pixels
    format_name = format_of(data)
    if format_name not in FORMATS:
        found = f"{format_name} (convert it)" if format_name else "an unknown format"
        raise BadImageError(f"expected one of {', '.join(FORMATS)}, got {found}")
    try:
        return _decode(data, format_name, channels, rules)
    except EndsEarlyError as early:
        if rules.truncated == "refuse" or format_name != "JPEG":
            raise
        try:
            return _decode(data + _END_OF_JPEG, format_name, channels, rules)
        except BadImageError:
            raise early from None


def _decode(data: bytes, format_name: str, channels: int, rules: DecodeRules) -> np.ndarray:
    try:
        with pillow_settings:
            opened = open_image(data, format_name, max_pixels=rules.max_pixels)
            image: Image.Image = opened.image
            if rules.animated == "refuse" and opened.has_more():
                what = "several pages" if format_name == "TIFF" else f"an animated {format_name}"
                raise BadImageError(f"expected a still image, got {what}")
            if format_name == "JPEG" and turn_of(image) is None:
                pixels = _decode_bare_jpeg(data, channels, rules)
                if pixels is not None:
                    return pixels
            drop_unreadable_xmp(image)
            image.load()
            turn = turn_of(image)
        if opened.png is not None:
            check_pixels(opened.png, np.asarray(image))
        if turn is not None:
            image = image.transpose(turn)
        mode = "L" if channels == 1 else "RGB"
        image = _convert(image, mode, alpha_may_be_unused=opened.alpha_may_be_unused)
        return np.asarray(image).reshape(image.height, image.width, channels)
    except BadImageError:
        raise
    # On hostile bytes Pillow's decoders raise almost anything; all of it becomes a reject reason.
    except Exception as error:
        if _ENDS_EARLY.search(str(error)):
            raise EndsEarlyError(format_name) from error
        raise BadImageError(f"expected a whole {format_name}, got: {_reason(error)}") from error


def _convert_pixels(pixels: np.ndarray, channels: int, rules: DecodeRules) -> np.ndarray:
    """Converts pixels to grey or RGB, as those of a PNG file with them would be."""
    height, width = pixels.shape[:2]
    if height * width > rules.max_pixels:
        raise BadImageError(f"expected at most {rules.max_pixels:,} pixels, got {width} x {height}")
    pixels = pixels.reshape(height, width, -1)
    if pixels.shape[2] == channels:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    converted = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(converted).reshape(height, width, channels)


def _reason(error: Exception) -> str:
    """Returns one line that is the same in every run: without memory addresses and values."""
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>| \(-?\d+\)", "", str(error))
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    # The bare key of a KeyError, and Pillow's message for a header without size or mode.
    if not re.search("[A-Za-z]{3}", text) or text == "not identified by this driver":
        return "a header that cannot be used"
    return text[:200]


def _decode_bare_jpeg(data: bytes, channels: int, rules: DecodeRules) -> np.ndarray | None:
    """Decodes an upright JPEG whose header Pillow has read; None if Pillow has to decode it."""
    bare = without_applications(data)
    if len(bare) == len(data):
        return None  # tried before
    return decode_plain_jpeg(bare, channels, max_pixels=rules.max_pixels)


def _convert(image: Image.Image, mode: str, *, alpha_may_be_unused: bool) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_MODES:
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode not in _MODES:
        raise BadImageError(
            f"expected grey, palette, RGB or CMYK of 8 or 16 bits, got mode {image.mode}"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getbbox():
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        elif not alpha_may_be_unused:
            raise BadImageError("expected something visible, got transparency everywhere")
    return image.convert(mode)

"""The image contract: any image to uint8 [S, S, C], the same in training and in encoding.

Decoding, orientation, colour conversion and resampling are Pillow's. The
rules, in order: EXIF orientation is applied; 16-bit grey is scaled to 8 bits;
transparency is laid on white; colour becomes grey by ITU-R 601 and grey
becomes colour by repetition; the crop box is resampled with antialiasing,
unless it is S x S already, when its pixels stay untouched.
"""

import io
import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pydantic

# Each plugin registers its format when it is imported; Pillow would load only some by itself.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401  (cameras write JPEGs with a preview inside)
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from fsq.errors import BadImageError
from fsq.png import decode_plain_png

MAX_PIXELS = 178_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class ImageSpec(pydantic.BaseModel):
    """What an encoder takes: size, channels, pixel range, resize rule."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    size_pixels: Annotated[int, pydantic.Field(ge=4, le=4096)]
    channels: Literal[1, 3]
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    resize: Literal["bicubic", "lanczos"] = "bicubic"

    @pydantic.field_validator("pixel_range")
    @classmethod
    def _range_rises(cls, pixel_range: tuple[float, float]) -> tuple[float, float]:
        low, high = pixel_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"expected two finite values, the lower first, got {pixel_range}")
        return pixel_range

    @property
    def shape(self) -> tuple[int, int, int]:
        """[S, S, C] of a fitted image."""
        return (self.size_pixels, self.size_pixels, self.channels)


class CropBox(NamedTuple):
    """A rectangle in the pixels of the upright image; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def decode_image(data: bytes, channels: int) -> np.ndarray:
    """Decodes an image file to an upright 8-bit picture, grey or RGB.

    Args:
      data: The bytes of one image file.
      channels: 1 or 3.

    Returns:
      uint8 pixels, shape [H, W, channels].

    Raises:
      BadImageError: The bytes are not an image we read, whole and still.
    """
    if not data:
        raise BadImageError("expected an image, got 0 bytes")
    pixels = decode_plain_png(data, channels)
    return _decode_any(data, channels) if pixels is None else pixels


def _decode_any(data: bytes, channels: int) -> np.ndarray:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise BadImageError(
                f"expected at most {MAX_PIXELS:,} pixels, got {image.width} x {image.height}"
            )
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise BadImageError(f"expected a still image, got an animated {image.format}")
        image.load()
        if "exif" in image.info or image.format == "TIFF":
            image = ImageOps.exif_transpose(image)
        image = _convert(image, "L" if channels == 1 else "RGB")
        return np.asarray(image).reshape(image.height, image.width, channels)
    except BadImageError:
        raise
    # On hostile bytes Pillow's decoders raise almost anything; each becomes a reason.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"not one of {', '.join(FORMATS)}"
        raise BadImageError(f"expected a whole image, got {len(data)} bytes: {reason}") from error


def center_crop(width: int, height: int) -> CropBox:
    """Returns the largest centred square; an odd pixel is left over at the right or bottom.

    >>> center_crop(400, 533)
    CropBox(left=0, top=66, right=400, bottom=466)
    """
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return CropBox(left, top, left + side, top + side)


def fit_image(
    pixels: np.ndarray, spec: ImageSpec, box: CropBox, *, flip: bool = False
) -> np.ndarray:
    """Crops, resamples and flips a decoded image.

    Args:
      pixels: What `decode_image` returned, uint8 [H, W, C].
      spec: The image contract.
      box: The crop, inside the image.
      flip: Mirror left and right, after resampling.

    Returns:
      uint8 pixels, shape [S, S, C].
    """
    size = spec.size_pixels
    if box.right - box.left == size and box.bottom - box.top == size:
        fitted = pixels[box.top : box.bottom, box.left : box.right]
    else:
        image = Image.fromarray(pixels[..., 0] if spec.channels == 1 else pixels)
        image = image.resize((size, size), _FILTERS[spec.resize], box=box)
        fitted = np.asarray(image).reshape(spec.shape)
    return fitted[:, ::-1] if flip else fitted


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in ("I;16", "I;16B", "I;16L"):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise BadImageError(f"expected 8 or 16 bits per channel, got mode {image.mode}")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)

"""Orientation: the transform that makes an image upright, by its EXIF or XMP metadata.

The same carriers as in Pillow's `ImageOps.exif_transpose`, the first that is present wins:
EXIF in its usual place, EXIF as the text that ImageMagick writes into a PNG, the tag of a
TIFF, `tiff:Orientation` in XMP.
"""

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Returns the transform that makes an image upright; None if it is, or does not say.

    Metadata that cannot be read does not affect the pixels. Of a PNG, metadata may follow
    the pixels, so it is to be decoded before.
    """
    if isinstance(image, TiffImageFile):
        return None  # Pillow itself makes a TIFF upright while it decodes
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return None


def drop_unreadable_xmp(image: Image.Image) -> None:
    """Removes XMP of another type than bytes, on which Pillow would fail while it decodes."""
    if not isinstance(image.info.get("xmp", b""), bytes):
        del image.info["xmp"]

"""Image headers: format, size and number of images of a file, before it is decoded.

Pillow's plugins are called directly, not through `Image.open`, which has a pixel
limit of its own, and whose messages contain memory addresses.
"""

import io
import struct
import threading
from typing import Any, NamedTuple

from PIL import AvifImagePlugin, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fsq.errors import BadImageError
from fsq.images.png_file import ReadPng, png_size, read_png

_PLUGINS: dict[str, Any] = {
    "PNG": PngImageFile,
    # Cameras write JPEGs with a preview after the image (MPO), which this plugin ignores.
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}

_EXTRA_SAMPLES = 338


class EndsEarlyError(BadImageError):
    """The file is truncated."""

    def __init__(self, format_name: str):
        super().__init__(f"expected a whole {format_name}, got one that ends early")


class OpenedImage(NamedTuple):
    """A file whose header has been read.

    Attributes:
      image: Pillow's image, not decoded.
      png: The checked file, if it is a PNG.
      alpha_may_be_unused: Whether writers of such files leave alpha at 0 and mean "none".
    """

    image: ImageFile
    png: ReadPng | None = None
    alpha_may_be_unused: bool = False

    def has_more(self) -> bool:
        """Returns whether there are more images after the first; a GIF is searched for them."""
        if self.png is not None:
            return self.png.animated
        return getattr(self.image, "is_animated", False)


def open_image(data: bytes, format_name: str, *, max_pixels: int) -> OpenedImage:
    """Reads the header of a file.

    The size is checked before Pillow opens the file if Pillow would allocate the
    pixels on opening it.

    Raises:
      BadImageError: There are too many pixels, or Pillow would decode them wrongly.
      Exception: Whatever Pillow raises on a damaged header.
    """
    match format_name:
        case "PNG":
            _check_size(png_size(data), max_pixels)
            png = read_png(data)
            image = PngImageFile(io.BytesIO(png.data))
            if png.transparent_grey is not None:
                image.info["transparency"] = png.transparent_grey
            return OpenedImage(image, png)
        case "GIF":
            _check_size(_gif_size(data), max_pixels)
        case "WEBP":
            if int.from_bytes(data[4:8], "little") + 8 > len(data):
                raise EndsEarlyError(format_name)
            _check_size(_webp_size(data), max_pixels)
    image = _PLUGINS[format_name](io.BytesIO(data))
    _check_size(image.size, max_pixels)
    match image:
        case JpegImageFile() if image.mode == "CMYK" and "adobe" not in image.info:
            raise BadImageError("expected a CMYK JPEG with an Adobe marker, got none")
        case BmpImageFile():
            return OpenedImage(image, alpha_may_be_unused=True)
        case TiffImageFile():
            _check_tiff(image)
            return OpenedImage(image, alpha_may_be_unused=_EXTRA_SAMPLES not in image.tag_v2)
    return OpenedImage(image)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadImageError(f"expected at most {max_pixels:,} pixels, got {width} x {height}")
    if width * height == 0:
        raise BadImageError(f"expected at least one pixel, got {width} x {height}")


class _PillowSettings:
    """Sets what is global in Pillow, while any of our threads is decoding.

    No pixel limit, because ours is checked; one thread for an AVIF, because images are
    decoded in parallel. Restored for other users of Pillow in this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._theirs: tuple[int | None, int] = (None, 0)

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._theirs = Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS
                Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS = None, 1
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS = self._theirs


pillow_settings = _PillowSettings()


def _gif_size(data: bytes) -> tuple[int, int]:
    """Returns the size of the screen, extended to contain the first frame, as Pillow does."""
    width, height = struct.unpack_from("<HH", data, 6)
    at = 13 + ((6 << (data[10] & 7)) if data[10] & 0x80 else 0)
    while data[at] not in b",;":
        if data[at] == ord("!"):
            at += 2
            while data[at]:
                at += data[at] + 1
        at += 1
    if data[at] == ord(","):
        left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
        width, height = max(width, left + frame_width), max(height, top + frame_height)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width, height = data[24:27] + b"\0", data[27:30] + b"\0"
            return struct.unpack("<I", width)[0] + 1, struct.unpack("<I", height)[0] + 1
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise BadImageError("expected a WEBP that begins with image data, got another chunk")


def _check_tiff(image: TiffImageFile) -> None:
    """Refuses files that Pillow would decode darkened, inverted, wrapped around or in part."""
    tags = image.tag_v2
    bits = max(tags.get(258, (1,)))
    if any(kind != 1 for kind in tags.get(339, (1,))) or bits not in (1, 2, 4, 8, 16):
        raise BadImageError("expected unsigned samples of 1 to 8 or 16 bits, got other samples")
    if bits == 16 and tags.get(262) == 0:
        raise BadImageError("expected 0 to be black in 16-bit grey, got 0 as white")
    if tags.get(254, 0) & 1:
        raise BadImageError("expected the full image first in a TIFF, got a preview")
    width, height = image.size
    boxes = [tile.extents or (0, 0, width, height) for tile in image.tile]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if covered < width * height:
        raise BadImageError("expected a whole TIFF, got one with missing strips")

"""Image input: image files to uint8 pixels of one size.

`decode_image`, then `center_crop` and `fit_image`, convert a file to the input of an encoder. They
are loaded on first use, so that `ImageSpec` alone does not import Pillow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsq.images.crop import CropBox, center_crop, fit_image
    from fsq.images.decode import decode_image
    from fsq.images.spec import DecodeRules, ImageSpec

__all__ = ["CropBox", "DecodeRules", "ImageSpec", "center_crop", "decode_image", "fit_image"]

_MODULES = {
    "CropBox": "fsq.images.crop",
    "DecodeRules": "fsq.images.spec",
    "ImageSpec": "fsq.images.spec",
    "center_crop": "fsq.images.crop",
    "decode_image": "fsq.images.decode",
    "fit_image": "fsq.images.crop",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fsq.images' has no attribute '{name}'")

"""Image input: image files to uint8 pixels of one size.

`decode_image`, then `fit_image`, convert a file to the input of an encoder; `decode_file` does
both inside a tf.data pipeline. They are loaded on
first use, so that `ImageSpec` alone does not import Pillow.
"""

from typing import TYPE_CHECKING

from fsq.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from fsq.images.crop import CropBox, center_crop
    from fsq.images.decode import decode_image
    from fsq.images.graph_decode import DecodedFile, decode_file, try_decode_file
    from fsq.images.resampling import fit_image
    from fsq.images.spec import DecodeRules, ImageSpec

__all__ = [
    "CropBox",
    "DecodeRules",
    "DecodedFile",
    "ImageSpec",
    "center_crop",
    "decode_file",
    "decode_image",
    "fit_image",
    "try_decode_file",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "CropBox": "crop",
        "DecodeRules": "spec",
        "DecodedFile": "graph_decode",
        "ImageSpec": "spec",
        "center_crop": "crop",
        "decode_file": "graph_decode",
        "decode_image": "decode",
        "fit_image": "resampling",
        "try_decode_file": "graph_decode",
    },
)

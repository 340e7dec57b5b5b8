"""torchvision: `Resize(size, BICUBIC)`, then `CenterCrop(size)`, on Pillow images.

Source: torchvision/transforms/functional.py, `_compute_resized_output_size` and `center_crop`,
with their rounding. For results that are not square, the image is resized to cover them.
"""

from fsq.images.crops.base import CropPolicy
from fsq.images.placement import Placement


class TorchvisionCrop(CropPolicy):
    """The usual transforms of PyTorch's data loaders."""

    name = "torchvision"
    resize = "bicubic"

    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement; see `CropPolicy.place`."""
        canvas_width, canvas_height = width, height
        if source_width * height <= source_height * width:
            canvas_height = max(height, int(width * source_height / source_width))
        else:
            canvas_width = max(width, int(height * source_width / source_height))
        return Placement(
            0,
            None,
            canvas_height,
            canvas_width,
            # An odd pixel lies where Python's rounding to even puts it.
            top=round((canvas_height - height) / 2),
            left=round((canvas_width - width) / 2),
        )


TORCHVISION = TorchvisionCrop()

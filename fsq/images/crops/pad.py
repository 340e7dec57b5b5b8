"""Pad: the whole image, resampled to fit, in the centre of black bars."""

from fsq.images.crops.base import CropPolicy
from fsq.images.placement import Placement


class Pad(CropPolicy):
    """Nothing is cut off; an odd row or column of bars lies at the bottom or right."""

    name = "pad"

    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement; see `CropPolicy.place`."""
        scale = min(width / source_width, height / source_height)
        canvas_width = max(1, round(source_width * scale))
        canvas_height = max(1, round(source_height * scale))
        return Placement(
            0,
            None,
            canvas_height,
            canvas_width,
            top=-((height - canvas_height) // 2),
            left=-((width - canvas_width) // 2),
        )


PAD = Pad()

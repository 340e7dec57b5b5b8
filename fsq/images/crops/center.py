"""Center: the largest centred box of the wanted shape, resampled in one step."""

from fsq.images.crop import center_crop
from fsq.images.crops.base import CropPolicy
from fsq.images.placement import Placement, box_placement


class CenterCrop(CropPolicy):
    """The policy of contracts that name none."""

    name = "center"

    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement; see `CropPolicy.place`."""
        box = center_crop(source_width, source_height, width, height)
        return box_placement(box, height, width)


CENTER = CenterCrop()

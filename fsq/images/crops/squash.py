"""Squash: the whole image, resampled to the wanted shape whatever its own."""

from fsq.images.crops.base import CropPolicy
from fsq.images.placement import Placement


class Squash(CropPolicy):
    """Nothing is cut off; the aspect ratio changes."""

    name = "squash"

    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement; see `CropPolicy.place`."""
        return Placement(0, None, height, width)


SQUASH = Squash()

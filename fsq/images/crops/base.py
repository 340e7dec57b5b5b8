"""The interface of a crop policy: how an image of any shape is fitted to the size of an encoder."""

import abc
from typing import Literal

from fsq.images.placement import Placement

Resize = Literal["bicubic", "lanczos"]


class CropPolicy(abc.ABC):
    """Fits images to one size.

    Attributes:
      name: Its name in contracts and configs.
      resize: The filter that belongs to it; None if `image.resize` chooses it.
    """

    name: str
    resize: Resize | None = None

    @abc.abstractmethod
    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement of an image of some size.

        An image of the wanted size stays as it is.

        Args:
          source_width: Width of the upright image, in pixels.
          source_height: Height of the upright image.
          width: Width of the result.
          height: Height of the result.
        """

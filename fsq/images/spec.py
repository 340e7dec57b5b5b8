"""Image spec: size, channels and range of an encoder's images; which image files are decoded."""

import math
from typing import Annotated, Literal

import pydantic

from fsq.validation import FrozenModel


class DecodeRules(FrozenModel):
    """Which image files are decoded: size limit, animated and truncated files.

    Attributes:
      max_pixels: Largest number of pixels of an image; a larger one is rejected before it
        is decoded.
      animated: Reject files with several frames, or take the first frame.
      truncated: Reject JPEGs that end early, or fill the missing rows with grey.
    """

    max_pixels: Annotated[int, pydantic.Field(ge=1)] = 178_000_000
    animated: Literal["refuse", "first_frame"] = "refuse"
    truncated: Literal["refuse", "fill"] = "refuse"


DEFAULT_RULES = DecodeRules()


class ImageSpec(FrozenModel):
    """Input of an encoder: size, channels, pixel range, resize rule.

    Attributes:
      size_pixels: Side of the square images that the encoder takes.
      channels: 3 for RGB, 1 for grey.
      pixel_range: The values that the encoder takes for black and white.
      resize: Filter that images are resampled with.
    """

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
        """Shape of a fitted image, [S, S, C]."""
        return (self.size_pixels, self.size_pixels, self.channels)

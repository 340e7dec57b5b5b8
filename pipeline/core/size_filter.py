"""Size filter: images that are left out of a dataset on purpose, by the size of their source."""

from typing import Annotated

import pydantic

from fsq.validation import FrozenModel


class SizeFilter(FrozenModel):
    """Which images are tokenized, by their height and width in source pixels.

    Attributes:
      min_side: Smallest shorter side of an image, in source pixels.
      max_aspect_ratio: Largest ratio of an image's longer side to its shorter.
    """

    min_side: Annotated[int, pydantic.Field(ge=1, le=1_000_000)] | None = None
    max_aspect_ratio: Annotated[float, pydantic.Field(ge=1, le=1_000_000)] | None = None

    @pydantic.model_validator(mode="after")
    def _filters_something(self) -> "SizeFilter":
        if self.min_side is None and self.max_aspect_ratio is None:
            raise ValueError("expected min_side or max_aspect_ratio, got neither. Leave filter out")
        return self

    def describe(self) -> str:
        """Describes the images that are tokenized.

        >>> SizeFilter(min_side=256, max_aspect_ratio=3).describe()
        'shorter side at least 256 pixels, aspect ratio at most 3; others are rejects, not limited'
        """
        wanted = []
        if self.min_side is not None:
            wanted.append(f"shorter side at least {self.min_side:,} pixels")
        if self.max_aspect_ratio is not None:
            wanted.append(f"aspect ratio at most {self.max_aspect_ratio:g}")
        return f"{', '.join(wanted)}; others are rejects, not limited"

    def refuse(self, width: int, height: int) -> str | None:
        """Returns why an image is left out, the same text for all such images; None if it is not.

        >>> SizeFilter(min_side=256).refuse(width=640, height=255)
        'shorter side below 256 pixels'
        >>> SizeFilter(max_aspect_ratio=2.5).refuse(width=640, height=256)
        """
        shorter, longer = sorted((width, height))
        if self.min_side is not None and shorter < self.min_side:
            return f"shorter side below {self.min_side:,} pixels"
        if self.max_aspect_ratio is not None and longer > self.max_aspect_ratio * shorter:
            return f"aspect ratio above {self.max_aspect_ratio:g}"
        return None

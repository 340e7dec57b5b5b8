"""Image spec: size, channels, range and crop of an encoder's images; which files are decoded."""

import math
from typing import Annotated, Any, Literal

import pydantic

from fsq.images.crops import CROPS
from fsq.images.crops.base import Resize
from fsq.validation import FrozenModel


def _check_crop(name: str) -> str:
    if name not in CROPS:
        *first, last = map(repr, CROPS)
        raise ValueError(f"expected {', '.join(first)} or {last}, got {name!r}")
    return name


Side = Annotated[int, pydantic.Field(ge=4, le=4096)]
CropName = Annotated[str, pydantic.AfterValidator(_check_crop)]


def check_pair(size: Any) -> Any:
    """Returns a size as a config has it.

    Raises:
      ValueError: It is not a list of two.
    """
    if isinstance(size, list | tuple) and len(size) == 2:
        return size
    raise ValueError(f"expected [height, width], got {str(size)[:80]}")


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
    """Input of an encoder: size, channels, pixel range, crop and resize rule.

    Attributes:
      size_pixels: Side of the images that the encoder takes, if they are square.
      size: Height and width of the images that the encoder takes, in place of `size_pixels`.
      channels: 3 for RGB, 1 for grey.
      pixel_range: The values that the encoder takes for black and white.
      resize: Filter that images are resampled with; `adm`, `adm_lanczos` and `torchvision` have
        one of their own.
      crop: How an image is fitted to the size: `center`, `adm`, `adm_lanczos`, `torchvision`,
        `squash` or `pad`. It must be the crop that the tokenizer was trained with.
    """

    size_pixels: Side | None = None
    size: tuple[Side, Side] | None = None
    channels: Literal[1, 3]
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    resize: Resize = "bicubic"
    crop: CropName = "center"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _filter_of_the_crop(cls, content: Any) -> Any:
        if isinstance(content, dict) and "resize" not in content:
            policy = CROPS.get(str(content.get("crop")))
            if policy is not None and policy.resize is not None:
                return {**content, "resize": policy.resize}
        return content

    @pydantic.model_validator(mode="before")
    @classmethod
    def _square_by_its_side(cls, content: Any) -> Any:
        """Makes a square `size` its side, so that equal specs are equal and have equal bytes."""
        if isinstance(content, dict) and content.get("size_pixels") is None:
            match content.get("size"):
                case [int(height), int(width)] if height == width:
                    return {**content, "size": None, "size_pixels": height}
        return content

    @pydantic.model_validator(mode="after")
    def _has_one_size(self) -> "ImageSpec":
        if (self.size_pixels is None) == (self.size is None):
            found = "neither" if self.size is None else "both"
            raise ValueError(
                "expected size_pixels, the side of square images, or size, [height, width], "
                f"got {found}. Write one of them"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _filter_fits_the_crop(self) -> "ImageSpec":
        if self.filter != self.resize:
            raise ValueError(
                f"expected resize {self.filter!r}, the filter of crop {self.crop!r}, "
                f"got {self.resize!r}. Leave it out"
            )
        return self

    @pydantic.model_serializer(mode="wrap")
    def _leave_out_defaults(self, dump: pydantic.SerializerFunctionWrapHandler) -> Any:
        """Writes a square with the crop `center` as before there were others: without either."""
        content = dump(self)
        content.pop("size" if self.size is None else "size_pixels", None)
        if content["crop"] == "center":
            del content["crop"]
        return content

    @pydantic.field_validator("size", mode="before")
    @classmethod
    def _size_is_a_pair(cls, size: Any) -> Any:
        return size if size is None else check_pair(size)

    @pydantic.field_validator("pixel_range")
    @classmethod
    def _range_rises(cls, pixel_range: tuple[float, float]) -> tuple[float, float]:
        low, high = pixel_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"expected two finite values, the lower first, got {pixel_range}")
        return pixel_range

    @property
    def filter(self) -> Resize:
        """The filter that images are resampled with."""
        return CROPS[self.crop].resize or self.resize

    @property
    def height(self) -> int:
        """Height of a fitted image, in pixels."""
        return self._sides[0]

    @property
    def width(self) -> int:
        """Width of a fitted image, in pixels."""
        return self._sides[1]

    @property
    def _sides(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        assert self.size_pixels is not None, "checked by the model"
        return self.size_pixels, self.size_pixels

    def resized(self, height: int, width: int) -> "ImageSpec":
        """Returns the same spec for images of another size."""
        square = height == width
        sides = {
            "size_pixels": height if square else None,
            "size": None if square else (height, width),
        }
        return self.model_copy(update=sides)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a fitted image, [height, width, channels]."""
        return (self.height, self.width, self.channels)

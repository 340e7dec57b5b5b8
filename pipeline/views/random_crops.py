"""Random crops: the central one, then boxes drawn from a hash of the key.

Sources: the law of `RandomResizedCrop` (torchvision), and the stored crops of 4M (Mizrahi et al.
2023, arXiv:2312.06647), which cuts the same boxes from every modality.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import pydantic

from fsq.dataset.records import encode_key
from fsq.images.crop import CropBox, center_crop
from fsq.images.crops import CROPS
from fsq.images.spec import ImageSpec
from fsq.images.view import View, placed_view
from pipeline.views.base import ViewPolicy

_TRIES = 10
_HALVINGS = 40  # of the interval of the ratio's logarithm: finer than a double tells apart


class RandomCrops(ViewPolicy):
    """Several crops of every image, of random size, shape and place; the first is central.

    Attributes:
      count: Number of crops, the central one included.
      scale: Smallest and largest area, as shares of the image's.
      ratio: Smallest and largest width over height, relative to those of the encoder's images.
      flip: Whether each crop after the first is mirrored with probability 1/2.
      seed: Of the boxes.
    """

    kind: Literal["random"] = "random"
    count: Annotated[int, pydantic.Field(ge=1, le=255)]
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = False
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**63)] = 0

    @pydantic.field_validator("scale")
    @classmethod
    def _scale_is_a_share(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"expected two shares above 0, the smaller first, got {list(scale)}")
        return scale

    @pydantic.field_validator("ratio")
    @classmethod
    def _ratio_rises(cls, ratio: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ratio[0] <= ratio[1] < math.inf:
            raise ValueError(f"expected two ratios above 0, the smaller first, got {list(ratio)}")
        return ratio

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the views."""
        return tuple(f"random_{number}" for number in range(self.count))

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the views; see `ViewPolicy.views`."""
        size = (width, height)
        central = CROPS[spec.crop].place(*size, spec.width, spec.height)
        first, *names = self.names
        found = [placed_view(first, central, size, spec)]
        for name in names:
            draws = _draws(f"{self.seed} {name} ", key)
            box = self._box(draws, size, spec)
            found.append(View(name, box, self.flip and next(draws) < 0.5))
        return tuple(found)

    def _box(self, draws: Iterator[float], size: tuple[int, int], spec: ImageSpec) -> CropBox:
        width, height = size
        for _ in range(_TRIES):
            scale, ratio, x, y = (next(draws) for _ in range(4))
            area = width * height * (self.scale[0] + (self.scale[1] - self.scale[0]) * scale)
            aspect = _between(*self.ratio, ratio) * spec.width / spec.height
            box_width = max(1, round(math.sqrt(area * aspect)))
            box_height = max(1, round(math.sqrt(area / aspect)))
            if box_width <= width and box_height <= height:
                left, top = int(x * (width - box_width + 1)), int(y * (height - box_height + 1))
                return CropBox(left, top, left + box_width, top + box_height)
        return center_crop(width, height, spec.width, spec.height)


def _draws(seed: str, key: str) -> Iterator[float]:
    """Yields uniform numbers in [0, 1) by a hash, the same on every machine."""
    content = seed.encode() + encode_key(key)
    block = 0
    while True:
        digest = hashlib.blake2b(b"%d " % block + content, digest_size=64).digest()
        for start in range(0, 64, 8):
            yield (int.from_bytes(digest[start : start + 8], "big") >> 11) / 2**53
        block += 1


def _between(low: float, high: float, share: float) -> float:
    """Returns the number a share of the way from low to high, by ratio.

    By square roots, which every machine rounds alike; powers and logarithms are not.
    """
    found, step = low, high / low
    for _ in range(_HALVINGS):
        step = math.sqrt(step)
        share *= 2
        if share >= 1:
            share -= 1
            found *= step
    return found

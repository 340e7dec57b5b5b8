"""Views: the crops and flips of one image that are tokenized."""

import functools
from typing import NamedTuple

from fsq.images import CropBox, center_crop


class View(NamedTuple):
    """One view of one image: its name, its crop in source pixels, mirrored or not."""

    name: str
    crop: CropBox
    flip: bool


@functools.lru_cache(maxsize=256)
def views_of(names: tuple[str, ...], width: int, height: int) -> tuple[View, ...]:
    """Places the named views on an image of this size."""
    crop = center_crop(width, height)
    return tuple(View(name, crop, flip=name.endswith("_flipped")) for name in names)

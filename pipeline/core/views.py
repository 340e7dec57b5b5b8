"""Views: the crops and flips of one image that are tokenized."""

import functools

from fsq.images.crop import View, center_crop


@functools.lru_cache(maxsize=256)
def views_of(names: tuple[str, ...], width: int, height: int) -> tuple[View, ...]:
    """Places the named views on an image of this size."""
    crop = center_crop(width, height)
    return tuple(View(name, crop, flip=name.endswith("_flipped")) for name in names)

"""Aspect buckets: image sizes of which each image takes the one nearest to its aspect ratio."""

import functools
from fractions import Fraction

from fsq.images.spec import ImageSpec

Size = tuple[int, int]


@functools.lru_cache(maxsize=4096)
def nearest_bucket(height: int, width: int, buckets: tuple[Size, ...]) -> Size:
    """Returns the bucket with the smallest |log ratio difference|; of equal ones the first.

    In fractions, so that every machine finds the same ties.

    Args:
      height: Height of the image, in pixels.
      width: Width of the image.
      buckets: Height and width of each bucket.

    >>> nearest_bucket(1080, 1920, ((256, 256), (192, 320), (320, 192)))
    (192, 320)
    """

    def stretch(bucket: Size) -> Fraction:
        ratio = Fraction(height * bucket[1], width * bucket[0])
        return max(ratio, 1 / ratio)

    return min(buckets, key=stretch)


def spec_of_image(spec: ImageSpec, buckets: tuple[Size, ...], height: int, width: int) -> ImageSpec:
    """Returns the spec that an image is fitted by: that of its bucket, if there are buckets."""
    if not buckets:
        return spec
    return _resized(spec, nearest_bucket(height, width, buckets))


@functools.lru_cache(maxsize=256)
def _resized(spec: ImageSpec, size: Size) -> ImageSpec:
    return spec.resized(*size)

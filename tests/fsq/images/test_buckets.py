"""Aspect buckets: which one an image goes to."""

import math

import pytest

from fsq.images.buckets import nearest_bucket, spec_of_image
from fsq.images.spec import ImageSpec

BUCKETS = ((256, 256), (192, 320), (320, 192))


@pytest.mark.parametrize("bucket", BUCKETS)
def test_an_image_in_the_shape_of_a_bucket_goes_there(bucket: tuple[int, int]):
    assert nearest_bucket(bucket[0] * 7, bucket[1] * 7, BUCKETS) == bucket


def test_a_mirrored_shape_goes_to_the_mirrored_bucket():
    for height, width in ((100, 135), (1, 60_000), (731, 1024), (9, 10)):
        one, other = (nearest_bucket(*size, BUCKETS) for size in ((height, width), (width, height)))
        assert one == other[::-1]


def test_the_difference_of_logarithms_decides():
    for width in range(100, 1000, 7):
        found = nearest_bucket(300, width, BUCKETS)
        differences = {b: abs(math.log(300 / width) - math.log(b[0] / b[1])) for b in BUCKETS}
        assert differences[found] == min(differences.values())


def test_of_equally_near_buckets_the_first_is_taken():
    # 2 : 1 and 1 : 2 are as far from a square.
    assert nearest_bucket(64, 64, ((64, 128), (128, 64))) == (64, 128)
    assert nearest_bucket(64, 64, ((128, 64), (64, 128))) == (128, 64)


def test_without_buckets_every_image_has_the_size_of_the_spec():
    spec = ImageSpec(size_pixels=256, channels=3)
    assert spec_of_image(spec, (), 1000, 10) is spec
    assert spec_of_image(spec, BUCKETS, 1000, 10) == spec.resized(320, 192)

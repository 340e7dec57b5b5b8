"""Decoding inside a dataset gives the pixels that it gives outside."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from fsq.images import DecodeRules, ImageSpec, decode_file, fit_image, try_decode_file
from fsq.images.decode import decode_image

SPEC = ImageSpec(size_pixels=16, channels=3, crop="adm")


@pytest.fixture(scope="module")
def paths(image_folder: Path) -> list[str]:
    return sorted(map(str, image_folder.rglob("*.png")))[:40]


def test_files_have_the_pixels_of_decode_image_and_fit_image(paths: list[str]):
    files = tf.data.Dataset.from_tensor_slices(paths).map(tf.io.read_file)
    images = files.map(lambda data: decode_file(data, SPEC), num_parallel_calls=4)
    assert images.element_spec == tf.TensorSpec((16, 16, 3), tf.uint8)
    expected = [fit_image(decode_image(Path(path).read_bytes(), 3), SPEC) for path in paths]
    np.testing.assert_array_equal(list(images.as_numpy_iterator()), expected)


def test_a_file_that_cannot_be_decoded_ends_the_dataset_with_its_reason(paths: list[str]):
    data = Path(paths[0]).read_bytes()[:50]
    images = tf.data.Dataset.from_tensors(data).map(lambda one: decode_file(one, SPEC))
    with pytest.raises(tf.errors.OpError, match="expected a whole PNG, got one that ends early"):
        list(images)


def test_or_it_gives_its_reason_by_the_rules(paths: list[str]):
    good = Path(paths[0]).read_bytes()
    contents = [good, good[:50], b""]
    files = tf.data.Dataset.from_tensor_slices(contents)
    found = list(files.map(lambda one: try_decode_file(one, SPEC)).as_numpy_iterator())
    assert [one.reason for one in found] == [
        b"",
        b"expected a whole PNG, got one that ends early",
        b"expected an image, got 0 bytes",
    ]
    assert [bool(one.image.any()) for one in found] == [True, False, False]
    strict = files.map(lambda one: try_decode_file(one, SPEC, DecodeRules(max_pixels=10)))
    assert all(one.reason for one in strict.as_numpy_iterator())

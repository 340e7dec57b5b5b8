"""Image specs: squares by their side, other shapes by height and width."""

import numpy as np
import pytest

from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.runtimes.probe import probe_images
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.validation import parse

SQUARE = {
    "size_pixels": 32,
    "channels": 3,
    "pixel_range": [-1.0, 1.0],
    "resize": "bicubic",
}


def test_a_square_is_written_as_before_however_it_was_given():
    for size in ({"size_pixels": 32}, {"size": [32, 32]}):
        spec = ImageSpec.model_validate({**SQUARE, "size_pixels": None, **size})
        assert spec == ImageSpec(size_pixels=32, channels=3)
        assert list(spec.model_dump(mode="json").items()) == list(SQUARE.items())


def test_height_comes_first_and_survives_writing_and_reading():
    spec = ImageSpec(size=(192, 320), channels=3, crop="adm")
    assert (spec.height, spec.width, spec.shape) == (192, 320, (192, 320, 3))
    written = spec.model_dump(mode="json")
    assert (written["size"], "size_pixels" in written) == ([192, 320], False)
    assert ImageSpec.model_validate(written) == spec


@pytest.mark.parametrize(
    ("size", "found"), [({}, "neither"), ({"size_pixels": 32, "size": [16, 32]}, "both")]
)
def test_a_spec_has_one_size(size: dict, found: str):
    with pytest.raises(RequestError) as error:
        parse(ImageSpec, {"channels": 3, **size}, "train.yaml")
    assert str(error.value) == (
        "train.yaml: expected size_pixels, the side of square images, or size, [height, width], "
        f"got {found}. Write one of them"
    )


@pytest.mark.parametrize("size", [32, [32], [32, 32, 3]])
def test_a_size_is_height_and_width(size: object):
    with pytest.raises(RequestError) as error:
        parse(ImageSpec, {"channels": 3, "size": size}, "train.yaml.image")
    assert str(error.value) == f"train.yaml.image.size: expected [height, width], got {size}"


def test_another_size_changes_nothing_else():
    spec = ImageSpec(size_pixels=32, channels=1, pixel_range=(0, 1), crop="pad")
    assert spec.resized(16, 48).shape == (16, 48, 1)
    assert spec.resized(16, 48).resized(32, 32) == spec


def test_rows_and_columns_follow_from_height_and_width():
    network = ConvNetwork(encoder_widths=(8, 8), decoder_widths=(8, 8))
    image = ImageSpec(size=(16, 24), channels=3)
    assert TokenizerSpec(levels=(5, 5), image=image, network=network).grid == (4, 6)
    with pytest.raises(ValueError, match=r"expected image.size to be a multiple .* got \[16, 26\]"):
        TokenizerSpec(levels=(5, 5), image=image.resized(16, 26), network=network)


def test_the_probe_has_the_shape_of_the_images():
    images = probe_images(ImageSpec(size=(16, 40), channels=1), 40, 8)
    assert (images.shape, images.dtype) == ((416, 16, 40, 1), np.uint8)
    assert images.std(axis=(1, 2)).min() > 0

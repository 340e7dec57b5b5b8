"""Crop policies: the pixels are those of the originals, which made the goldens."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsq.errors import RequestError
from fsq.images.crop import CropBox
from fsq.images.crops import CROPS
from fsq.images.decode import decode_image
from fsq.images.placement import Placement, box_placement
from fsq.images.resampling import fit_image
from fsq.images.spec import ImageSpec
from fsq.validation import FrozenModel, parse
from tools.crop_goldens import GOLDENS, SIZES, WANTED, digest, draw, first_photos

GOLDEN: dict[str, dict[str, Any]] = json.loads(GOLDENS.read_text())
PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "clothing_photos.tar"


def spec_of(crop: str, size: int, channels: int = 3) -> ImageSpec:
    return ImageSpec.model_validate({"size_pixels": size, "channels": channels, "crop": crop})


@pytest.mark.parametrize("crop", CROPS)
def test_the_pixels_of_drawn_images_are_those_of_the_original(crop: str):
    found = {
        f"{width}x{height}": digest(
            fit_image(np.asarray(draw(width, height)), spec_of(crop, size)) for size in WANTED
        )
        for width, height in SIZES
    }
    assert found == GOLDEN[crop]["drawn"]


def test_the_pixels_of_real_photos_are_those_of_the_original(tmp_path: Path):
    if not PHOTOS.exists():
        pytest.skip("needs the clothing photos, which are not part of the project")
    with tarfile.open(PHOTOS) as archive:
        archive.extractall(tmp_path, filter="data")
    groups = first_photos(tmp_path)
    assert sum(map(len, groups)) == 200
    images = [[decode_image(path.read_bytes(), 3) for path in group] for group in groups]
    for crop in CROPS:
        spec = spec_of(crop, WANTED[-1])
        found = [digest(fit_image(pixels, spec) for pixels in group) for group in images]
        assert found == GOLDEN[crop]["photos"], crop


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_wanted_size_keeps_its_pixels(crop: str, channels: int):
    pixels = np.asarray(draw(32, 32))[..., :channels]
    np.testing.assert_array_equal(fit_image(pixels, spec_of(crop, 32, channels)), pixels)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [*SIZES, (1, 1), (3, 4096)])
@pytest.mark.parametrize("wanted", [(32, 32), (48, 32), (32, 80)])
def test_the_box_of_a_crop_lies_in_the_image(crop: str, size: tuple[int, int], wanted):
    placement = CROPS[crop].place(*size, *wanted)
    left, top, right, bottom = placement.source_box(*size, *wanted)
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    if crop != "pad":
        assert 0 <= placement.left <= placement.width - wanted[0]
        assert 0 <= placement.top <= placement.height - wanted[1]


def test_boxes_are_told_in_source_pixels():
    box = lambda crop, size, wanted: CROPS[crop].place(*size, *wanted).source_box(*size, *wanted)
    assert box("center", (400, 533), (64, 64)) == CropBox(0, 66, 400, 466)
    assert box("adm", (400, 533), (64, 64)) == CropBox(0, 63, 400, 464)
    assert box("torchvision", (400, 533), (64, 64)) == CropBox(0, 63, 400, 464)
    assert box("squash", (400, 533), (64, 64)) == CropBox(0, 0, 400, 533)
    assert box("pad", (400, 533), (64, 64)) == CropBox(0, 0, 400, 533)
    assert box("adm", (640, 320), (32, 64)) == CropBox(240, 0, 400, 320)


def test_bars_are_black_and_an_odd_one_lies_below():
    white = np.full((10, 20, 3), 255, np.uint8)
    fitted = fit_image(white, spec_of("pad", 17))
    rows = fitted[..., 0].min(axis=1)
    assert rows.tolist() == [0] * 4 + [255] * 8 + [0] * 5


def test_a_window_of_a_canvas_is_cut_from_it_as_it_is():
    pixels = np.asarray(draw(40, 30))
    whole = np.asarray(Image.fromarray(pixels).resize((20, 15), Image.Resampling.BICUBIC))
    window = fit_image(pixels, spec_of("center", 8), Placement(0, None, 15, 20, top=3, left=11))
    np.testing.assert_array_equal(window, whole[3:11, 11:19])
    box = CropBox(3, 5, 11, 13)
    cut = fit_image(pixels, spec_of("center", 8), box_placement(box, 8, 8))
    np.testing.assert_array_equal(cut, pixels[5:13, 3:11])


class Config(FrozenModel):
    image: ImageSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"crop": "middle"},
            "image.crop: expected 'center', 'adm', 'adm_lanczos', 'torchvisi",
        ),
        (
            {"crop": "adm", "resize": "lanczos"},
            "expected resize 'bicubic', the filter of crop 'adm",
        ),
        ({"crop": ["adm"]}, "image.crop: expected a valid string, got ['adm']"),
    ],
)
def test_a_crop_that_there_is_not_is_refused_in_one_line(fields: object, message: str):
    content = {"image": {"size_pixels": 32, "channels": 3, **fields}}
    with pytest.raises(RequestError) as error:
        parse(Config, content, "c.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_crop_brings_its_filter_and_center_is_not_written():
    assert spec_of("adm_lanczos", 32).resize == "lanczos"
    assert spec_of("squash", 32).resize == "bicubic"
    written = spec_of("adm", 32).model_dump(mode="json")
    assert written["crop"] == "adm" and ImageSpec.model_validate(written) == spec_of("adm", 32)
    assert "crop" not in spec_of("center", 32).model_dump(mode="json")

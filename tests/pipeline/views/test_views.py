"""View policies: what they are called, where they place views, and that a new one plugs in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest
import tensorflow as tf
import yaml
from builders.jobs import job_fields
from PIL import Image

from fsq.dataset.example.proto import Example
from fsq.errors import RequestError
from fsq.images.crop import CropBox, center_crop
from fsq.images.spec import ImageSpec
from fsq.images.view import View
from fsq.validation import parse
from fsq.yaml_config import dump_config
from pipeline.job.config import TokenizeConfig
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from pipeline.views.base import NAME_OR_MAPPING, ViewPolicy
from pipeline.views.center import Center, CenterFlipped

SPEC = ImageSpec(size_pixels=28, channels=3)


class Corners(ViewPolicy):
    """Two corner squares, the second one mirrored; `share` of the shorter side of the image."""

    kind: Literal["corners"] = "corners"
    share: Annotated[float, pydantic.Field(gt=0, le=1)]

    @property
    def names(self) -> tuple[str, ...]:
        return ("top_left", "bottom_right_flipped")

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        side = round(min(width, height) * self.share)
        first, last = CropBox(0, 0, side, side), CropBox(width - side, height - side, width, height)
        return View(self.names[0], first, False), View(self.names[1], last, True)


class ConfigWithCorners(TokenizeConfig):
    """Its views are declared the way pipeline/views/__init__.py does it."""

    views: tuple[
        Annotated[
            Center | CenterFlipped | Corners, pydantic.Field(discriminator="kind"), NAME_OR_MAPPING
        ],
        ...,
    ]


MakeConfig = Callable[..., ConfigWithCorners]


@pytest.fixture
def make_config(image_folder: Path, tokenizer_directory: Path, tmp_path: Path) -> MakeConfig:
    def make(*views: object, directory: str = "out") -> ConfigWithCorners:
        config = job_fields(image_folder, tokenizer_directory, tmp_path / directory, views=views)
        return parse(ConfigWithCorners, config, "job.yaml")

    return make


@pytest.mark.parametrize("size", [(28, 28), (400, 533), (533, 400), (1, 2)])
@pytest.mark.parametrize("policy", [Center(), CenterFlipped(), Corners(share=0.5)])
def test_a_policy_makes_the_views_it_names_inside_the_image(policy: ViewPolicy, size):
    width, height = size
    views = policy.views("a key", width, height, SPEC)
    assert tuple(view.name for view in views) == policy.names
    for view in views:
        left, top, right, bottom = view.crop
        assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
    assert policy.views("a key", width, height, SPEC) == views


def test_the_center_policies_differ_in_the_flip_alone():
    crop = center_crop(400, 533)
    assert Center().views("a", 400, 533, SPEC) == (View("center", crop, False),)
    assert CenterFlipped().views("a", 400, 533, SPEC) == (View("center_flipped", crop, True),)


def test_a_policy_is_written_as_short_as_it_can_be(make_config: MakeConfig):
    config = make_config({"kind": "center"}, "center_flipped", {"kind": "corners", "share": 0.5})
    assert config.views == (Center(), CenterFlipped(), Corners(share=0.5))
    written = yaml.safe_load(dump_config(config))
    assert written["views"] == ["center", "center_flipped", {"kind": "corners", "share": 0.5}]
    assert parse(ConfigWithCorners, written, "job.yaml") == config
    assert config.view_names == ("center", "center_flipped", "top_left", "bottom_right_flipped")


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("corner", "views.0: expected 'center', 'center_flipped' or 'corners', got 'corner'."),
        ("corners", "views.0.share: expected a value, got none. Add the key 'share'."),
        ({"kind": "corners", "share": 2}, "views.0.share: expected less than or equal to 1, got 2"),
        ({"kind": "corners", "shar": 1}, "views.0.shar: unknown key (did you mean 'share'?)"),
    ],
)
def test_a_mistake_in_a_policy_is_one_line(make_config: MakeConfig, view: object, message: str):
    with pytest.raises(RequestError) as error:
        make_config(view)
    assert str(error.value).startswith(f"job.yaml.{message}")
    assert "\n" not in str(error.value)


def test_a_new_policy_decides_the_crop_and_flip_of_every_record(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path
):
    config = make_config({"kind": "corners", "share": 0.5}, "center")
    summary = tokenize(config)
    assert summary.records == 3 * summary.images_listed
    assert list(verify_dataset(summary.directory)) == []
    files = sorted(map(str, (tmp_path / "out").glob("*.tfrecord-*")))
    found, expected = set(), set()
    for data in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = Example.FromString(data).features.feature
        (key,), (name,) = feature["key"].bytes_list.value, feature["view"].bytes_list.value
        crop = CropBox(*feature["crop"].int64_list.value)
        found.add(
            (key.decode(), View(name.decode(), crop, bool(*feature["flip"].int64_list.value)))
        )
    for path in image_folder.rglob("*.png"):
        key = path.relative_to(image_folder).as_posix()
        with Image.open(path) as image:
            views = [
                view for policy in config.views for view in policy.views(key, *image.size, SPEC)
            ]
        expected |= {(key, view) for view in views}
    assert found == expected and len(found) == summary.records
    contract = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert contract["views"] == ["top_left", "bottom_right_flipped", "center"]
    written = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert written["views"] == [{"kind": "corners", "share": 0.5}, "center"]


def test_other_parameters_of_a_policy_are_another_job(make_config: MakeConfig):
    tokenize(make_config({"kind": "corners", "share": 0.5}))
    with pytest.raises(RequestError, match=r"views was \[.*0\.5.*\], is \[.*0\.75.*\]"):
        tokenize(make_config({"kind": "corners", "share": 0.75}))

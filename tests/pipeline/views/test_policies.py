"""View policies with parameters: their geometry is that of the originals, and stays the same."""

import json

import numpy as np
import pytest

from fsq.errors import RequestError
from fsq.images.crop import CropBox
from fsq.images.crops import CROPS
from fsq.images.resampling import fit_image, fit_views
from fsq.images.spec import ImageSpec
from fsq.images.view import View
from fsq.validation import FrozenModel, parse
from pipeline.views import ViewPolicy, ViewPolicyConfig
from pipeline.views.center import Center, CenterFlipped
from pipeline.views.corners import PLACES, FiveCrop, TenCrop
from pipeline.views.flip import Flip
from pipeline.views.random_crops import RandomCrops
from tools.crop_goldens import FACTORS, GOLDENS, SIZES, WANTED, digest, draw

GOLDEN = json.loads(GOLDENS.read_text())
GOLDEN_BOXES = [(133, 252, 378, 473), (36, 99, 371, 525), (4, 9, 396, 313)]
POLICIES = (Flip(), FiveCrop(), TenCrop(range=1.05), RandomCrops(count=4, flip=True))
ADM = ImageSpec(size_pixels=32, channels=3, crop="adm")


def views_of(policy: ViewPolicy, size: tuple[int, int], spec: ImageSpec = ADM) -> tuple[View, ...]:
    return policy.views("a/key.jpg", *size, spec)


@pytest.mark.parametrize("factor", FACTORS)
def test_ten_crop_gives_the_pixels_of_llamagen(factor: float):
    policy = TenCrop(range=factor)
    found = {}
    for width, height in SIZES:
        pixels = np.asarray(draw(width, height))
        specs = [ImageSpec(size_pixels=size, channels=3, crop="adm") for size in WANTED]
        fitted = [fit_views(pixels, s, views_of(policy, (width, height), s)) for s in specs]
        found[f"{width}x{height}"] = digest(np.stack(views) for views in fitted)
    assert found == GOLDEN[f"ten_crop_{factor}"]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
def test_views_are_named_differ_and_lie_in_the_image(policy: ViewPolicy, crop: str):
    spec = ImageSpec.model_validate({"size_pixels": 24, "channels": 3, "crop": crop})
    for size in (*SIZES, (1, 1)):
        views = views_of(policy, size, spec)
        assert tuple(view.name for view in views) == policy.names
        assert len({view.name for view in views}) == len(views)
        for view in views:
            left, top, right, bottom = view.crop
            assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        assert views_of(policy, size, spec) == views


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
def test_fitting_together_is_fitting_apart(policy: ViewPolicy):
    pixels = np.asarray(draw(97, 61))
    views = views_of(policy, (97, 61))
    apart = [fit_image(pixels, ADM, view.place(ADM), flip=view.flip) for view in views]
    np.testing.assert_array_equal(fit_views(pixels, ADM, views), apart)


def test_flip_is_short_for_both():
    pair = (*Center().views("a", 40, 50, ADM), *CenterFlipped().views("a", 40, 50, ADM))
    assert Flip().views("a", 40, 50, ADM) == pair
    assert Flip().names == ("center", "center_flipped")


def test_ten_crop_is_five_crop_and_its_mirror():
    ten, five = (views_of(policy, (400, 533)) for policy in (TenCrop(), FiveCrop()))
    assert ten[:5] == five
    assert FiveCrop().names == tuple(f"{place}_1.1" for place in PLACES)
    assert TenCrop().names[5] == "top_right_flipped_1.1"
    assert [view.flip for view in ten] == [False] * 5 + [True] * 5
    assert {view.crop for view in ten[5:9]} == {view.crop for view in five[:4]}
    # 400 pixels become 35, of which 32 are cut.
    assert five[0].crop == CropBox(0, 58, 366, 429)


def test_random_boxes_are_the_same_on_every_machine():
    views = views_of(RandomCrops(count=4), (400, 533))
    assert views[0].crop == CROPS["adm"].place(400, 533, 32, 32).source_box(400, 533, 32, 32)
    assert [tuple(view.crop) for view in views[1:]] == GOLDEN_BOXES


def test_random_boxes_keep_to_their_bounds_and_fill_them():
    policy = RandomCrops(count=2, scale=(0.25, 0.5), ratio=(0.5, 2.0), flip=True)
    found = [policy.views(f"{number}", 400, 533, ADM)[1] for number in range(2000)]
    widths, heights = (
        np.array([side(view.crop) for view in found])
        for side in (lambda box: box.right - box.left, lambda box: box.bottom - box.top)
    )
    areas, ratios = widths * heights / (400 * 533), np.log2(widths / heights)
    assert 0.24 < areas.min() < 0.26 and 0.49 < areas.max() < 0.51
    assert -1.02 < ratios.min() < -0.98 and 0.9 < ratios.max() < 1.02
    np.testing.assert_allclose([areas.mean(), ratios.mean()], [0.375, 0], atol=0.03)
    lefts = np.array([view.crop.left for view in found]) / (400 - widths + 1)
    np.testing.assert_allclose([lefts.mean(), lefts.std()], [0.5, 12**-0.5], atol=0.03)
    assert 900 < sum(view.flip for view in found) < 1100


def test_seed_and_key_decide_the_boxes():
    boxes = lambda key, **changes: [
        view.crop for view in RandomCrops(count=3, **changes).views(key, 400, 533, ADM)[1:]
    ]
    assert boxes("a") == boxes("a") != boxes("b")
    assert boxes("a", seed=1) != boxes("a")
    assert (
        RandomCrops(count=2).views("a", 400, 533, ADM)
        == RandomCrops(count=3).views("a", 400, 533, ADM)[:2]
    )


def test_an_image_with_room_for_no_box_gives_its_centre():
    (_, view) = RandomCrops(count=2, scale=(1, 1), ratio=(1, 1)).views("a", 1, 5, ADM)
    assert view.crop == CropBox(0, 2, 1, 3)


class Config(FrozenModel):
    view: ViewPolicyConfig


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("random", "view.count: expected a value, got none. Add the key 'count'."),
        ({"kind": "random", "count": 3, "scale": [0.5, 0.2]}, "the smaller first, got [0.5, 0.2]"),
        ({"kind": "random", "count": 3, "ratio": [0, 1]}, "the smaller first, got [0.0, 1.0]"),
        ({"kind": "ten_crop", "range": 0.9}, "view.range: expected greater than or equal to 1"),
        ("ten_crops", "'ten_crop' or 'random', got 'ten_crops'"),
    ],
)
def test_a_mistake_in_a_policy_is_one_line(view: object, message: str):
    with pytest.raises(RequestError) as error:
        parse(Config, {"view": view}, "job.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)

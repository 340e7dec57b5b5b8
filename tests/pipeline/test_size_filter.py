"""Filters by size: what they leave out is counted, and does not count as damage."""

import json
import shutil
from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from fsq.dataset import TokenBatches
from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.core.size_filter import SizeFilter
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize

# Of the 100 images, the third in each three: 17 x 31 pixels.
TALL = 33
REASON = "filter: aspect ratio above 1.5"


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (256, 256, None),
        (512, 256, None),
        (255, 256, "shorter side below 256 pixels"),
        (256, 255, "shorter side below 256 pixels"),
        (513, 256, "aspect ratio above 2"),
        (256, 513, "aspect ratio above 2"),
    ],
)
def test_the_bounds_themselves_pass_upright_or_not(width: int, height: int, reason: str | None):
    assert SizeFilter(min_side=256, max_aspect_ratio=2).refuse(width, height) == reason


def test_a_filter_that_filters_nothing_is_refused():
    with pytest.raises(RequestError) as error:
        parse(SizeFilter, {}, "job.yaml.filter")
    assert str(error.value) == (
        "job.yaml.filter: expected min_side or max_aspect_ratio, got neither. Leave filter out"
    )


def test_filtered_images_are_counted_by_reason_and_need_no_tolerance(make_config: MakeConfig):
    config = make_config(filter={"max_aspect_ratio": 1.5}, max_reject_fraction=0)
    summary = tokenize(config)
    assert (summary.images_rejected, summary.rejects_by_reason) == (TALL, {REASON: TALL})
    assert list(verify_dataset(summary.directory)) == []
    (batch,) = TokenBatches(summary.directory, batch_size=100)
    lines = (Path(summary.directory) / "rejects.jsonl").read_text().splitlines()
    left_out = {json.loads(line)["key"] for line in lines}
    assert len(left_out) == TALL
    assert left_out.isdisjoint(key.decode() for key in batch["key"])
    again = retry_rejects(summary.directory)
    assert (again.images_retried, again.images_rejected) == (0, TALL)
    other = make_config(filter={"max_aspect_ratio": 1.4})
    with pytest.raises(RequestError, match=r"filter max_aspect_ratio was 1\.5, is 1\.4"):
        tokenize(other)


def test_damaged_images_are_limited_as_without_a_filter(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(image_folder, tmp_path / "damaged"))
    (folder / "dogs" / "000.png").write_bytes(b"no picture")
    config = make_config(source=folder, filter={"max_aspect_ratio": 1.5}, max_reject_fraction=0)
    with pytest.raises(DataError, match=r"at most 0 of 100 images rejected, got 1.*dogs/000\.png"):
        tokenize(config)

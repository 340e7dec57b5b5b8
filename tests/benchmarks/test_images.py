"""The benchmark of images: everybody reads each image once, and ratios are those of a round."""

import sys
from pathlib import Path

import numpy as np
import pytest
from builders.fixtures import encode_image

from benchmarks.images import (
    OURS,
    Data,
    Speed,
    has_torch,
    loaders,
    measure,
    ours,
    plain,
    table_of,
    tf_speed,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        pixels = np.full((24, 16 + number % 2 * 8, 3), number * 20, np.uint8)
        (folder / f"{number}.jpg").write_bytes(encode_image(pixels, "JPEG"))
    return Data.of(folder, 16, 4, sys.executable)


@pytest.mark.parametrize("make", [ours, plain])
def test_every_loader_reads_every_image_once_in_another_order_each_epoch(make, data: Data):
    epochs = [np.concatenate([np.asarray(b) for b in make(data, epoch)]) for epoch in range(2)]
    for images in epochs:
        assert images.shape == (10, 16, 16, 3)
        assert images.dtype == np.uint8
        assert sorted(image[8, 8, 0] // 20 for image in images + 5) == list(range(10))
    assert not np.array_equal(*epochs)


def test_a_loader_that_loses_images_is_not_measured(data: Data):
    with pytest.raises(ValueError, match="expected 10 images, got 4"):
        tf_speed(lambda data, epoch: plain(data, epoch).take(1), data)


def test_pytorch_is_measured_where_it_is_installed(data: Data, tmp_path: Path):
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    without = loaders(str(tmp_path / "python"))
    assert len(without) == 2
    assert len(loaders(sys.executable)) == 2 + has_torch(sys.executable)
    (speeds,) = measure(data, str(tmp_path / "python"), rounds=1)
    assert all(min(speed) > 0 for speed in speeds.values())


def test_the_table_has_medians_of_the_ratios_within_a_round():
    rounds = [
        {OURS: Speed(10, 30), "other": Speed(5, 60)},
        {OURS: Speed(90, 10), "other": Speed(10, 40)},
        {OURS: Speed(20, 20), "other": Speed(5, 30)},
    ]
    table = table_of("folder", rounds)
    columns = [list(column.cells) for column in table.columns]
    assert columns == [
        [OURS, "other"],
        ["20", "5"],
        ["1.00", "4.00"],
        ["20", "40"],
        ["1.00", "0.50"],
    ]

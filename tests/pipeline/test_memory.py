"""A job's memory does not grow with its records; the real command in processes of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tools.memory import measure, write_records

pytestmark = pytest.mark.slow

SMALL, LARGE = 1_000, 10_000
# Loading TensorFlow takes most of it; from run to run the peak differs by about 2 %.
TOLERANCE = 0.10


def write_links(folder: Path, count: int) -> dict[str, Any]:
    """A folder of so many names for one image."""
    Image.new("L", (28, 28)).save(folder / "picture", "PNG")
    (folder / "images").mkdir()
    for number in range(count):
        os.link(folder / "picture", folder / "images" / f"{number:06d}.png")
    return {"kind": "image_folder", "directory": str(folder / "images"), "labels": False}


@pytest.mark.parametrize("write", [write_records, write_links])
def test_ten_times_the_records_take_no_more_memory(
    tmp_path: Path, write: Callable[[Path, int], dict[str, Any]]
):
    peaks = []
    for count in (SMALL, LARGE):
        folder = tmp_path / str(count)
        folder.mkdir()
        peak = measure(write(folder, count), folder)
        assert peak.records == count
        peaks.append(peak.peak_mb)
    assert peaks[1] < peaks[0] * (1 + TOLERANCE), peaks

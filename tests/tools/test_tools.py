"""Tools that make data: the samples of Fashion-MNIST, the split of a folder."""

from pathlib import Path

import numpy as np
import pytest

from tools.fashion_mnist import DEBIAN, SPOILT, read_idx, write_dataset
from tools.hold_out import hold_out

needs_debian = pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)


def data_file(folder: Path) -> bytes:
    (path,) = folder.glob("*.tfrecord-*")
    return path.read_bytes()


@needs_debian
def test_the_sample_is_the_first_2000_test_images(root: Path):
    from fsq.images.spec import ImageSpec
    from pipeline.sources.tfds import TfdsConfig
    from pipeline.tokenizers.training_images import read_in_order

    source = TfdsConfig(
        kind="tfds", directory=str(root / "samples" / "fashion_mnist"), split="test"
    )
    images = np.concatenate(list(read_in_order(source, ImageSpec(size_pixels=28, channels=1))))
    assert (images[..., 0] == read_idx("t10k")[0][:2000]).all()


def test_a_dataset_is_written_the_same_way_twice(tmp_path: Path, small_images: list[bytes]):
    labels = [0] * len(small_images)
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"test": (small_images, labels)})  # type: ignore[dict-item]
    assert data_file(tmp_path / "one") == data_file(tmp_path / "two")


def test_the_spoilt_copy_differs_in_the_spoilt_records_only(root: Path):
    from pipeline.sources.tfds import TfdsConfig
    from pipeline.sources.units import one_unit_per_file

    records = []
    for folder in ("samples/fashion_mnist", "tests/data/fashion_mnist_spoilt"):
        source = TfdsConfig(kind="tfds", directory=str(root / folder), split="test").open()
        (unit,) = one_unit_per_file(source.list())
        records.append(list(source.read(unit, ())))
    differ = [n for n, pair in enumerate(zip(*records, strict=True)) if pair[0] != pair[1]]
    assert differ == sorted(SPOILT)


def test_one_image_in_ten_is_held_out_and_always_the_same(tmp_path: Path):
    for number in range(300):
        path = tmp_path / "all" / f"class {number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
    (tmp_path / "all" / "LICENSE").write_text("no image")
    counts = hold_out(tmp_path / "all", tmp_path / "one")
    assert hold_out(tmp_path / "all", tmp_path / "two") == counts
    files = [
        sorted(path.relative_to(folder) for path in folder.rglob("*.jpg"))
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert files[0] == files[1]
    assert sum(counts.values()) == len(files[0]) == 300
    assert 15 <= counts["test"] <= 45

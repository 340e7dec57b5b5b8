"""The sample data is what the tool makes of Fashion-MNIST."""

from pathlib import Path

import pytest

from tools.fashion_mnist import DEBIAN, SPOILT, read_idx, write_dataset

needs_debian = pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)


def data_file(folder: Path) -> bytes:
    (path,) = folder.glob("*.tfrecord-*")
    return path.read_bytes()


@needs_debian
def test_the_sample_is_the_first_2000_test_images(root: Path):
    from fsq.images import ImageSpec
    from pipeline.config import TfdsSource
    from pipeline.train import load_images

    source = TfdsSource(
        kind="tfds", directory=str(root / "samples" / "fashion_mnist"), split="test"
    )
    images = load_images(source, ImageSpec(size_pixels=28, channels=1))
    assert (images[..., 0] == read_idx("t10k")[0][:2000]).all()


def test_a_dataset_is_written_the_same_way_twice(tmp_path: Path, small_images: list[bytes]):
    labels = [0] * len(small_images)
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"test": (small_images, labels)})  # type: ignore[dict-item]
    assert data_file(tmp_path / "one") == data_file(tmp_path / "two")


def test_the_spoilt_copy_differs_in_the_spoilt_records_only(root: Path):
    from pipeline.config import TfdsSource
    from pipeline.sources import open_source
    from pipeline.sources.listing import one_unit_per_file

    records = []
    for folder in ("samples/fashion_mnist", "tests/data/fashion_mnist_spoilt"):
        source = open_source(TfdsSource(kind="tfds", directory=str(root / folder), split="test"))
        (unit,) = one_unit_per_file(source.list())
        records.append(list(source.read(unit, ())))
    differ = [n for n, pair in enumerate(zip(*records, strict=True)) if pair[0] != pair[1]]
    assert differ == sorted(SPOILT)

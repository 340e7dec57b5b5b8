"""Every source reads from S3, through a pattern, what it reads from a disk; and asks little."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.s3_server import BUCKET, S3Server, serve_s3
from builders.sources import SOURCES

from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources import SourceConfig
from pipeline.sources.npy import NpyConfig
from pipeline.sources.units import cut_units

MOVED = ("directory", "files", "file", "root")
# Prepared datasets are opened by tensorflow-datasets, which has stores of its own.
KINDS = [name for name in SOURCES if name != "tfds_directory"]
NAMES = [f"{'dogs' if number % 2 else 'cats'}/{number:02d}.png" for number in range(30)]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def in_store(config: Any, folder: Path, prefix: str) -> Any:
    """The config with its paths in the bucket."""
    content = config.model_dump()
    for name in MOVED:
        if isinstance(content.get(name), str):
            content[name] = content[name].replace(str(folder), f"s3://{BUCKET}/{prefix}")
    return type(config).model_validate(content)


def read(config: SourceConfig) -> list[ImageRecord | BadRecord]:
    source = config.open()
    with source.list(stride=8).on_disk() as listing:
        return [
            record
            for unit in cut_units(listing, 8)
            for record in source.read(unit, listing.features)
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_in_a_store_has_the_records_of_the_one_on_a_disk(
    kind: str, server: S3Server, tmp_path: Path, small_images: list[bytes]
):
    images = dict(zip(sorted(NAMES), small_images, strict=True))
    config = SOURCES[kind].build(tmp_path, images)
    server.upload(tmp_path, kind)
    with server.counted() as requests:
        found = read(in_store(config, tmp_path, kind))
    assert found == read(config) and len(found) == len(images)
    if kind in ("parquet", "webdataset", "tfrecord", "array_record"):
        # A few files, listed and read: far fewer requests than images.
        assert len(requests) < 3 * len(images)


def test_pixels_in_a_store_are_those_on_a_disk(server: S3Server, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 9, 3), np.uint8)
    np.save(tmp_path / "x.npy", images)
    np.savez_compressed(tmp_path / "y.npz", images)
    server.upload(tmp_path, "arrays")
    for name in ("x.npy", "y.npz"):
        config = NpyConfig(kind="npy", files=f"s3://{BUCKET}/arrays/{name}")
        records = read(config)
        found = [record.data for record in records if isinstance(record, ImageRecord)]
        np.testing.assert_array_equal(np.stack(found), images)  # type: ignore[arg-type]

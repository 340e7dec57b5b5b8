"""A source that is no part of the program: images in ZIP archives, as a plug-in would write it."""

import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from builders.sources import Images, SourceBuilder, class_of
from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.storage import filesystem
from pipeline.core.records import BadRecord, ImageRecord, Unit, record_numbers
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.listing import ListedFile, Listing, listing_of


class ZipConfig(BaseSourceConfig):
    """ZIP archives of images."""

    kind: Literal["zip"] = "zip"
    files: str

    def open(self) -> "ZipSource":
        return ZipSource(self)


class ZipSource(Source):
    """Keys are the names in the archive, labels the numbers of their folders."""

    def __init__(self, config: ZipConfig):
        self.config = config

    def describe(self) -> str:
        return self.config.files

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        files: list[ListedFile] = []
        for path in filesystem.glob(self.config.files):
            heartbeat()
            stat, count = os.stat(path), len(_names(path))
            # Records are found by their numbers, so that their offsets say nothing.
            offsets = np.zeros(math.ceil(count / stride), np.int64)
            name = os.path.basename(path)
            files.append(
                ListedFile(path, name, stat.st_size, stat.st_mtime_ns, count, offsets, stride)
            )
        if not files:
            raise RequestError(f"source.files: expected archives, found no {self.config.files!r}.")
        classes = tuple(sorted({class_of(name) for file in files for name in _names(file.path)}))
        return listing_of(tuple(files), (CarriedFeature("label", "", "int64", classes),))

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        names = _names(unit.path)
        with zipfile.ZipFile(unit.path) as archive:
            for number in record_numbers(unit):
                name = names[number]
                if number in timed_out:
                    yield BadRecord(name, timed_out[number])
                    continue
                carried = [
                    (feature.class_names or ()).index(class_of(name)) for feature in features
                ]
                yield ImageRecord(name, archive.read(name), tuple(carried))


def _names(path: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def build_zip(folder: Path, images: Images) -> ZipConfig:
    """Writes all images into one archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    return ZipConfig(files=f"{folder}/*.zip")


ZIP = SourceBuilder(build_zip)

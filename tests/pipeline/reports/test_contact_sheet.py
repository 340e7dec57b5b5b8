"""Contact sheets: originals are found by reading as little of the source as possible."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.jobs import MakeConfig
from builders.sources import SOURCES, Images, SourceBuilder, build_tfrecord
from builders.zip_source import ZIP

from fsq.dataset import read_contract
from pipeline.reports.contact_sheet import draw_sheet, first_records, read_originals
from pipeline.run import tokenize
from pipeline.sources.base import BaseSourceConfig, Source

Reads = Callable[[Source], list[str]]
# Of these the key says which record it is; of the others the records are searched for it.
EXACT = {"image_folder", "manifest", "tfds_directory", "tfrecord without keys"}


def build_without_keys(folder: Path, images: Images) -> BaseSourceConfig:
    return build_tfrecord(folder, images).model_copy(update={"key": None})


def numbered(names: list[str]) -> list[str]:
    return [f"images-{n // 10:05d}.tfrecord__{n % 10}" for n in range(len(names))]


BUILDERS = SOURCES | {
    "zip": ZIP,
    "tfrecord without keys": SourceBuilder(build_without_keys, numbered, keeps_names=False),
}


@pytest.fixture
def reads_of(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Makes a source list the keys of the records that are read from it."""

    def reads_of(source: Source) -> list[str]:
        keys: list[str] = []
        read = type(source).read

        def counted(self: Source, *arguments: Any) -> Iterator[Any]:
            for record in read(self, *arguments):
                keys.append(record.key)
                yield record

        monkeypatch.setattr(type(source), "read", counted)
        return keys

    return reads_of


@pytest.mark.parametrize("wanted", [[0], [29], [12], [3, 4, 17], [11, 5, 28]], ids=str)
@pytest.mark.parametrize("name", BUILDERS)
def test_no_record_is_read_after_the_last_original(
    name: str, wanted: list[int], tmp_path: Path, small_images: list[bytes], reads_of: Reads
):
    images = {f"pets/{n:02d}.png": data for n, data in enumerate(small_images)}
    source = BUILDERS[name].build(tmp_path, images).open()
    keys = BUILDERS[name].keys(list(images))
    reads = reads_of(source)
    found = read_originals(source, {keys[n] for n in wanted})
    assert found == {keys[n]: small_images[n] for n in wanted}
    if name in EXACT:
        assert reads == [keys[n] for n in sorted(wanted)]
    else:
        assert reads == keys[: max(wanted) + 1]


@pytest.mark.parametrize("name", BUILDERS)
def test_an_original_that_is_gone_is_not_found(
    name: str, tmp_path: Path, small_images: list[bytes], reads_of: Reads
):
    images = {f"pets/{n:02d}.png": data for n, data in enumerate(small_images)}
    source = BUILDERS[name].build(tmp_path, images).open()
    key = BUILDERS[name].keys(list(images))[7]
    gone = {"pets/99.png", "", "x__1", "images-00000.tfrecord__99", "__" + "9" * 5000}
    assert read_originals(source, {key, *gone}) == {key: small_images[7]}


def test_a_sheet_of_a_shuffled_dataset_reads_its_images_alone(
    make_config: MakeConfig, reads_of: Reads
):
    config = make_config()
    tokenize(config)
    directory = config.output.directory
    reads = reads_of(config.source.open())
    sheet = draw_sheet(directory, 5, originals=True)
    assert np.asarray(sheet).std() > 0
    drawn = [record.key for record in first_records(directory, read_contract(directory), 5)]
    assert reads == sorted(drawn)

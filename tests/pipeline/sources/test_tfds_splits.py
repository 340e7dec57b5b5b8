"""Split expressions mean what they mean in tensorflow-datasets."""

from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from builders.sources import build_tfds_directory

from fsq.errors import RequestError
from pipeline.core.records import ImageRecord
from pipeline.sources.listing import Listing
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.units import cut_units, etag_of

COUNT = 30


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of 15 images each."""
    folder = tmp_path_factory.mktemp("pets")
    images = {f"{'cats' if n % 2 else 'dogs'}/{n:02d}.png": b"%d" % n for n in range(COUNT)}
    build_tfds_directory(folder, images)
    return folder


def config_of(directory: Path, split: str) -> TfdsConfig:
    return TfdsConfig(kind="tfds", directory=str(directory), split=split, image="image/encoded")


def read_by_tfds(directory: Path, split: str) -> dict[str, bytes]:
    dataset = tfds.builder_from_directory(directory).as_dataset(
        split=split,
        decoders={"image/encoded": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(add_tfds_id=True),
    )
    return {row["tfds_id"].decode(): row["image/encoded"] for row in dataset.as_numpy_iterator()}


def read_units(config: TfdsConfig, listing: Listing, batch_size: int) -> dict[str, bytes]:
    units = cut_units(listing, batch_size)
    records = [r for unit in units for r in config.open().read(unit, listing.features)]
    found = {record.key: record.data for record in records if isinstance(record, ImageRecord)}
    assert len(found) == len(records) == listing.num_records
    return found


@pytest.mark.parametrize(
    "split",
    [
        "train",
        "all",
        "train[:10%]",
        "train[33%:66%]",
        "train[10:20]",
        "train[-3:]",
        "train[14:16]",
        "train[1shard]",
        "train[:-1shard]",
        "train[:3]+train[7:9] + train[29:]",
        "train[20:]+train[:5]",
    ],
)
def test_an_expression_gives_the_images_and_keys_that_tfds_gives(directory: Path, split: str):
    config = config_of(directory, split)
    expected = read_by_tfds(directory, split)
    assert expected
    for stride in (1, 4):
        assert read_units(config, config.open().list(stride), stride) == expected


def test_an_image_of_a_section_is_found_again_by_its_number(directory: Path):
    listing = config_of(directory, "train[12:18]").open().list(1)
    (first, second) = listing.files
    assert (list(first.numbers), list(second.numbers)) == ([12, 13, 14], [0, 1, 2])
    assert listing.index_of(first.name, 13) == 0
    assert listing.index_of(first.name, 11) is listing.index_of("other", 13) is None
    units = cut_units(listing, 2)
    assert [listing.file_of(unit) for unit in units] == [first, first, second, second]
    assert [unit.etag for unit in units] == [
        etag_of(listing, file, [0]) for file in (first, first, second, second)
    ]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "expected one of train, or an expression such as 'train[:90%]', got 'test': Unkn"),
        ("train[:x]", "or an expression such as 'train[:90%]', got 'train[:x]': Unrecognized spl"),
        ("train[:0]", "source.split: expected at least one image, got none in 'train[:0]'."),
        (
            "train[:20]+train[18:]",
            "pets-train.tfrecord-00001-of-00002 twice. Change the bounds",
        ),
        ("train+train[:1]", "expected each image once, got record 0 of "),
    ],
)
def test_an_expression_without_images_or_with_one_twice_is_refused(
    directory: Path, split: str, message: str
):
    with pytest.raises(RequestError) as error:
        config_of(directory, split).open().list()
    assert message in str(error.value)
    assert "\n" not in str(error.value)

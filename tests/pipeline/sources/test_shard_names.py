"""Exactly the files that are named are the input; a shard is missing only if it was asked for."""

from pathlib import Path

import pytest

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError, RequestError
from fsq.images.spec import ImageSpec
from fsq.storage import filesystem
from fsq.validation import parse
from pipeline.core.records import ImageRecord
from pipeline.sources.shard_names import missing_shards, pattern_of
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.units import cut_units
from pipeline.tokenizers.training_images import read_in_order


def example_of(**fields: bytes | int) -> bytes:
    example = Example()
    for name, value in fields.items():
        if isinstance(value, bytes):
            example.features.feature[name].bytes_list.value.append(value)
        else:
            example.features.feature[name].int64_list.value.append(value)
    data: bytes = example.SerializeToString()
    return data


def write_records(path: Path, *examples: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(frame, examples)))


def write_shards(folder: Path, *names: str) -> None:
    """Writes files of one record each, whose image is the file's name."""
    for name in names:
        write_records(folder / name, example_of(image=name.encode()))


def names_of(total: int, style: str = "train-{:05d}-of-{:05d}", first: int = 0) -> list[str]:
    return [style.format(number, total) for number in range(first, first + total)]


def config_of(*files: str | Path, **fields: str) -> TfrecordConfig:
    names = [str(name) for name in files]
    return TfrecordConfig.model_validate(
        {"kind": "tfrecord", "files": names if len(names) > 1 else names[0], "image": "image"}
        | fields
    )


def images_of(config: TfrecordConfig) -> list[str]:
    source = config.open()
    listing = source.list()
    records = [r for unit in cut_units(listing, 8) for r in source.read(unit, listing.features)]
    assert all(isinstance(record, ImageRecord) for record in records)
    return [record.data.decode() for record in records if isinstance(record, ImageRecord)]


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("train-00007-of-00020", [7]),
        ("train-0000?-of-00020", range(10)),
        ("train-0001?-of-00020", range(10, 20)),
        ("train-0000[0-4]-of-00020", range(5)),
        ("train-000[01][37]-of-00020", [3, 7, 13, 17]),
        ("train-*", range(20)),
    ],
)
def test_a_shard_that_nobody_named_is_not_read(tmp_path: Path, pattern: str, numbers):
    names = names_of(20)
    write_shards(tmp_path, *names)
    assert images_of(config_of(tmp_path / pattern)) == [names[number] for number in numbers]


def test_files_can_be_a_list_and_one_named_twice_is_read_once(tmp_path: Path):
    names = names_of(20)
    write_shards(tmp_path, *names)
    config = config_of(*(tmp_path / n for n in ["train-0001[8-9]*", names[3], names[18]]))
    assert images_of(config) == [names[3], names[18], names[19]]
    assert config.open().describe().startswith(f"{tmp_path}/train-0001[8-9]*, {tmp_path}/train-")


def test_training_reads_only_the_images_that_are_named(tmp_path: Path, small_images: list[bytes]):
    for name, image in zip(names_of(4), small_images, strict=False):
        write_records(tmp_path / name, example_of(image=image))
    spec = ImageSpec(size_pixels=8, channels=3)
    count = lambda files: sum(map(len, read_in_order(config_of(tmp_path / files), spec)))
    assert [count("train-0000[0-2]-of-00004"), count("train-00003-of-00004")] == [3, 1]


@pytest.mark.parametrize(
    "style",
    [
        "train-{:05d}-of-{:05d}",
        "train-{:02d}-of-{:02d}.tfrecord",
        "{}-of-{}",
        "part_{:04d}_of_{:04d}.tfrecord.v2",
        "train-{:07d}-of-{:07d}",
        "train-{:05d}-OF-{:05d}",
        "train.{:05d}.of.{:05d}",
        "train_{:03d}_Of-{:03d}.tfrecord",
        "pets-1-of-2-train.tfrecord-{:05d}-of-{:05d}",
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_shard_that_fits_the_pattern_and_is_not_there_is_missing(
    tmp_path: Path, style: str, first: int
):
    names = names_of(12, style, first)
    write_shards(tmp_path, *names)
    assert images_of(config_of(tmp_path / "*")) == sorted(names)
    (tmp_path / names[5]).unlink()
    with pytest.raises(DataError) as error:
        config_of(tmp_path / "*").open().list()
    assert str(error.value).startswith(
        f"{tmp_path}/{names[5]}: expected a file that can be read, got: No such file or directory "
        "(1 of 12 files that source.files asks for are missing). Copy it, or name only those "
    )
    listing = config_of(tmp_path / "*", damaged="reject").open().list()
    assert [f.name for f in listing.files if f.damage] == [names[5]]
    assert listing.num_records == 12


def test_a_host_that_has_its_share_is_told_how_to_name_it(tmp_path: Path):
    write_shards(tmp_path, *names_of(20)[:5])
    with pytest.raises(DataError) as error:
        config_of(tmp_path / "train-*").open().list()
    pattern = f"{tmp_path}/train-0000[0-4]-of-00020"
    assert "(15 of 20 files that source.files asks for are missing). Copy it, or name only " in (
        str(error.value)
    )
    assert f"in source.files, e.g. {pattern}; or set source.damaged" in str(error.value)
    assert images_of(config_of(pattern)) == names_of(20)[:5]


def test_a_pattern_is_suggested_only_if_it_matches_no_other_shard():
    shards = names_of(20)
    assert pattern_of(shards[8:9]) == shards[8]
    assert pattern_of([shards[n] for n in (0, 3, 4)]) == "train-0000[034]-of-00020"
    assert pattern_of([shards[n] for n in (0, 1, 10, 11)]) == "train-000[01][01]-of-00020"
    assert pattern_of([shards[n] for n in (3, 10)]) is None
    assert pattern_of([shards[0], "extra.tfrecord"]) is None
    assert pattern_of([shards[0], "val-00000-of-00020"]) is None


def test_the_number_in_the_name_of_a_folder_says_nothing(tmp_path: Path):
    for folder in names_of(4, "part-{:05d}-of-{:05d}"):
        write_shards(tmp_path / folder, "a.tfrecord", "b.tfrecord")
    config = config_of(tmp_path / "part-00001-of-00004" / "*.tfrecord")
    assert images_of(config) == ["a.tfrecord", "b.tfrecord"]
    lonely = tmp_path / "lonely" / "part-00001-of-00004"
    write_shards(lonely, "a.tfrecord")
    assert images_of(config_of(lonely / "*")) == ["a.tfrecord"]


@pytest.mark.parametrize("name", ["x-20260131-of-12", "x-of-3", "x-3-of-", "part-00003"])
def test_a_name_without_number_and_total_claims_no_other(name: str):
    assert missing_shards([name], ["*"]) == []


def test_any_number_of_missing_shards_is_counted_without_their_names(tmp_path: Path):
    total = 10**12
    names = [f"x-{number}-of-{total}" for number in (7, 8)]
    write_shards(tmp_path, *names)
    with pytest.raises(DataError) as error:
        config_of(tmp_path / "x-*", damaged="reject").open().list()
    assert str(error.value) == (
        f"{tmp_path}/x-6-of-{total}: expected a file that can be read, got: No such file or "
        "directory (2 of the 1,000,000,000,000 shards in the names are here). Copy the others, or "
        "name only those that are here, or rename them if this is no total."
    )
    assert images_of(config_of(tmp_path / f"x-[78]-of-{total}")) == names


def test_shards_of_different_sets_are_counted_apart():
    assert missing_shards(["a-0-of-1", "b-1-of-2", "b-2-of-2", "c-1-of-3"], ["*"]) == [
        "c-0-of-3",
        "c-2-of-3",
    ]


def test_each_pattern_of_a_list_must_match(tmp_path: Path):
    write_shards(tmp_path, "a")
    with pytest.raises(RequestError, match=r"found none that match '.*/b\*'\. Check the path\.$"):
        config_of(tmp_path / "a", tmp_path / "b*").open().list()


def test_folders_are_not_taken_for_files(tmp_path: Path):
    write_shards(tmp_path / "data", "a")
    for name in ("data", "data/"):
        with pytest.raises(RequestError) as error:
            config_of(f"{tmp_path}/{name}").open().list()
        assert str(error.value) == (
            f"source.files: expected TFRecord files, got the folder '{tmp_path}/{name}'. "
            f"Name its files, e.g. {tmp_path}/data/*."
        )


@pytest.mark.parametrize("files", [3, [], [""], "", [["a"]], {"a": "b"}])
def test_files_that_are_no_names_are_refused_in_one_line(files: object):
    fields = {"kind": "tfrecord", "files": files, "image": "image"}
    with pytest.raises(RequestError, match=r"^c\.yaml\.files: expected [^\n]*, got [^\n]*$"):
        parse(TfrecordConfig, fields, "c.yaml")


def test_brackets_are_a_pattern_unless_only_a_name_has_them(tmp_path: Path):
    write_shards(tmp_path / "[1]", "x[1]", ".x1", "y1")
    pattern = f"{tmp_path}/[1]/x[1]"
    assert filesystem.glob(pattern) == [pattern]
    write_shards(tmp_path / "[1]", "x1", "x2", "X1")
    assert filesystem.glob(pattern) == [f"{tmp_path}/[1]/x1"]
    assert filesystem.glob(f"{tmp_path}/[1]/x[[]1]") == [pattern]
    assert filesystem.glob(f"{tmp_path}/[1]/[!yX]*") == [
        f"{tmp_path}/[1]/{name}" for name in ("x1", "x2", "x[1]")
    ]
    assert filesystem.glob(f"{tmp_path}/[1]/.x?") == [f"{tmp_path}/[1]/.x1"]

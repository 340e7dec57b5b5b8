"""Journeys of jobs that write several splits into one directory."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig, files_of, job_config
from builders.sources import build_tfds_directory, build_tfrecord, write_images

from fsq.dataset import TokenBatches
from fsq.dataset.formats.tfrecord import frame, read_records
from fsq.dataset.manifest import SplitEntry, read_manifest
from fsq.dataset.split_by_key import split_of
from fsq.errors import DataError, RequestError
from pipeline.job.config import TokenizeConfig
from pipeline.planning.prepare import describe_job, prepare
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize

pytestmark = pytest.mark.slow

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}
OUTPUT = {"split": SHARES, "formats": ["tfrecord", "array_record"]}


@pytest.fixture(scope="module")
def divided(
    image_folder: Path, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset of 100 images in the splits of `SHARES`, in both formats."""
    directory = tmp_path_factory.mktemp("divided") / "out"
    tokenize(job_config(image_folder, tokenizer_directory, directory, output=OUTPUT))
    return directory


@pytest.fixture
def images(image_folder: Path) -> dict[str, bytes]:
    paths = sorted(image_folder.rglob("*.png"))
    return {path.relative_to(image_folder).as_posix(): path.read_bytes() for path in paths}


def keys_of(directory: str | Path, split: str) -> list[bytes]:
    found: list[bytes] = TokenBatches(directory, split, batch_size=1000)[0]["key"].tolist()
    return found


def test_each_image_is_in_the_split_of_its_key_with_all_its_views(
    make_config: MakeConfig, images: dict[str, bytes]
):
    output = {"split": SHARES, "num_shards": {"train": 2, "val": 2, "test": 1}}
    summary = tokenize(make_config(output=output, views=["center", "center_flipped"]))
    expected = Counter(split_of(key, SHARES) for key in images)
    assert summary.splits == {
        name: SplitEntry(images=expected[name], records=2 * expected[name]) for name in SHARES
    }
    assert list(read_manifest(summary.directory).splits) == list(SHARES)
    for name in SHARES:
        keys = Counter(key.decode() for key in keys_of(summary.directory, name))
        assert keys == {key: 2 for key in images if split_of(key, SHARES) == name}
    assert sorted(path.name for path in Path(summary.directory).glob("*.tfrecord-*")) == [
        "pets-test.tfrecord-00000-of-00001",
        "pets-train.tfrecord-00000-of-00002",
        "pets-train.tfrecord-00001-of-00002",
        "pets-val.tfrecord-00000-of-00002",
        "pets-val.tfrecord-00001-of-00002",
    ]
    assert list(verify_dataset(summary.directory)) == []


def test_tfds_reads_the_directory_as_one_dataset_with_all_splits(divided: Path):
    builder = tfds.builder_from_directory(divided)
    assert set(builder.info.splits) == set(SHARES)
    for name in SHARES:
        rows = tfds.as_numpy(builder.as_dataset(split=name))
        assert sorted(row["key"] for row in rows) == sorted(keys_of(divided, name))
    assert len(list(builder.as_dataset(split="train+test"))) == sum(
        len(keys_of(divided, name)) for name in ("train", "test")
    )
    for name in SHARES:
        source = builder.as_data_source(split=name)
        assert sorted(row["key"] for row in source) == sorted(keys_of(divided, name))


def test_several_splits_have_the_same_bytes_whatever_the_workers(
    make_config: MakeConfig, divided: Path
):
    config = make_config(output=OUTPUT)
    tokenize(config, beam_options=["--runner=FnApiRunner", "--direct_num_workers=1"])
    assert files_of(config.output.directory) == files_of(divided)


def test_an_interrupted_job_of_several_splits_ends_in_the_same_bytes(
    make_config: MakeConfig, divided: Path, monkeypatch: pytest.MonkeyPatch
):
    import pipeline.stages.merge_shards

    config = make_config(output=OUTPUT)
    write = pipeline.stages.merge_shards._write_shard

    def failing(index: int, job: Any) -> Any:
        if index == 1:
            raise OSError(5, "Input/output error", "a disk")
        return write(index, job)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.merge_shards, "_write_shard", failing)
        with pytest.raises(DataError, match="a disk: Input/output error"):
            tokenize(config)
    assert tokenize(config).units_resumed == 13
    assert files_of(config.output.directory) == files_of(divided)


def test_repaired_rejects_come_into_their_splits(
    make_config: MakeConfig, image_folder: Path, divided: Path, tmp_path: Path
):
    copied = tmp_path / "images"
    shutil.copytree(image_folder, copied)
    source = {"kind": "image_folder", "directory": str(copied)}
    bad = {copied / "cats" / f"{n:03d}.png" for n in (1, 3, 5, 7, 9, 11)}
    assert len({split_of(path.relative_to(copied).as_posix(), SHARES) for path in bad}) > 1
    for path in bad:
        path.write_bytes(b"<html>")
    config = make_config(source=source, output=OUTPUT, max_reject_fraction=0.1)
    assert tokenize(config).images_rejected == 6
    for path in bad:
        shutil.copy(image_folder / path.relative_to(copied), path)
    assert retry_rejects(config.output.directory).images_rejected == 0
    assert files_of(config.output.directory) == files_of(divided)


def test_a_record_in_the_split_of_another_key_is_found(divided: Path, tmp_path: Path):
    directory = shutil.copytree(divided, tmp_path / "out")
    target = directory / "pets-test.tfrecord-00000-of-00001"
    source = directory / "pets-train.tfrecord-00000-of-00001"
    with source.open("rb") as file:
        target.write_bytes(frame(next(iter(read_records(file, "shard")))))
    problems = list(verify_dataset(str(directory)))
    line = f"{target}: record 0: expected in split train by its key, found in test."
    assert line in problems


def test_a_limit_takes_of_each_part_in_proportion(
    make_config: MakeConfig, tmp_path: Path, images: dict[str, bytes]
):
    build_tfds_directory(tmp_path / "pets", images)
    config = tfds_config(make_config, tmp_path, {"train": "train[:80%]", "val": "train[80%:]"})
    assert tokenize(config, limit=10).splits == {
        "train": SplitEntry(images=8, records=8),
        "val": SplitEntry(images=2, records=2),
    }


def tfds_config(make_config: MakeConfig, folder: Path, split: object) -> TokenizeConfig:
    source = {
        "kind": "tfds",
        "directory": str(folder / "pets"),
        "image": "image/encoded",
        "carry": ["image/label"],
    }
    return make_config(source=source, output={"split": split, "num_shards": 3})


def test_expressions_of_tfds_become_splits(
    make_config: MakeConfig, tmp_path: Path, images: dict[str, bytes]
):
    build_tfds_directory(tmp_path / "pets", images)
    split = {"train": "train[:30]+train[70:]", "val": "train[40:60]"}
    config = tfds_config(make_config, tmp_path, split)
    assert ("splits", "train: 60 images, 2 shards; val: 20 images, 1 shards") in describe_job(
        prepare(config)
    )
    directory = tokenize(config).directory
    assert list(verify_dataset(directory)) == []
    assert ("splits", "train: 60 images, 60 records; val: 20 images, 20 records") in (
        inspect_directory(directory)
    )
    builder = tfds.builder_from_directory(tmp_path / "pets")
    for name, expression in split.items():
        rows = builder.as_dataset(
            split=expression, read_config=tfds.ReadConfig(add_tfds_id=True)
        ).as_numpy_iterator()
        assert sorted(keys_of(directory, name)) == sorted(row["tfds_id"] for row in rows)
    stats = json.loads((Path(directory) / "stats.json").read_text())
    assert stats["splits"]["val"] == {"images": 20, "records": 20}


def test_patterns_of_files_become_splits(
    make_config: MakeConfig, tmp_path: Path, images: dict[str, bytes]
):
    source = build_tfrecord(tmp_path, images).model_dump(exclude_none=True)
    del source["files"]
    split = {"train": f"{tmp_path}/images-0000[01].tfrecord", "val": f"{tmp_path}/images-*2.tf*"}
    directory = tokenize(make_config(source=source, output={"split": split})).directory
    names = [name.encode() for name in images]
    assert sorted(keys_of(directory, "train")) == sorted(names[:68])
    assert sorted(keys_of(directory, "val")) == sorted(names[68:])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"a": "train[:50]", "b": "train[49:]"},
            "output.split.a: expected each image once, got record 49 of ",
        ),
        ({"a": "train", "b": "test"}, "output.split.b: expected one of train, or an expression "),
        ({"a": "train", "b": "train[:0]"}, "output.split.b: expected at least one image, got no"),
        ("train", "source.split: expected a split such as 'train', got none. Add the key 'split'."),
    ],
)
def test_expressions_that_overlap_or_mean_nothing_are_refused_before_the_first_image(
    make_config: MakeConfig, tmp_path: Path, images: dict[str, bytes], split: object, message: str
):
    build_tfds_directory(tmp_path / "pets", images)
    with pytest.raises(RequestError) as error:
        prepare(tfds_config(make_config, tmp_path, split))
    assert str(error.value).startswith(message)


def test_a_dataset_of_another_split_or_name_is_not_lost(make_config: MakeConfig, divided: Path):
    config = make_config(output={"split": SHARES})
    shutil.copytree(divided, config.output.directory)
    before = files_of(config.output.directory)
    other = make_config(output={"split": "extra"})
    with pytest.raises(RequestError) as error:
        tokenize(other)
    assert str(error.value).endswith(
        "out: expected a dataset of this job, found a dataset of another job: it holds splits "
        "'train', 'val', 'test'. To have several splits in one dataset, name all of them in "
        "output.split; or choose another directory."
    )
    for output, lost in (
        ({"split": "extra"}, "splits 'train', 'val', 'test'"),
        ({"split": {"train": 0.9, "val": 0.1}}, "split 'test'"),
        ({"split": SHARES, "name": "cats"}, "dataset 'pets'"),
    ):
        with pytest.raises(RequestError) as error:
            tokenize(make_config(output=output), overwrite=True)
        assert f"to overwrite, found {lost}, which would be lost." in str(error.value)
    assert files_of(config.output.directory) == before
    more = make_config(output={"split": {**SHARES, "test": 0.05, "extra": 0.05}, "num_shards": 4})
    assert set(tokenize(more, overwrite=True).splits) == {*SHARES, "extra"}


def test_a_split_without_images_is_written_and_refused_only_by_its_readers(
    make_config: MakeConfig,
):
    config = make_config(output={"split": {"train": 0.999, "val": 0.001}, "num_shards": None})
    summary = tokenize(config)
    assert summary.splits["val"] == SplitEntry(images=0, records=0)
    assert list(verify_dataset(summary.directory)) == []
    builder = tfds.builder_from_directory(summary.directory)
    assert len(list(builder.as_dataset(split="train"))) == 100
    with pytest.raises(RequestError, match="expected at least one record, found none in split 'v"):
        TokenBatches(summary.directory, "val", batch_size=8)


def test_a_reader_of_several_splits_is_told_which(divided: Path):
    with pytest.raises(RequestError) as error:
        TokenBatches(divided, batch_size=8)
    assert str(error.value).endswith(
        "out: expected one of its splits, found 'train', 'val', 'test'. "
        "Pass split='train', for example."
    )


@pytest.fixture
def divided_folder(tmp_path: Path, images: dict[str, bytes]) -> Path:
    """The images in b-train/ and a-val/; class 'emus' is in a-val/ alone, 'dogs' in b-train/."""
    for number, (name, data) in enumerate(images.items()):
        label, _, file = name.partition("/")
        if number % 5:
            path = tmp_path / "images" / "b-train" / label / file
        else:
            path = tmp_path / "images" / "a-val" / label.replace("dogs", "emus") / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "images"


def test_folders_become_splits_with_one_numbering_of_classes(
    make_config: MakeConfig, divided_folder: Path
):
    split = {"train": "b-train", "val": "./a-val/"}
    source = {"kind": "image_folder", "directory": str(divided_folder)}
    config = make_config(source=source, output={"split": split})
    directory = Path(tokenize(config).directory)
    assert list(verify_dataset(str(directory))) == []
    assert (directory / "label.labels.txt").read_text() == "cats\ndogs\nemus\n"
    for name, folder in (("train", "b-train"), ("val", "a-val")):
        batch = TokenBatches(directory, name, batch_size=1000)[0]
        found = dict(zip(batch["key"].tolist(), batch["label"].tolist(), strict=True))
        assert found == {
            path.relative_to(divided_folder).as_posix().encode(): ["cats", "dogs", "emus"].index(
                path.parent.name
            )
            for path in (divided_folder / folder).rglob("*.png")
        }
    assert tokenize(config).units_resumed == tokenize(config).num_units


def test_rejects_of_folders_are_repaired_in_their_splits(
    make_config: MakeConfig, divided_folder: Path
):
    output = {"split": {"train": "b-train", "val": "a-val"}}
    source = {"kind": "image_folder", "directory": str(divided_folder)}
    tokenize(whole := make_config("whole", source=source, output=output))
    bad = [next((divided_folder / name).rglob("*.png")) for name in ("a-val", "b-train")]
    kept = [path.read_bytes() for path in bad]
    for path in bad:
        path.write_bytes(b"<html>")
    config = make_config(source=source, output=output, max_reject_fraction=0.1)
    assert tokenize(config).images_rejected == 2
    for path, data in zip(bad, kept, strict=True):
        path.write_bytes(data)
    assert retry_rejects(config.output.directory).images_rejected == 0
    assert files_of(config.output.directory) == files_of(whole.output.directory)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"a": "a-val", "b": "./a-val/cats"}, "output.split.b: expected a folder of its own, got"),
        ({"a": "a-val", "b": "../images"}, "output.split.b: expected a folder below source.direct"),
        ({"a": "/a-val"}, "output.split.a: expected a folder below source.directory, such as 'tr"),
        ({"a": "a-val", "b": "none"}, "output.split.b: expected images in "),
    ],
)
def test_folders_that_hold_each_other_or_no_image_are_refused(
    make_config: MakeConfig, divided_folder: Path, split: object, message: str
):
    source = {"kind": "image_folder", "directory": str(divided_folder)}
    with pytest.raises(RequestError) as error:
        prepare(make_config(source=source, output={"split": split, "num_shards": None}))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("places_in_memory", [1, 30, 4_000_000])
def test_a_key_in_two_parts_of_the_source_is_refused_before_the_first_shard(
    make_config: MakeConfig,
    tmp_path: Path,
    images: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    places_in_memory: int,
):
    monkeypatch.setattr("pipeline.stages.duplicate_keys.PLACES_IN_MEMORY", places_in_memory)
    # Among the first records it would be found sooner.
    monkeypatch.setattr("pipeline.sources.example_fields.MAX_RECORDS", 4)
    source = build_tfrecord(tmp_path / "train", images).model_dump(exclude_none=True)
    del source["files"]
    some = dict(list(images.items())[30:33])
    write_images(tmp_path / "val", some, shards=1, name="more-{}.tfrecord")
    split = {"train": f"{tmp_path}/train/images-*", "val": f"{tmp_path}/val/more-*"}
    config = make_config(source=source, output={"split": split})
    with pytest.raises(DataError) as error:
        tokenize(config)
    found = re.fullmatch(
        r"cats/(\d+)\.png: expected each key in one split, got it in \S+/train/images-00000"
        r"\.tfrecord \(record (\d+)\) and in \S+/val/more-0\.tfrecord \(record (\d)\)\. "
        r"Rename one of the two, or remove it\.",
        str(error.value),
    )
    assert found is not None, str(error.value)
    assert list(images)[int(found[2])] == list(some)[int(found[3])] == f"cats/{found[1]}.png"
    assert not list(Path(config.output.directory).glob("*.tfrecord-*"))

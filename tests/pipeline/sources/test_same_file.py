"""A record file is read once, under one name: links to it and other spellings are refused."""

import os
from pathlib import Path

import pytest
from builders.sources import build_tfds_directory, build_tfrecord

from fsq.errors import RequestError

IMAGES = {f"a/{n}.png": b"%d" % n for n in range(6)}
FILE, OTHER = "images-00000.tfrecord", "images-00001.tfrecord"
REMEDY = "Name it once, in one spelling and without links to it."


def refused(source) -> str:
    with pytest.raises(RequestError) as error:
        source.list()
    return str(error.value)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_record_file_beside_it_is_refused(tmp_path: Path, link):
    config = build_tfrecord(tmp_path, IMAGES)
    a, b = tmp_path / FILE, tmp_path / "x.tfrecord"
    link(a, b)
    both = config.model_copy(update={"files": (str(a), str(b))}).open()
    assert refused(both) == (
        f"source.files: expected each file once, got {b} and {a}, which are one file. {REMEDY}"
    )
    parts = config.model_copy(update={"files": None})
    assert refused(parts.open_parts({"train": str(a), "val": str(b)})) == (
        f"output.split.val: expected each file once, got {b} and {a} (in output.split.train), "
        f"which are one file. {REMEDY}"
    )


@pytest.mark.parametrize("spelling", ["{0}/./{1}", "{0}//{1}", "{0}/linked/{1}"])
def test_two_spellings_of_a_record_file_are_one_file(tmp_path: Path, spelling: str):
    config = build_tfrecord(tmp_path, IMAGES)
    (tmp_path / "linked").symlink_to(tmp_path)
    a, b = sorted([f"{tmp_path}/{FILE}", spelling.format(tmp_path, FILE)])
    assert refused(config.model_copy(update={"files": (a, b)}).open()) == (
        f"source.files: expected each file once, got {b} and {a}, which are one file. {REMEDY}"
    )


def test_a_record_file_may_be_a_link_and_empty_files_one(tmp_path: Path):
    config = build_tfrecord(tmp_path / "store", IMAGES)
    for name in (FILE, OTHER):
        (tmp_path / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "images-8.tfrecord").touch()
    os.link(tmp_path / "images-8.tfrecord", tmp_path / "images-9.tfrecord")
    changes = {"files": f"{tmp_path}/images-*.tfrecord", "empty_files": "allow"}
    assert len(config.model_copy(update=changes).open().list().files) == 4


@pytest.mark.parametrize("split", ["train", "train[:60%]"])
def test_a_shard_of_tfds_that_is_a_link_to_another_is_refused(tmp_path: Path, split: str):
    config = build_tfds_directory(tmp_path, IMAGES)
    a, b = sorted(tmp_path.glob("*.tfrecord-*"))
    b.unlink()
    b.symlink_to(a)
    assert refused(config.model_copy(update={"split": split}).open()) == (
        f"source.split: expected each file once, got {b} and {a}, which are one file. "
        "Copy the dataset again, with a file of its own for each shard."
    )

"""A file of 0 bytes is a loss unless the config says that its writer leaves empty shards."""

import json
from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError
from pipeline.planning.prepare import describe_job, prepare
from pipeline.reports.inspect import inspect_directory
from pipeline.run import tokenize
from pipeline.sources.tfrecord import TfrecordConfig

EMPTY, TWO = "x-00001-of-00003", "x-00000-of-00003"


def write_shards(folder: Path, images: list[bytes]) -> dict[str, str]:
    """Writes three shards as Beam names them, the second of 0 bytes; returns a source of them."""
    for number, image in enumerate([images[0], None, images[1]]):
        example = Example()
        example.features.feature["image"].bytes_list.value.append(image or b"")
        data = frame(example.SerializeToString()) if image else b""
        (folder / f"x-0000{number}-of-00003").write_bytes(data)
    return {"kind": "tfrecord", "files": f"{folder}/x-*", "image": "image"}


def test_an_empty_file_is_refused_with_the_way_to_allow_it(
    tmp_path: Path, small_images: list[bytes]
):
    source = write_shards(tmp_path, small_images)
    with pytest.raises(DataError) as error:
        TfrecordConfig.model_validate(source).open().list()
    assert str(error.value) == (
        f"{tmp_path}/{EMPTY}: expected records, got an empty file (if its writer leaves such, "
        "set source.empty_files to 'allow'). Copy it again, or set "
        "source.damaged to 'reject' to reject its unreadable records."
    )
    rejecting = TfrecordConfig.model_validate(source | {"damaged": "reject"}).open().list()
    assert [file.num_unreadable for file in rejecting.files] == [0, 1, 0]


@pytest.mark.parametrize("damaged", ["refuse", "reject"])
def test_an_empty_file_that_is_allowed_is_no_loss_and_stands_in_the_accounts(
    make_config: MakeConfig, tmp_path: Path, small_images: list[bytes], damaged: str
):
    source = write_shards(tmp_path, small_images)
    config = make_config(source=source | {"empty_files": "allow", "damaged": damaged})
    words = f"{EMPTY}, 1 of 3 source files"
    assert dict(describe_job(prepare(config)))["empty"] == words
    summary = tokenize(config)
    assert (summary.images_listed, summary.images_rejected, summary.empty_files) == (2, 0, words)
    manifest = json.loads((Path(summary.directory) / "manifest.json").read_text())
    files = manifest["fingerprint"]["fields"]["input"]["files"]
    assert files[EMPTY] == {"records": 0, "bytes": 0} and len(files) == 3
    assert dict(inspect_directory(summary.directory))["empty"] == words


def test_a_file_that_is_cut_off_is_a_loss_though_empty_files_are_allowed(
    tmp_path: Path, small_images: list[bytes]
):
    source = write_shards(tmp_path, small_images) | {"empty_files": "allow"}
    path = tmp_path / TWO
    data = path.read_bytes()
    for size in (1, 11, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=f"{TWO}: record 0: expected "):
            TfrecordConfig.model_validate(source).open().list()
    (tmp_path / EMPTY).unlink()
    with pytest.raises(DataError, match=f"{EMPTY}: expected a file that can be read, got: No such"):
        TfrecordConfig.model_validate(source).open().list()


def test_an_input_of_empty_files_is_refused(tmp_path: Path, small_images: list[bytes]):
    source = write_shards(tmp_path, small_images) | {"empty_files": "allow"}
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"expected records, got none in 3 file\(s\)\.$"):
        TfrecordConfig.model_validate(source).open().list()

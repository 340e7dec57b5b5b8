"""Patterns of files: wildcards in any part of a path, braces, and the names that files get."""

from pathlib import Path

import pytest

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.core.records import ImageRecord
from pipeline.sources.file_patterns import expand_braces
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.units import cut_units


def write_record(path: Path) -> None:
    """Writes a TFRecord file of one record, whose image is the file's name."""
    example = Example()
    example.features.feature["image"].bytes_list.value.append(path.name.encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frame(example.SerializeToString()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/x-0", "a/x-1", "b/x-0", "b/deep/er/x-2", ".hidden/x-3", "b/.x-4", "c/y-0"):
        write_record(tmp_path / name)
    return tmp_path


def keys_of(*patterns: str, damaged: str = "refuse") -> list[str]:
    config = TfrecordConfig.model_validate(
        {"kind": "tfrecord", "files": [*patterns], "image": "image", "damaged": damaged}
    )
    source = config.open()
    listing = source.list()
    records = [record for unit in cut_units(listing, 8) for record in source.read(unit, ())]
    for record in records:
        if isinstance(record, ImageRecord):
            name = record.key.removesuffix("__0").rpartition("/")[2]
            assert record.data == name.encode()
    return [
        record.key if isinstance(record, ImageRecord) else f"{record.key}: {record.reason}"
        for record in records
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*/x-0", ["a/x-0", "b/x-0"]),
        ("[ab]/x-?", ["a/x-0", "a/x-1", "b/x-0"]),
        ("**/x-*", ["a/x-0", "a/x-1", "b/deep/er/x-2", "b/x-0"]),
        ("b/**/er/*", ["b/deep/er/x-2"]),
        ("b/**/x-2", ["b/deep/er/x-2"]),
        ("**", ["a", "b", "c"]),
        (".hid*/x-3", [".hidden/x-3"]),
        ("b/.x*", ["b/.x-4"]),
        ("*/z", []),
        ("a/x-0/*", []),
    ],
)
def test_wildcards_stand_in_any_part_of_a_path(folder: Path, pattern: str, found: list[str]):
    paths = filesystem.glob(f"{folder}/{pattern}")
    assert paths == [f"{folder}/{name}" for name in found]
    assert all(filesystem.matches(path, f"{folder}/{pattern}") for path in paths)


def test_links_to_folders_are_followed_but_not_for_ever(folder: Path):
    (folder / "a" / "loop").symlink_to(folder)
    assert filesystem.glob(f"{folder}/a/l*/c/y-0") == [f"{folder}/a/loop/c/y-0"]
    assert filesystem.glob(f"{folder}/**/y-0") == [f"{folder}/c/y-0"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x-{0..2}", ["x-0", "x-1", "x-2"]),
        ("x-{2..0}", ["x-2", "x-1", "x-0"]),
        ("x-{08..10}", ["x-08", "x-09", "x-10"]),
        ("{b,a}/{0..1}", ["b/0", "b/1", "a/0", "a/1"]),
        ("{,a}x", ["x", "ax"]),
        ("x{}", ["x{}"]),
        ("x{a}y", ["x{a}y"]),
        ("x{0..a}", ["x{0..a}"]),
    ],
)
def test_braces_are_spelt_out_as_shells_do(pattern: str, names: list[str]):
    assert expand_braces(pattern) == names


def test_the_files_that_braces_name_must_all_be_there(folder: Path):
    assert keys_of(f"{folder}/a/x-{{0..1}}") == ["x-0__0", "x-1__0"]
    with pytest.raises(DataError) as error:
        keys_of(f"{folder}/a/x-{{0..3}}")
    assert str(error.value).startswith(
        f"{folder}/a/x-2: expected a file that can be read, got: No such file or directory "
        "(2 of 4 files that source.files asks for are missing). Copy it, "
    )
    (*found, lost, last) = keys_of(f"{folder}/a/x-{{0..3}}", damaged="reject")
    assert found == ["x-0__0", "x-1__0"]
    assert lost == "x-2__0: expected a file that can be read, got: No such file or directory"
    assert last.startswith("x-3__0: ")
    with pytest.raises(RequestError, match=r"found none that match '.*/none/\*'\. Check the path"):
        keys_of(f"{folder}/{{a,none}}/*")
    with pytest.raises(RequestError, match=r"^source\.files: expected at most 1,000,000 names"):
        keys_of(f"{folder}/x-{{0..9999999}}")


def test_a_file_with_braces_in_its_name_is_found_by_it(folder: Path):
    write_record(folder / "x-{0..1}")
    assert keys_of(f"{folder}/x-{{0..1}}") == ["x-{0..1}__0"]


def test_files_of_one_base_name_are_told_apart_by_their_folders(folder: Path):
    expected = ["a/x-0__0", "a/x-1__0", "b/x-0__0"]
    assert keys_of(f"{folder}/*/x-*") == expected
    assert keys_of(f"{folder}/a/*", f"{folder}/b/x-*") == expected
    assert keys_of(f"{folder}/*/[xy]-1", f"{folder}/c/*") == ["x-1__0", "y-0__0"]


def test_a_file_can_be_in_one_split_only(folder: Path):
    config = TfrecordConfig(kind="tfrecord", image="image")
    source = config.open_parts({"train": f"{folder}/a/*", "test": f"{folder}/*/x-1"})
    with pytest.raises(RequestError) as error:
        source.list()
    assert str(error.value) == (
        f"output.split.test: expected each file in one split, got {folder}/a/x-1, "
        "which is also in output.split.train. Change the patterns."
    )


def test_a_bad_record_has_the_key_of_a_good_one(folder: Path):
    (folder / "b" / "x-1").write_bytes((folder / "b" / "x-0").read_bytes()[:-1])
    keys = keys_of(f"{folder}/*/x-*", damaged="reject")
    assert [key.partition(":")[0] for key in keys] == [
        "a/x-0__0",
        "a/x-1__0",
        "b/x-0__0",
        "b/x-1__0",
    ]

"""What an image folder takes, what it leaves out and says so, and what ends the job."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders.fixtures import Run
from builders.jobs import job_fields

from fsq.dataset.manifest import read_manifest
from fsq.errors import DataError, RequestError
from pipeline.core.left_out import describe_left_out
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources.directory_walk import BROKEN_LINK, LINK_OUTSIDE
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.listing import Listing
from pipeline.sources.units import one_unit_per_file

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"
TAKEN = {
    "a/1.JPG": b"not at all",
    "a/2.jfif": HEIC,
    "a/3.avif": b"",
    "a/4": HEIC,
    "a/5.txt": b"\xff\xd8\xff\xe0",
    "a/6.dat": b"8BPS\0\1",
}
LEFT_OUT = {
    "a/7": b"",
    "a/8.txt": b"once upon a time",
    "a/9.TXT": b"BM once upon a time",
    "a/b.001": b"\0",
    "a/c.002": b"\0",
    "a/d.pdf": b"%PDF-1.4",
    "a/._1.jpg": b"\xff\xd8\xff\xe0",
    "a/.git/e.jpg": b"\xff\xd8\xff\xe0",
}
COUNTS = {".pdf": 1, ".txt": 2, "hidden": 2, "no ending": 1, "other endings": 2}
LINE = "2 .txt, 2 other endings, 1 .pdf, 1 no ending: no images by their first bytes; 2 hidden"


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def open_folder(folder: Path | str, **changes: Any):
    fields = {"kind": "image_folder", "directory": str(folder), "labels": False} | changes
    return ImageFolderConfig.model_validate(fields).open()


def read_all(folder: Path | str, **changes: Any) -> list[ImageRecord | BadRecord]:
    source = open_folder(folder, **changes)
    with source.list().on_disk() as listing:
        return [
            record
            for unit in one_unit_per_file(listing)
            for record in source.read(unit, listing.features)
        ]


def list_folder(folder: Path | str, **changes: Any) -> Listing:
    return open_folder(folder, **changes).list()


@pytest.mark.parametrize("store", [False, True])
def test_an_image_is_told_by_its_name_or_its_first_bytes_and_all_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: bool
):
    from tools import disk_filesystem as _  # noqa: F401 - makes disk:// known

    monkeypatch.chdir(tmp_path)
    write(Path("photos"), TAKEN | LEFT_OUT)
    folder = "disk://photos" if store else "photos"
    records = read_all(folder)
    assert {record.key: getattr(record, "data", None) for record in records} == TAKEN
    assert dict(list_folder(folder).left_out) == COUNTS
    assert describe_left_out(COUNTS) == LINE


def test_a_folder_without_images_says_what_it_has(tmp_path: Path):
    write(tmp_path, LEFT_OUT)
    with pytest.raises(RequestError) as error:
        list_folder(tmp_path)
    assert str(error.value) == (
        f"source.directory: expected images in {str(tmp_path)!r}, found {LINE}. Check the path."
    )


def test_what_is_left_out_stands_in_the_plan_the_summary_the_manifest_and_inspect(
    run: Run, tmp_path: Path, tokenizer_directory: Path, small_images: list[bytes]
):
    write(tmp_path / "photos", {f"a/{n}": image for n, image in enumerate(small_images[:3])})
    write(tmp_path / "photos", LEFT_OUT)
    config = job_fields(tmp_path / "photos", tokenizer_directory, Path("out"))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    plan = run("tokenize", "c.yaml", "--dry-run", cwd=tmp_path).stdout.splitlines()
    assert f"left out  {LINE}" in plan
    summaries = [run("tokenize", "c.yaml", cwd=tmp_path).stdout.splitlines() for _ in range(2)]
    assert [summary.count(f"left out: {LINE}") for summary in summaries] == [1, 1]
    manifest = read_manifest(str(tmp_path / "out"))
    assert (manifest.images_written, manifest.left_out) == (3, COUNTS)
    description = run("inspect", "out", cwd=tmp_path).stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in description if "left out" in line] == [LINE]


def test_a_folder_that_is_a_link_to_another_place_ends_the_job_unless_it_is_followed(
    tmp_path: Path,
):
    write(tmp_path, {"photos/a/1.jpg": b"", "elsewhere/2.jpg": b"", "elsewhere/3.jpg": b""})
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RequestError) as error:
        list_folder(tmp_path / "photos")
    assert str(error.value) == (
        f"{tmp_path}/photos/b: expected a folder, got a link to one outside, {tmp_path}/elsewhere. "
        "Its images cannot be counted: set source.follow_links to true, or remove the link."
    )
    keys = [record.key for record in read_all(tmp_path / "photos", follow_links=True)]
    assert keys == ["a/1.jpg", "b/2.jpg", "b/3.jpg"]


def test_a_linked_folder_that_lies_hidden_in_the_same_folder_is_read(tmp_path: Path):
    write(tmp_path, {"a/1.jpg": b"", ".store/x/2.jpg": b"", ".store/x/3.jpg": b""})
    (tmp_path / "b").symlink_to(tmp_path / ".store" / "x")
    (tmp_path / ".store" / "x" / "round").symlink_to(tmp_path / ".store" / "x")
    assert [record.key for record in read_all(tmp_path)] == ["a/1.jpg", "b/2.jpg", "b/3.jpg"]


def test_a_broken_link_that_may_have_been_a_folder_ends_the_job(tmp_path: Path):
    write(tmp_path, {"photos/a/1.jpg": b""})
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "unmounted")
    with pytest.raises(RequestError) as error:
        list_folder(tmp_path / "photos")
    assert str(error.value) == (
        f"{tmp_path}/photos/b: expected a file, got a broken link. It may have been a folder, "
        "whose images cannot be counted: repair or remove it."
    )


def test_a_link_to_a_file_is_one_image_whatever_its_name(tmp_path: Path):
    write(tmp_path, {"photos/a/1.jpg": b"", "elsewhere/2": HEIC, "elsewhere/3": b"text"})
    for name in ("2", "3"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "photos" / "4.jpg").symlink_to(tmp_path / "nothing")
    records = read_all(tmp_path / "photos")
    reasons = {record.key: record.reason for record in records if isinstance(record, BadRecord)}
    assert reasons == {"2": LINK_OUTSIDE, "3": LINK_OUTSIDE, "4.jpg": BROKEN_LINK}
    followed = list_folder(tmp_path / "photos", follow_links=True)
    assert (followed.num_records, followed.left_out) == (3, {"no ending": 1})


@pytest.mark.parametrize("folder", ["", "/b"])
def test_a_folder_that_cannot_be_read_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
):
    write(tmp_path, {"a/1.jpg": b"", "b/1.jpg": b""})
    scandir = os.scandir

    def closed(path):
        # Whoever runs the tests may be allowed to read everything.
        if os.fsdecode(path) == f"{tmp_path}{folder}":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError) as error:
        list_folder(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}{folder}: expected a folder that can be read, got: Permission denied. "
        "Its images cannot be counted: change its permissions, or move it away."
    )


def test_a_file_of_another_name_that_cannot_be_read_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, {"a/1.jpg": b"", "a/2": HEIC})
    monkeypatch.setattr("fsq.storage.filesystem.read_head", closed)
    monkeypatch.setattr("fsq.storage.filesystem.read_sized", closed)
    reasons = [record.reason for record in read_all(tmp_path) if isinstance(record, BadRecord)]
    assert reasons == ["expected a file that can be read, got: Permission denied"] * 2


def closed(*_: object) -> bytes:
    raise PermissionError(13, "Permission denied")

"""Links in an image folder: no image comes into two splits by one, and none is lost in silence."""

import os
from pathlib import Path
from typing import Any

import pytest

from fsq.errors import DataError, RequestError
from pipeline.core.left_out import BESIDE_PARTS, LINKED_FOLDERS, describe_left_out
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.listing import Listing

PARTS = {"train": "train", "val": "val"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image folder, with another folder beside it."""
    for name in ("im/train/1.jpg", "im/train/a/2.jpg", "im/extra/3.jpg", "elsewhere/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "im"


def list_parts(root: Path, parts: dict[str, str] | None = None, **changes: Any) -> Listing:
    fields = {"kind": "image_folder", "directory": str(root), "labels": False} | changes
    config = ImageFolderConfig.model_validate(fields)
    return (config.open_parts(parts) if parts else config.open()).list()


def refused(root: Path, parts: dict[str, str] | None = None, **changes: Any) -> str:
    with pytest.raises(RequestError) as error:
        list_parts(root, parts, **changes)
    return str(error.value)


def make_val(root: Path) -> Path:
    (root / "val").mkdir()
    (root / "val" / "5.jpg").touch()
    return root / "val"


@pytest.mark.parametrize("target", ["train", "train/a"])
def test_a_split_whose_folder_is_a_link_to_another_is_refused(root: Path, target: str):
    (root / "val").symlink_to(root / target)
    assert refused(root, PARTS) == (
        f"output.split.val: expected images of its own, got {root}/val, which leads to "
        f"{root}/{target}, and {root}/train is in split 'train'. "
        "Remove the link, or name other folders."
    )


@pytest.mark.parametrize("target", ["train", "train/a", "train/1.jpg"])
def test_a_followed_link_from_one_split_into_another_is_refused(root: Path, target: str):
    link = make_val(root) / "6.jpg"
    link.symlink_to(root / target)
    assert refused(root, PARTS, follow_links=True) == (
        f"output.split.val: expected images of its own, got {link}, which leads to "
        f"{root}/{target}, and {root}/train is in split 'train'. "
        "Remove the link, or name other folders."
    )


def test_two_splits_do_not_follow_links_to_one_folder(root: Path):
    for folder in (root / "train", make_val(root)):
        (folder / "more").symlink_to(root.parent / "elsewhere")
    assert refused(root, PARTS, follow_links=True) == (
        f"output.split.val: expected images of its own, got {root}/val/more, which leads to "
        f"{root.parent}/elsewhere, and {root}/train/more is in split 'train'. "
        "Remove the link, or name other folders."
    )


def test_a_split_whose_folder_is_a_link_out_of_the_image_folder_is_followed_on_request_only(
    root: Path,
):
    (root / "val").symlink_to(root.parent / "elsewhere")
    assert refused(root, PARTS) == (
        f"{root}/val: expected a folder, got a link to one outside, {root.parent}/elsewhere. "
        "Its images cannot be counted: set source.follow_links to true, or remove the link."
    )
    assert list_parts(root, PARTS, follow_links=True).num_records == 3


def test_a_folder_link_to_what_is_read_anyway_is_counted(root: Path):
    (root / "again").symlink_to(root / "train")
    (root / "round").symlink_to(root)
    listing = list_parts(root)
    assert (listing.num_records, listing.left_out) == (3, {LINKED_FOLDERS: 2})
    assert describe_left_out(listing.left_out) == (
        "2 links to folders that are read at their own place"
    )


def test_a_followed_link_to_a_folder_above_is_refused(root: Path):
    (root / "up").symlink_to(root.parent)
    assert refused(root, follow_links=True) == (
        f"{root}/up: expected a folder elsewhere, got a link to {root.parent}, which it lies in "
        "itself: its images would be listed again. Remove the link."
    )


def test_what_lies_beside_the_folders_of_splits_is_counted(root: Path):
    (root / "held" / "val").mkdir(parents=True)
    for name in ("held/val/5.jpg", "held/6.jpg", "7.jpg", ".hidden"):
        (root / name).touch()
    listing = list_parts(root, {"train": "train", "val": "held/val"})
    assert (listing.num_records, listing.left_out) == (3, {BESIDE_PARTS: 3, "hidden": 1})
    assert describe_left_out(listing.left_out) == (
        "1 hidden; 3 files and folders beside the folders of the splits"
    )


def test_a_folder_of_splits_that_cannot_be_listed_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    make_val(root)

    def closed(path):
        # Whoever runs the tests may be allowed to read everything.
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(DataError) as error:
        list_parts(root, PARTS)
    assert str(error.value) == (
        f"{root}: expected a folder that can be read, got: Permission denied. What lies beside "
        "the folders of the splits cannot be counted: change its permissions."
    )

"""Paths on the Hugging Face hub: the real client, against a stand-in of the hub's interface."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.hub_server import Hub, serve_hub
from builders.jobs import files_of, job_fields
from builders.sources import SOURCES

from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize
from pipeline.sources.units import cut_units

TOKEN = "hf_aSecretToken"
PHOTOS = "hf://datasets/me/photos"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def names(folder: str, *, recursive: bool = True) -> list[tuple[str, int]]:
    entries = filesystem.list_files(folder, recursive=recursive)
    return [(entry.name, entry.size_bytes) for entry in entries]


def test_files_are_listed_and_read_by_ranges(hub: Hub):
    big = bytes(range(256)) * 8192
    hub.push(
        "datasets/me/photos", {"train/b.bin": big, "train/a": b"1", "train/c/d": b"", "x": b"xx"}
    )
    assert names(PHOTOS) == [("train/a", 1), ("train/b.bin", len(big)), ("train/c/d", 0), ("x", 2)]
    assert names(f"{PHOTOS}/train", recursive=False) == [("a", 1), ("b.bin", len(big))]
    assert names(f"{PHOTOS}/none") == []
    assert filesystem.read(f"{PHOTOS}/train/b.bin") == big
    assert filesystem.read(f"{PHOTOS}/train/c/d") == b""
    with filesystem.open_read(f"{PHOTOS}@main/train/b.bin") as file:
        file.seek(1_000_001)
        assert file.read(3) == big[1_000_001:1_000_004]
    assert filesystem.exists(f"{PHOTOS}/train")
    assert not filesystem.exists(f"{PHOTOS}/train/none")


def test_all_files_are_of_the_commit_that_was_found_first(hub: Hub):
    first = hub.push("datasets/me/photos", {"a": b"old"})
    before = filesystem.modified_ns(f"{PHOTOS}/a")
    second = hub.push("datasets/me/photos", {"a": b"new", "b": b""})
    assert filesystem.read(f"{PHOTOS}/a") == b"old"
    assert filesystem.read(f"{PHOTOS}@{first}/a") == b"old"
    assert filesystem.read(f"{PHOTOS}@{second}/a") == b"new"
    assert filesystem.modified_ns(f"{PHOTOS}@{second}/a") != before


@pytest.mark.parametrize(
    ("path", "number", "reason"),
    [
        (f"{PHOTOS}/none", errno.ENOENT, "no such object"),
        ("hf://datasets/me/none/a", errno.EACCES, "no such repository, or no access"),
        (f"{PHOTOS}@none/a", errno.ENOENT, "no such revision"),
    ],
)
def test_what_is_missing_is_named(hub: Hub, path: str, number: int, reason: str):
    hub.push("datasets/me/photos", {"a": b"1"})
    with pytest.raises(OSError) as error:
        filesystem.read(path)
    assert (error.value.errno, error.value.filename) == (number, path)
    assert error.value.strerror.startswith(reason)
    assert TOKEN not in str(error.value)


def test_a_private_repository_is_read_with_the_token_of_the_environment(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    hub.push("models/me/tokenizer", {"a": b"1"})
    hub.token = TOKEN
    assert filesystem.read("hf://me/tokenizer/a") == b"1"
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(PermissionError, match="run 'hf auth login', or set HF_TOKEN") as error:
        filesystem.read("hf://me/tokenizer/a")
    assert "hf_another" not in str(error.value)


def test_a_job_on_the_hub_gives_the_bytes_of_the_job_on_a_disk(
    hub: Hub, small_images: list[bytes], tokenizer_directory: Path, tmp_path: Path
):
    photos = {f"cats/{n:02d}.png": image for n, image in enumerate(small_images[:10])}
    hub.push("datasets/me/photos", photos)
    weights = {path.name: path.read_bytes() for path in tokenizer_directory.iterdir()}
    hub.push("models/me/tokenizer", weights)
    for name, data in photos.items():
        target = tmp_path / "photos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    places = {
        "here": (str(tmp_path / "photos"), str(tokenizer_directory)),
        "hub": (PHOTOS, "hf://me/tokenizer"),
    }
    for output, (source, tokenizer) in places.items():
        made = job_fields(
            {"kind": "image_folder", "directory": source}, Path("t"), tmp_path / output
        )
        tokenize(TokenizeConfig.model_validate(made | {"tokenizer": tokenizer}))
    assert files_of(tmp_path / "hub") == files_of(tmp_path / "here")
    files = b"".join(path.read_bytes() for path in (tmp_path / "hub").rglob("*") if path.is_file())
    assert TOKEN.encode() not in files
    assert (
        Tokenizer.load("hf://me/tokenizer").fingerprint
        == Tokenizer.load(tokenizer_directory).fingerprint
    )


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_a_pattern_on_the_hub_gives_the_records_of_the_files_on_a_disk(
    kind: str, hub: Hub, small_images: list[bytes], tmp_path: Path
):
    images = {f"cats/{number:02d}.png": data for number, data in enumerate(small_images)}
    config = SOURCES[kind].build(tmp_path, images)
    hub.push("datasets/me/photos", {f"data/{p.name}": p.read_bytes() for p in tmp_path.iterdir()})
    files = str(config.model_dump()["files"]).replace(str(tmp_path), f"{PHOTOS}/data")
    there = config.model_copy(update={"files": files})
    records = []
    for one in (config, there):
        source = one.open()
        listing = source.list()
        units = cut_units(listing, 8)
        records.append([r for unit in units for r in source.read(unit, listing.features)])
    assert records[0] == records[1] and len(records[0]) == len(images)

"""Metadata files in an image folder: found by themselves, read where a config names columns."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders.jobs import job_config

from fsq.errors import DataError, RequestError
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.planning.prepare import describe_job, prepare
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.units import cut_units

NAMES = ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]
CAPTIONS = {name: f"caption of {name}" for name in NAMES}


@pytest.fixture
def folder(tmp_path: Path, small_images: list[bytes]) -> Path:
    """Four images, and no metadata yet."""
    for name, data in zip(NAMES, small_images, strict=False):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


def config_of(folder: Path, **settings: Any) -> ImageFolderConfig:
    content = {"kind": "image_folder", "directory": str(folder), **settings}
    return ImageFolderConfig.model_validate(content)


def captions(folder: Path, **settings: Any) -> dict[str, object]:
    """Returns the captions, or why an image is a reject."""
    source = config_of(folder, **{"carry": {"caption": "text"}, **settings}).open()
    with source.list(2).on_disk() as listing:
        records = [
            record
            for unit in cut_units(listing, 2)
            for record in source.read(unit, listing.features)
        ]
    return {
        record.key: record.carried if isinstance(record, ImageRecord) else record.reason
        for record in records
    }


def write(path: Path, names: list[str], column: str = "file_name") -> Path:
    """Writes a metadata file with captions, for paths relative to it, in reverse order."""
    below = path.parent.name if path.parent.name != "in" else ""
    rows = [
        {column: name, "text": CAPTIONS[f"{below}/{name}" if below else name]}
        for name in reversed(names)
    ]
    table = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_image_has_the_values_of_its_row(ending: str, folder: Path):
    write(folder / f"metadata.{ending}", NAMES)
    assert captions(folder) == {name: (text.encode(),) for name, text in CAPTIONS.items()}
    assert config_of(folder, carry={"caption": "text"}).open().list().left_out == {}


def test_they_are_those_that_datasets_gives(folder: Path, tmp_path: Path):
    import datasets

    write(folder / "metadata.csv", NAMES[:2])
    write(folder / "sub" / "metadata.csv", ["c.png", "deep/d.png"])
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache")
    ).cast_column("image", datasets.Image(decode=False))
    paths = {Path(row["image"]["path"]).relative_to(folder).as_posix(): row for row in theirs}
    assert captions(folder) == {key: (paths[key]["text"].encode(),) for key in sorted(paths)}
    assert [*captions(folder)] == NAMES


def test_the_nearest_file_speaks_of_an_image(folder: Path):
    write(folder / "metadata.csv", NAMES)
    write(folder / "sub" / "metadata.jsonl", ["deep/d.png"], "image_file_name")
    found = captions(folder)
    assert found["sub/deep/d.png"] == (CAPTIONS["sub/deep/d.png"].encode(),)
    assert found["sub/c.png"] == "expected a row in sub/metadata.jsonl, got none"
    # What the upper file says of images below the lower one counts for none.
    listing = config_of(folder, carry={"caption": "text"}).open().list()
    assert listing.left_out == {"rows of metadata files without an image": 2}
    assert listing.metadata == ("2 files, from metadata.csv on, 5 rows; images without a row: 1")


def test_images_and_rows_that_lack_each_other_are_counted(folder: Path):
    path = write(folder / "metadata.csv", NAMES[:2])
    path.write_text(path.read_text() + "gone.png,x\n../b.png,x\nsub/c.png,\n")
    assert captions(folder) == {
        "a.png": (b"caption of a.png",),
        "b.png": (b"caption of b.png",),
        "sub/c.png": "expected a value in column 'text', got none",
        "sub/deep/d.png": "expected a row in metadata.csv, got none",
    }
    default = {"caption": {"field": "text", "default": "-"}}
    assert captions(folder, carry=default)["sub/c.png"] == (b"-",)
    assert captions(folder, carry=default)["sub/deep/d.png"] == (b"-",)
    listing = config_of(folder, carry=default).open().list()
    assert listing.metadata == "metadata.csv, 5 rows; images without a row: 1"
    assert listing.left_out == {"rows of metadata files without an image": 2}


def test_without_carry_a_metadata_file_changes_nothing_but_is_told(
    image_folder: Path, tmp_path: Path, tokenizer_directory: Path
):
    folder = tmp_path / "in"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for path in sorted((image_folder / name).iterdir())[:8]:
            (folder / name / path.name).write_bytes(path.read_bytes())
    config = job_config(folder, tokenizer_directory, tmp_path / "out")
    before = prepare(config)
    (folder / "metadata.csv").write_text("file_name,text\n")
    after = prepare(config)
    assert after.plan.fingerprint == before.plan.fingerprint
    assert dict(describe_job(after))["metadata"] == (
        "metadata.csv: found, not read; name columns to carry in source.carry"
    )
    assert "metadata" not in dict(describe_job(before))
    assert config.source.model_dump(exclude_none=True) == {
        "kind": "image_folder",
        "directory": str(folder),
        "labels": True,
        "follow_links": False,
    }


def test_folders_can_be_the_classes_beside_carried_columns(folder: Path):
    (folder / "a.png").unlink()
    (folder / "b.png").unlink()
    write(folder / "metadata.csv", NAMES[2:])
    assert captions(folder, labels=True) == {
        "sub/c.png": (0, b"caption of sub/c.png"),
        "sub/deep/d.png": (1, b"caption of sub/deep/d.png"),
    }
    with pytest.raises(RequestError, match=r"source\.carry: expected names other than 'label'"):
        captions(folder, labels=True, carry={"label": "text"})


def test_splits_have_files_in_their_folders_or_above(
    folder: Path, tmp_path: Path, tokenizer_directory: Path, small_images: list[bytes]
):
    for name, part in (("0.png", "train"), ("1.png", "train"), ("2.png", "val")):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / name).write_bytes(small_images[int(name[0])])
    (folder / "train" / "metadata.csv").write_text("file_name,text\n0.png,zero\n1.png,one\n")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "val/2.png", "text": "two"}))
    source = {"kind": "image_folder", "directory": str(folder), "carry": {"caption": "text"}}
    config = job_config(
        source,
        tokenizer_directory,
        tmp_path / "out",
        output={"split": {"train": "train", "val": "val"}, "num_shards": 2},
    )
    described = dict(describe_job(prepare(config)))
    assert described["metadata"] == "2 files, from metadata.jsonl on, 3 rows"
    # The images beside the folders of the splits, and the folder of two of these.
    assert described["left out"] == "3 files and folders beside the folders of the splits"
    summary = tokenize(config)
    assert summary.images_rejected == 0 and list(verify_dataset(summary.directory)) == []
    again = tokenize(config)
    assert again.units_resumed == again.num_units


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            {},
            RequestError,
            "source.carry: expected a file metadata.csv, metadata.jsonl, met",
        ),
        (
            {"metadata.csv": "file_name,text\n", "metadata.jsonl": "{}"},
            *(
                RequestError,
                "metadata.jsonl: expected one metadata file in a folder, got meta",
            ),
        ),
        (
            {"metadata.csv": "file_name,caption\na.png,x\n"},
            *(RequestError, "metadata.csv: expected a column 'text', got 'file_name', 'caption'"),
        ),
        (
            {"metadata.csv": "path,text\na.png,x\n"},
            *(
                RequestError,
                "metadata.csv: expected a column 'file_name' or one that ends with '",
            ),
        ),
        (
            {"metadata.csv": "file_name,text\na.png,x\nb.png,y\na.png,z\n"},
            *(
                DataError,
                "metadata.csv: expected each image once, got 'a.png' in rows 0 and 2",
            ),
        ),
        (
            {"metadata.csv": "file_name,text\na.png,x\nb.png\n"},
            *(DataError, "metadata.csv: row 1: expected 2 cells as in the first line, got 1. Corr"),
        ),
    ],
)
def test_metadata_that_does_not_fit_is_said_in_a_line(
    files: dict[str, str], error: type[Exception], message: str, folder: Path
):
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(error) as raised:
        captions(folder)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_flat_folder_with_metadata_is_told_of_carry(folder: Path):
    write(folder / "metadata.csv", NAMES)
    with pytest.raises(
        RequestError, match=r"; or carry columns of metadata\.csv with source\.carry"
    ):
        config_of(folder).open().list()


def test_a_changed_caption_is_a_changed_input(folder: Path, tmp_path: Path):
    path = write(folder / "metadata.csv", NAMES)
    source = config_of(folder, carry={"caption": "text"}).open()
    (tmp_path / "work").mkdir()
    source.list().write_to(str(tmp_path / "work"))
    path.write_text(path.read_text().replace("caption of b.png", "another"))
    assert source.first_change(str(tmp_path / "work"), source.list()) == (
        "b.png was carried with ['caption of b.png'], is with ['another']"
    )
    with source.list().on_disk() as listing:
        (unit,) = source.units_with(listing, ["sub/c.png"])
        (found,) = source.read(unit, listing.features)
        assert found.key == "sub/c.png" and not isinstance(found, BadRecord)
        assert [one.num_records for one in source.units_of(listing, ["."])] == [2]

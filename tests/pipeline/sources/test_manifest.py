"""Manifests: rows of CSV, JSON and Parquet are images with their columns, or counted rejects."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from builders.jobs import job_config

from fsq.errors import DataError, RequestError
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.planning.prepare import prepare
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize
from pipeline.sources.image_paths import ADDRESS, NO_PATH, NUL, OTHER_SCHEME, OUTSIDE, Places
from pipeline.sources.listed_rows import ListedRow
from pipeline.sources.manifest import ManifestConfig
from pipeline.sources.units import cut_units

Records = list[ImageRecord | BadRecord]
NAMES = ["cats/1.png", "cats/2.png", "dogs/1.png", "dogs/2.png"]
CAPTIONS = ["a cat, asleep", 'a "cat"\nawake', None, "ein Hündchen"]
# Columns as pandas has them: missing values of three kinds.
TABLE = {
    "file_name": NAMES,
    "animal": ["cat", "cat", "dog", "dog"],
    "age": [3, 4, 5, 2**40],
    "weight": [3.5, None, 7.25, 8.0],
    "caption": CAPTIONS,
}
CARRY = {
    "age": "age",
    "weight": {"field": "weight", "default": -1},
    "caption": {"field": "caption", "default": "none"},
}
CARRIED = [
    (0, 3, 3.5, b"a cat, asleep"),
    (0, 4, -1.0, b'a "cat"\nawake'),
    (1, 5, 7.25, b"none"),
    (1, 2**40, 8.0, "ein Hündchen".encode()),
]
WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "m.csv": lambda table, path: table.to_csv(path, index=False),
    "m.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "semicolons.csv": lambda table, path: table.to_csv(path, index=False, sep=";"),
    "excel.csv": lambda table, path: table.to_csv(
        path, index=False, encoding="utf-8-sig", lineterminator="\r\n"
    ),
    "m.jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    "m.json": lambda table, path: table.to_json(path, orient="records"),
    "m.parquet": lambda table, path: table.to_parquet(path, index=False, row_group_size=2),
}


@pytest.fixture
def folder(tmp_path: Path, small_images: list[bytes]) -> Path:
    """Four images in folders, and no manifest yet."""
    for name, data in zip(NAMES, small_images, strict=False):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


def manifest(path: Path, **settings: Any) -> ManifestConfig:
    return ManifestConfig.model_validate({"kind": "manifest", "file": str(path), **settings})


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read_all(config: ManifestConfig, batch_size: int = 2) -> Records:
    source = config.open()
    with source.list(batch_size).on_disk() as listing:
        units = cut_units(listing, batch_size)
        return [record for unit in units for record in source.read(unit, listing.features)]


def reasons(config: ManifestConfig) -> list[tuple[str, str]]:
    return [(one.key, one.reason) for one in read_all(config) if isinstance(one, BadRecord)]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_images_and_values(
    name: str, folder: Path, small_images: list[bytes]
):
    WRITERS[name](pd.DataFrame(TABLE), folder / name)
    config = manifest(folder / name, labels="animal", carry=CARRY)
    listing = config.open().list()
    assert [(one.name, one.kind) for one in listing.features] == [
        ("label", "int64"),
        ("age", "int64"),
        ("weight", "float32"),
        ("caption", "bytes"),
    ]
    assert listing.features[0].class_names == ("cat", "dog")
    assert read_all(config) == [
        ImageRecord(*row) for row in zip(NAMES, small_images[:4], CARRIED, strict=True)
    ]


def test_a_csv_column_has_the_type_that_holds_all_of_its_cells(folder: Path):
    rows = [
        *("file_name,whole,number,zeros,large,late",),
        *("cats/1.png,-1,1,01,9223372036854775808,1", "cats/2.png,2,1e-3,2,1,x"),
    ]
    names = ["whole", "number", "zeros", "large", "late"]
    config = manifest(write(folder / "m.csv", "\n".join(rows)), carry={n: n for n in names})
    assert [one.carried for one in read_all(config) if isinstance(one, ImageRecord)] == [
        (-1, 1.0, b"01", b"9223372036854775808", b"1"),
        (2, 1e-3, b"2", b"1", b"x"),
    ]


def test_a_declared_type_rejects_the_values_that_it_cannot_hold(folder: Path):
    lines = [
        *({"file_name": NAMES[0], "age": "3"}, {"file_name": NAMES[1], "age": 4.0}),
        *({"file_name": NAMES[2], "age": [5]}, {"file_name": NAMES[3], "age": 2**63}),
    ]
    path = write(folder / "m.jsonl", "\n".join(map(json.dumps, lines)))
    typed = manifest(path, carry={"age": {"field": "age", "type": "int64"}})
    reason = "expected an int64 in column 'age', got another value"
    assert [one.carried for one in read_all(typed)[:2] if isinstance(one, ImageRecord)] == [
        (3,),
        (4,),
    ]
    assert reasons(typed) == [(NAMES[2], reason), (NAMES[3], reason)]
    with pytest.raises(RequestError, match=r"source\.carry\.age: expected values of one type in c"):
        manifest(path, carry={"age": "age"}).open().list()


def test_a_missing_value_without_a_default_is_a_reject(folder: Path):
    path = write(folder / "m.csv", f"file_name,age\n{NAMES[0]},1\n{NAMES[1]},\n")
    assert reasons(manifest(path, carry={"age": "age"})) == [
        (NAMES[1], "expected a value in column 'age', got none")
    ]


def test_fields_of_nested_objects_are_named_with_dots(folder: Path):
    rows = [{"image": {"path": name}, "meta": {"size": {"w": n}}} for n, name in enumerate(NAMES)]
    write(folder / "m.jsonl", "\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / "m.parquet")
    for name in ("m.jsonl", "m.parquet"):
        config = manifest(folder / name, image="image.path", carry={"width": "meta.size.w"})
        carried = [
            (one.key, one.carried) for one in read_all(config) if isinstance(one, ImageRecord)
        ]
        assert carried == [(key, (n,)) for n, key in enumerate(NAMES)]


def test_captions_that_are_not_utf8_are_rejects_and_names_of_files_are_not(
    folder: Path, small_images: list[bytes]
):
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(small_images[5])
    data = b"file_name,caption\n\xff.png,good\ncats/1.png,caf\xe9\n"
    lines = b'{"file_name": "\xff.png", "caption": "good"}\n'
    lines += b'{"file_name": "cats/1.png", "caption": "caf\xe9"}\n'
    for path in (write(folder / "m.csv", data), write(folder / "m.jsonl", lines)):
        config = manifest(path, carry={"caption": "caption"})
        good, bad = read_all(config)
        assert good == ImageRecord("\udcff.png", small_images[5], (b"good",))
        assert bad == BadRecord(
            "cats/1.png", "expected text in UTF-8 in column 'caption', got another value"
        )


@pytest.mark.parametrize(
    ("written", "outcome"),
    [
        ("a/1.png", ("a/1.png", "/data/a/1.png")),
        ("./a//b/../1.png", ("a/1.png", "/data/a/1.png")),
        ("/data/a/1.png", ("/data/a/1.png", "/data/a/1.png")),
        ("/data/../etc/1.png", OUTSIDE),
        ("/database/1.png", OUTSIDE),
        ("../1.png", OUTSIDE),
        ("a/../../data2/1.png", OUTSIDE),
        ("file:///data/a%20b.png", ("file:///data/a%20b.png", "/data/a b.png")),
        ("file:///etc/1.png", OUTSIDE),
        ("file://host/data/1.png", OTHER_SCHEME),
        ("https://example.org/1.png", ADDRESS),
        ("data:image/png;base64,AAAA", ADDRESS),
        ("s3://bucket/1.png", OUTSIDE),
        ("zip://a/1.png", OTHER_SCHEME),
        ("C:1.png", ("C:1.png", "/data/C:1.png")),
        ("a\0b", NUL),
        ("", NO_PATH),
        (".", NO_PATH),
    ],
)
def test_a_path_leads_below_the_root_or_is_refused(written: str, outcome: tuple[str, str] | str):
    found = Places("/data", outside=False).find(written)
    assert (found.refused or (found.key, found.path)) == outcome


def test_paths_may_lead_out_of_the_root_where_a_config_says_so():
    local, store = Places("in", outside=True), Places("s3://bucket/in", outside=True)
    assert local.find("../x.png").path == "in/../x.png"
    assert local.find("/etc/x.png").path == "/etc/x.png"
    assert local.find("s3://bucket/./x.png").path == "s3://bucket/x.png"
    assert store.find("a/x.png").path == "s3://bucket/in/a/x.png"
    assert store.find("../x.png").path == "s3://bucket/x.png"
    inside = Places("s3://bucket/in", outside=False)
    assert inside.find("s3://bucket/in/x.png").path == "s3://bucket/in/x.png"
    assert inside.find("s3://bucket/in/../x.png").refused == OUTSIDE
    assert inside.find("/bucket/in/x.png").refused == OUTSIDE


def test_what_cannot_be_read_as_a_file_is_a_reject_with_its_reason(folder: Path):
    os.mkfifo(folder / "pipe")
    path = write(folder / "m.csv", "path\ncats/1.png\nnone.png\ncats\npipe\ncats\\1.png\n\n")
    assert reasons(manifest(path)) == [
        ("none.png", "expected a file that can be read, got: No such file or directory"),
        ("cats", "expected a file, got a folder"),
        ("pipe", "expected a file, got a pipe, a socket or a device"),
        (
            "cats\\1.png",
            "expected '/' between the folders of a path, got backslashes, as Windows has them",
        ),
    ]


@pytest.mark.parametrize(
    ("name", "text", "row", "reason"),
    [
        ("m.csv", "path,n\ncats/1.png,1\ncats/2.png\n", 1, "expected 2 cells as in the first li"),
        ("m.csv", "path,n\ncats/1.png,1\ncats/2.png,2,3\n", 1, "expected 2 cells as in the firs"),
        ("m.csv", 'path\ncats/1.png\n"cats/2.png\n', 1, "expected cells of CSV, got: unexpected"),
        ("m.csv", 'path\ncats/1.png\n"cats"/2.png\n', 1, "expected cells of CSV, got: ',' expe"),
        ("m.csv", "path\ncats/1.png\ncats/2\0.png\n", 1, "expected cells of text, got a NUL byte"),
        (
            "m.jsonl",
            '{"path": "cats/1.png"}\nno\n',
            1,
            "expected an object of JSON, got: Expe",
        ),
        ("m.jsonl", '{"path": "cats/1.png"}\n["x"]\n', 1, "expected an object of JSON, got a li"),
        ("m.jsonl", '{"path": "cats/1.png"}\n{"path": NaN}\n', 1, "expected an object of JSON, go"),
        (
            *("m.jsonl", '{"path": "cats/1.png"}\n{"path": "x", "path": "y"}\n', 1),
            "expected an object of JSON, got: a name twice in one object",
        ),
        ("m.json", '[{"path": "cats/1.png"}, 3]', 1, "expected an object of JSON, got a number"),
    ],
)
def test_a_row_that_cannot_be_read_ends_the_job_or_is_a_reject(
    name: str, text: str, row: int, reason: str, folder: Path
):
    path = write(folder / name, text)
    with pytest.raises(DataError) as error:
        manifest(path).open().list()
    assert str(error.value).startswith(f"{path}: row {row}: {reason}")
    assert str(error.value).endswith("to 'reject', which counts such a row as a reject.")
    first, second = read_all(manifest(path, damaged="reject"))
    assert isinstance(first, ImageRecord) and first.key == "cats/1.png"
    assert isinstance(second, BadRecord) and second.key == f"{name}__{row}"
    assert second.reason.startswith(reason)


def test_a_row_group_that_cannot_be_read_is_refused_or_counted_row_by_row(folder: Path):
    path = folder / "m.parquet"
    pd.DataFrame(TABLE).to_parquet(path, index=False, row_group_size=2)
    chunk = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0)
    start, data = chunk.dictionary_page_offset, bytearray(path.read_bytes())
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"m\.parquet: row 2: expected a row group that can be rea"):
        manifest(path).open().list()
    records = read_all(manifest(path, damaged="reject"))
    assert [record.key for record in records] == [*NAMES[:2], "m.parquet__2", "m.parquet__3"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"", "expected the names of columns in the first line, got none. Add them."),
        ("m.csv", "path\n1\n".encode("utf-16"), "expected text in UTF-8, got UTF-16. Save it as"),
        ("m.csv", b"PAR1" + bytes(99), "expected text, got Parquet. Name the manifest in source."),
        ("m.csv", b"path,path\na,b\n", "expected each column once, got 'path' twice. Rename one."),
        ("m.json", b'[{"path": ', "expected a list of objects, or an object per line, got: expec"),
        ("m.parquet", b"PAR1" + bytes(99) + b"PAR1", "expected a Parquet file, got: "),
        ("m.csv", b"path\n", "expected rows, got none. Check source.file."),
        (
            *("m.csv", b"path\nhttps://a.b/c.png\nx.png\n"),
            "expected rows with images, got none in 2; the first, 'https://a.b/c.png': expected "
            "the path of a file, got the address of a page (download the images first",
        ),
    ],
)
def test_a_manifest_that_is_none_is_said_in_a_line(
    name: str, data: bytes, message: str, folder: Path
):
    path = write(folder / name, data)
    with pytest.raises(DataError) as error:
        manifest(path).open().list()
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ("image,path", {}, "m.csv: expected a column 'file_name' or one other with the paths of i"),
        (
            "cats/1.png,3",
            {},
            "or one other with the paths of images, got 'cats/1.png', '3'. Name",
        ),
        (
            "path,n",
            {"image": "pth"},
            "expected a column 'pth', got 'path', 'n'. Did you mean 'pa",
        ),
        ("path,n", {"key": "id"}, "expected a column 'id', got 'path', 'n'. Correct source.key; t"),
        ("path,n", {"carry": {"m": "m"}}, "expected a column 'm', got 'path', 'n'. Correct source"),
        ("path,n", {"labels": "kind"}, "expected a column 'kind', got 'path', 'n'. Correct source"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    columns: str, settings: dict[str, Any], message: str, folder: Path
):
    path = write(folder / "m.csv", f"{columns}\ncats/1.png,x\n")
    with pytest.raises(RequestError) as error:
        manifest(path, **settings).open().list()
    assert message in str(error.value)


def test_file_name_is_the_column_of_the_paths_whatever_others_there_are(folder: Path):
    path = write(folder / "m.csv", "image,file_name,path\nx,cats/1.png,y\n")
    assert [record.key for record in read_all(manifest(path))] == ["cats/1.png"]


def test_a_path_that_comes_twice_is_refused_with_both_rows(folder: Path):
    path = write(folder / "m.csv", "path,id\ncats/1.png,1\ncats/2.png,2\n./cats/1.png,3\n")
    with pytest.raises(DataError) as error:
        manifest(path).open().list()
    assert str(error.value) == (
        "cats/1.png: expected each key once, got it in row 0 of m.csv and in row 2 of m.csv. "
        "Remove one of the two rows, or name a column of other values in source.key."
    )
    assert [record.key for record in read_all(manifest(path, key="id"))] == ["1", "2", "3"]


def test_classes_are_sorted_names_or_those_given(folder: Path):
    path = write(folder / "m.csv", "path,kind\ncats/1.png,dog\ncats/2.png,cat\ndogs/1.png,\n")
    labels = lambda **more: [
        record.carried[0] if isinstance(record, ImageRecord) else record.reason
        for record in read_all(manifest(path, labels="kind", **more))
    ]
    missing = "expected a value in column 'kind', got none"
    assert labels() == [1, 0, missing]
    assert labels(classes=["ape", "dog", "cat"]) == [1, 2, missing]
    with pytest.raises(RequestError, match=r"source\.classes: expected all classes in column 'kin"):
        labels(classes=["cat"])
    with pytest.raises(ValueError, match="expected 'labels', the column of the class names"):
        manifest(path, classes=["cat"])


def test_the_classes_of_a_parquet_column_are_those_that_datasets_wrote(folder: Path):
    import datasets

    def write_parquet(name: str, classes: list[str]) -> None:
        features = {"path": datasets.Value("string"), "n": datasets.ClassLabel(names=classes)}
        table = {"path": [f"{name}/1.png", f"{name}/2.png"], "n": [1, 0]}
        rows = datasets.Dataset.from_dict(table, features=datasets.Features(features))
        rows.to_parquet(str(folder / f"{name}.parquet"))

    write_parquet("cats", ["wild", "tame"])
    write_parquet("dogs", ["wild", "tame"])
    config = manifest(folder / "*.parquet", carry={"label": "n"})
    (feature,) = config.open().list().features
    assert (feature.kind, feature.class_names) == ("int64", ("wild", "tame"))
    assert [one.carried for one in read_all(config) if isinstance(one, ImageRecord)] == [
        *((1,), (0,), (1,), (0,)),
    ]
    write_parquet("dogs", ["tame", "wild"])
    with pytest.raises(RequestError, match=r"dogs\.parquet: expected the classes of column 'n' in"):
        config.open().list()


def test_manifests_of_one_name_have_keys_below_their_folders(folder: Path):
    for name in ("cats", "dogs"):
        write(folder / name / "metadata.csv", "file_name\n1.png\n2.png\n")
    config = manifest(folder / "*" / "metadata.csv")
    assert [record.key for record in read_all(config)] == NAMES
    assert config.open().list().groups.keys() == {"cats/metadata.csv", "dogs/metadata.csv"}


def test_each_split_has_manifests_of_its_own(folder: Path, tokenizer_directory: Path):
    write(folder / "train.csv", "path\n" + "\n".join(NAMES[:3]))
    write(folder / "val.jsonl", json.dumps({"path": NAMES[3]}))
    parts = {"train": f"{folder}/train.csv", "val": f"{folder}/val.jsonl"}
    config = job_config(
        {"kind": "manifest"},
        tokenizer_directory,
        folder.parent / "out",
        output={"split": parts, "num_shards": {"train": 2, "val": 1}},
    )
    assert prepare(config).plan.job.num_records == 4
    summary = tokenize(config)
    assert list(verify_dataset(summary.directory)) == []
    assert [(one.name, one.num_records) for one in prepare(config).plan.job.splits] == [
        ("train", 3),
        ("val", 1),
    ]


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.tfrecord-*"))}


def test_rejects_are_counted_with_their_rows_and_can_be_repaired(
    image_folder: Path, tmp_path: Path, tokenizer_directory: Path
):
    folder = tmp_path / "in"
    shutil.copytree(image_folder, folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    path = write(folder / "m.csv", "path\n" + "\n".join(names))
    moved = folder / names[41]
    moved.rename(tmp_path / "moved")
    config = job_config(
        manifest(path).model_dump(), tokenizer_directory, tmp_path / "out", max_reject_fraction=0.1
    )
    summary = tokenize(config)
    assert summary.rejects_by_file == {"m.csv": (1, len(names))}
    (reject,) = map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_text().splitlines())
    assert (reject["key"], reject["record"], reject["file"]) == (names[41], 41, "m.csv")
    (tmp_path / "moved").rename(moved)
    repaired = retry_rejects(config.output.directory, config)
    assert (repaired.images_retried, repaired.images_rejected) == (1, 0)
    whole = job_config(manifest(path).model_dump(), tokenizer_directory, tmp_path / "whole")
    tokenize(whole)
    assert shards(tmp_path / "out") == shards(tmp_path / "whole") != {}
    again = tokenize(whole)
    assert again.units_resumed == again.num_units


def test_another_value_image_or_row_is_another_job_and_is_named(folder: Path, tmp_path: Path):
    path = write(folder / "m.csv", "path,n\n" + "\n".join(f"{name},1" for name in NAMES))
    source = manifest(path, carry={"n": "n"}).open()
    (tmp_path / "work").mkdir()
    listing = source.list(2)
    listing.write_to(str(tmp_path / "work"))
    change = lambda unit=None: source.first_change(str(tmp_path / "work"), source.list(2), unit)
    assert change() is None
    os.utime(folder / NAMES[3], ns=(1, 1))
    first, second = cut_units(source.list(2), 2)
    assert change() is None and change(first) is None
    assert change(second) == f"{NAMES[3]} was rewritten"
    text = path.read_text()
    path.write_text(text.replace(f"{NAMES[1]},1", f"{NAMES[1]},2"))
    assert change() == f"{NAMES[1]} was carried with [1], is with [2]"
    path.write_text(text.replace(f"{NAMES[1]},1\n", ""))
    assert change() == f"row 1 was {NAMES[1]}, is {NAMES[2]}"
    path.write_text(text)
    size = (folder / NAMES[0]).stat().st_size
    (folder / NAMES[0]).write_bytes(b"short")
    assert change() == f"{NAMES[0]} was {size:,} bytes, is 5 bytes"
    assert source.list(2).digest() != listing.digest()


def test_a_missing_manifest_of_a_set_is_refused_or_counted_once(folder: Path):
    write(folder / "m-00000-of-00002.csv", "path\ncats/1.png\n")
    pattern = folder / "m-*-of-00002.csv"
    with pytest.raises(DataError, match=r"of 2 files that source\.file asks for are missing"):
        manifest(pattern).open().list()
    assert reasons(manifest(pattern, damaged="reject")) == [
        (
            "m-00001-of-00002.csv__0",
            "expected a file that can be read, got: No such file or directory",
        )
    ]


def test_a_row_of_the_listing_is_read_back_as_it_was():
    row = ListedRow('a\n"\udcff', "/x y", 7, 8, (1, 0.5, "\udcff\n"), None)
    for one in (row, row._replace(path=row.key, refused="no")):
        assert ListedRow.from_line(one.to_line()) == one
        assert one.to_line().count(b"\n") == 1
    with pytest.raises(DataError, match=r"expected a line of listing\.txt, got b'no'"):
        ListedRow.from_line(b"no")

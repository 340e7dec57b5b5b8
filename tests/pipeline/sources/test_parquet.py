"""Parquet and saved Arrow tables as they come: every row is a record or a reject."""

import json
import random
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources.arrow_files import ParquetTable
from pipeline.sources.dataset_card import _configs_of
from pipeline.sources.parquet import ParquetConfig
from pipeline.sources.units import cut_units

BYTES = [b"0", b"1", b"2"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TURNED = pa.struct([("path", pa.string()), ("bytes", pa.binary())])


def config_of(files: object, **fields: object) -> ParquetConfig:
    return parse(ParquetConfig, {"kind": "parquet", "files": str(files), **fields}, "c.yaml")


def read(config: ParquetConfig, batch_size: int = 8) -> list[ImageRecord | BadRecord]:
    source = config.open()
    listing = source.list(stride=batch_size)
    units = cut_units(listing, batch_size)
    return [record for unit in units for record in source.read(unit, listing.features)]


def shown(records: list[ImageRecord | BadRecord]) -> list[Any]:
    return [
        (r.data, *r.carried) if isinstance(r, ImageRecord) else f"{r.key}: {r.reason}"
        for r in records
    ]


def write(path: Path, arrow: bool, **columns: Any) -> Path:
    table = pa.table({"image": pa.array(BYTES), **columns})
    if arrow:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    else:
        pq.write_table(table, path, row_group_size=2)
    return path


@pytest.fixture(params=[False, True], ids=["parquet", "arrow"])
def arrow(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize(
    "image",
    [
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES, pa.binary_view()),
        pa.array(BYTES).dictionary_encode(),
        pa.array([{"bytes": one, "path": "same.jpg"} for one in BYTES], STRUCT),
        pa.array([{"bytes": one, "path": None} for one in BYTES], TURNED),
        pa.array([{"bytes": one} for one in BYTES]),
        pa.array([{"bytes": one, "path": 3} for one in BYTES]),
    ],
    ids=lambda array: str(array.type),
)
def test_an_image_has_any_of_the_types_that_occur(tmp_path: Path, arrow: bool, image: pa.Array):
    records = read(config_of(write(tmp_path / "x", arrow, image=image)))
    assert shown(records) == [(one,) for one in BYTES]
    assert [record.key for record in records] == ["x__0", "x__1", "x__2"]


def test_a_row_may_name_a_file(tmp_path: Path, arrow: bool):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"one")
    rows = [
        {"bytes": None, "path": "a/1.jpg"},
        {"bytes": None, "path": "a/none.jpg"},
        {"bytes": None, "path": "../a/1.jpg"},
        {"bytes": None, "path": str(tmp_path / "a" / "1.jpg")},
        {"bytes": None, "path": "https://x/1.jpg"},
        {"bytes": b"inside", "path": "a/1.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    table = pa.table({"image": pa.array(rows, STRUCT), "file": [r and r["path"] for r in rows]})
    pq.write_table(table, tmp_path / "x.parquet")
    found = shown(read(config_of(tmp_path / "x.parquet")))
    assert found[:2] == [
        (b"one",),
        "x.parquet__1: expected a file that can be read, got: No such file or directory",
    ]
    assert found[2].startswith("x.parquet__2: expected a path below source.root, got one outside")
    assert found[3] == (b"one",)
    assert found[4].startswith("x.parquet__4: expected the path of a file, got the address of a p")
    assert found[5:] == [
        (b"inside",),
        "x.parquet__6: expected an image, got none (a null)",
        "x.parquet__7: expected an image, got none (a null)",
    ]
    assert shown(read(config_of(tmp_path / "x.parquet", image="file")))[0] == (b"one",)
    elsewhere = config_of(tmp_path / "x.parquet", root=str(tmp_path / "a"), outside=True)
    assert shown(read(elsewhere))[2] == (b"one",)


def test_carried_columns_are_typed(tmp_path: Path, arrow: bool):
    columns = {
        "flag": [True, False, True],
        "big": pa.array([1, 2**63, 3], pa.uint64()),
        "wide": [0.5, 1e300, float("inf")],
        "text": pa.array(["a", None, "c"]),
        "odd": pa.array([b"\xff", b"b", b"c"]).view(pa.string()),
        "nothing": pa.nulls(3),
        "meta": [{"width": 1, "a.b": 2}] * 3,
    }
    path = write(tmp_path / "x", arrow, **columns)
    rows = lambda **carry: shown(read(config_of(path, carry=carry)))
    assert rows(a="flag") == [(b"0", 1), (b"1", 0), (b"2", 1)]
    assert rows(a="big")[1] == "x__1: expected an int64 in column 'big', got 9223372036854775808"
    assert rows(a="wide")[1] == "x__1: expected a float32 in column 'wide', got 1e+300"
    assert rows(a="wide")[2] == (b"2", float("inf"))
    assert rows(a="text")[1] == "x__1: expected a value in column 'text', got none (a null)"
    assert rows(a={"field": "text", "default": "none"})[1] == (b"1", b"none")
    assert rows(a="odd")[0] == (b"0", b"\xff")
    assert rows(a="meta.width", b="meta/width") == [(one, 1, 1) for one in BYTES]
    assert rows(a={"field": "nothing", "default": -1})[0] == (b"0", -1)
    assert rows(a={"field": "absent", "default": 0.5}, b="flag")[0] == (b"0", 0.5, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "img"}, "source.image: expected a column 'img' in PATH, found none (images may"),
        (
            {"image": "n"},
            "source.image: expected images in column 'n' of PATH: encoded bytes",
        ),
        ({"image": "several"}, "got list<"),
        ({"image": "twice"}, "source.image: expected one column 'twice' in PATH, found 2. Rename"),
        (
            {"carry": {"x": "when"}},
            "source.carry.x: expected numbers or text in column 'when'",
        ),
        ({"carry": {"x": "twice"}}, "source.carry.x: expected one column 'twice' in PATH, found 2"),
        (
            {"carry": {"x": "none"}},
            "source.carry.x: expected a column 'none' in PATH, found none (",
        ),
        ({"key": "several"}, "source.key: expected text or integers in column 'several' of PATH"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(
    tmp_path: Path, arrow: bool, fields: dict[str, object], message: str
):
    columns = {
        "n": [1, 2, 3],
        "several": [[b"0"]] * 3,
        "when": pa.array([0] * 3, pa.timestamp("s")),
    }
    table = pa.table({"image": pa.array(BYTES), **columns})
    table = table.append_column("twice", pa.array(BYTES)).append_column("twice", pa.array(BYTES))
    path = tmp_path / "x"
    if arrow:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    else:
        pq.write_table(table, path)
    with pytest.raises(RequestError) as error:
        read(config_of(path, **fields))
    assert message.replace("PATH", str(path))[:60] in str(error.value)
    assert "\n" not in str(error.value)


def test_names_of_classes_come_from_the_schema_or_the_card(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    names = ["cat", "dog"]
    features = datasets.Features(
        {"image": datasets.Value("binary"), "label": datasets.ClassLabel(names=names)}
    )
    rows = [{"image": one, "label": 1} for one in BYTES]
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "x.parquet")
    label = lambda name: (
        config_of(folder / name, carry={"label": "label"}).open().list().features[0]
    )
    assert label("x.parquet") == CarriedFeature("label", "label", "int64", ("cat", "dog"))
    write(folder / "y.parquet", False, label=[0, 1, 1])
    assert label("y.parquet").class_names is None
    dtype = {"class_label": {"names": {"0": "a", "1": "b"}}}
    info = {"dataset_info": {"features": [{"name": "label", "dtype": dtype}]}}
    _configs_of.cache_clear()
    (tmp_path / "README.md").write_text(f"---\n{json.dumps(info)}\n---\n# Pets\n")
    assert label("y.parquet").class_names == ("a", "b")
    with pytest.raises(DataError, match=r"y\.parquet: expected column 'label' as in other files"):
        config_of(folder / "*.parquet", carry={"label": "label"}).open().list()


def test_of_several_configs_in_a_card_the_one_of_the_folder_counts(tmp_path: Path):
    info = [
        {
            "config_name": name,
            "features": [
                {"name": "label", "dtype": {"class_label": {"names": {"0": f"{name} class"}}}}
            ],
        }
        for name in ("small", "large")
    ]
    (tmp_path / "README.md").write_text(f"---\n{json.dumps({'dataset_info': info})}\n---\n")
    for folder, names in (("large", ("large class",)), ("other", None)):
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder / "x.parquet", False, label=[0, 0, 0])
        (feature,) = config_of(path, carry={"label": "label"}).open().list().features
        assert feature.class_names == names


def test_files_may_lack_what_has_a_default(tmp_path: Path):
    write(tmp_path / "a.parquet", False)
    write(tmp_path / "b.parquet", False, score=[1, 2, 3])
    carry = {"score": {"field": "score", "default": -1}}
    assert [row[1] for row in shown(read(config_of(f"{tmp_path}/*", carry=carry)))] == [
        *(-1, -1, -1),
        *(1, 2, 3),
    ]
    write(tmp_path / "c.parquet", False, score=[0.5, 1, 2])
    with pytest.raises(DataError, match=r"c\.parquet: expected column 'score' as in other files"):
        read(config_of(f"{tmp_path}/*", carry=carry))


def test_keys_are_a_column_and_differ(tmp_path: Path, arrow: bool):
    path = write(tmp_path / "x", arrow, name=["a", None, "c"], number=[7, 8, 9], same=["a"] * 3)
    keys = lambda key: [record.key for record in read(config_of(path, key=key))]
    assert keys("name") == ["a", "x__1", "c"] and keys("number") == ["7", "8", "9"]
    with pytest.raises(DataError, match=r"^a: expected each key once, got it in .*x \(record 0\)"):
        keys("same")


def test_a_saved_folder_is_read_by_its_name(tmp_path: Path):
    rows = [{"image": {"bytes": b"%d" % n, "path": None}, "n": n} for n in range(25)]
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "n": datasets.Value("int8")}
    )
    saved = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": saved, "test": saved.select(range(3))}).save_to_disk(
        tmp_path / "saved", num_shards={"train": 3, "test": 1}
    )
    found = read(config_of(tmp_path / "saved" / "train", carry={"n": "n"}))
    assert shown(found) == [(b"%d" % n, n) for n in range(25)]
    with pytest.raises(RequestError, match=r"with several\. Name one, e\.g\. .*saved/train; or"):
        read(config_of(tmp_path / "saved"))
    parts = {"train": f"{tmp_path}/saved/train", "test": f"{tmp_path}/saved/test"}
    listing = ParquetConfig(kind="parquet").open_parts(parts).list()
    assert listing.records_by_split == {"train": 25, "test": 3}


def test_a_saved_table_cut_at_a_batch_is_not_whole(tmp_path: Path):
    path = write(tmp_path / "x.arrow", True)
    data = path.read_bytes()
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        stream.read_next_batch()
    cut = data[: data.rindex(b"\xff\xff\xff\xff", 0, len(data) - 8)]
    path.write_bytes(cut)
    with pytest.raises(DataError, match=r"x\.arrow: expected the end of the stream after 2 rows"):
        read(config_of(path))
    *records, last = read(config_of(path, damaged="reject"))
    assert shown(records) == [(b"0",), (b"1",)] and isinstance(last, BadRecord)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "expected a Parquet file, got an empty one. Copy it again."),
        (lambda data: data[:-1], "expected a Parquet file that can be read, got: "),
        (lambda data: data[: len(data) // 2], "expected a Parquet file that can be read, got: "),
        (lambda data: b"some text " * 60, "expected a Parquet file, got text. Leave it out of"),
        (lambda data: b"PARE" + data[4:], "expected a Parquet file, got encrypted Parquet."),
    ],
)
def test_a_file_that_is_damaged_is_one_line_or_one_reject(tmp_path: Path, damage, message: str):
    good, bad = write(tmp_path / "a.parquet", False), write(tmp_path / "b.parquet", False)
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(DataError) as error:
        read(config_of(f"{tmp_path}/*"))
    assert str(error.value).startswith(f"{bad}: {message}") and "\n" not in str(error.value)
    *records, last = read(config_of(f"{tmp_path}/*", damaged="reject"))
    assert shown(records) == shown(read(config_of(good))) and isinstance(last, BadRecord)


def test_a_damaged_row_group_gives_rejects_and_the_others_their_images(tmp_path: Path):
    images = [bytes([number]) * 500 for number in range(9)]
    path = tmp_path / "x.parquet"
    table = pa.table({"image": images})
    pq.write_table(
        table, path, row_group_size=3, write_page_checksum=True, use_dictionary=False,
        compression="none",
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    data[data.index(images[4]) + 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.parquet: row group 1: expected a Parquet"):
        read(config_of(path))
    for batch_size in (2, 8):
        records = read(config_of(path, damaged="reject"), batch_size)
        assert [r.data for r in records if isinstance(r, ImageRecord)] == images[:3] + images[6:]
        assert [record.key for record in records] == [f"x.parquet__{n}" for n in range(9)]


def test_flipped_bytes_give_rows_or_a_line(tmp_path: Path, arrow: bool):
    rows = [{"bytes": b"%d" % n * 20, "path": f"{n}.jpg"} for n in range(3)]
    path = write(tmp_path / "x", arrow, image=pa.array(rows, STRUCT), label=[1, 2, 3])
    whole, draw = path.read_bytes(), random.Random(0)
    for number in range(150):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        other = tmp_path / f"y{number}"
        other.write_bytes(data[: draw.randrange(len(data))] if draw.random() < 0.2 else data)
        try:
            records = read(config_of(other, carry={"label": "label"}, damaged="reject"))
        except (DataError, RequestError) as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(record, ImageRecord | BadRecord) for record in records)


def test_a_large_row_group_is_not_read_again_for_every_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pq.write_table(pa.table({"image": [b"%d" % n for n in range(2000)]}), tmp_path / "x")
    decoded = 0
    batches = ParquetTable.batches

    def counting(table: ParquetTable, *arguments: Any) -> Any:
        nonlocal decoded
        for batch in batches(table, *arguments):
            decoded += batch.num_rows
            yield batch

    monkeypatch.setattr(ParquetTable, "batches", counting)
    source = config_of(tmp_path / "x").open()
    units = cut_units(source.list(stride=8), 8)
    assert len(units) > 60
    assert sum(1 for unit in units for _ in source.read(unit, ())) == 2000
    assert decoded <= 2000 + 32

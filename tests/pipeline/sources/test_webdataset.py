"""WebDataset tars as they lie in the wild: every sample is a record or a reject with its reason."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path

import pytest
import webdataset

from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources.units import cut_units
from pipeline.sources.webdataset import WebdatasetConfig


def write_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def config_of(files: object, **fields: object) -> WebdatasetConfig:
    content = {"kind": "webdataset", "files": str(files), **fields}
    return parse(WebdatasetConfig, content, "c.yaml")


def read(config: WebdatasetConfig, batch_size: int = 8) -> list[ImageRecord | BadRecord]:
    source = config.open()
    listing = source.list(stride=batch_size)
    units = cut_units(listing, batch_size)
    return [record for unit in units for record in source.read(unit, listing.features)]


def shown(records: list[ImageRecord | BadRecord]) -> list[object]:
    return [r.data if isinstance(r, ImageRecord) else f"{r.key}: {r.reason}" for r in records]


def test_members_come_as_they_come_in_the_wild(tmp_path: Path):
    path = write_tar(
        tmp_path / "x.tar",
        ("./a.b/0.JPG", b"0"),
        ("./a.b/0.Txt", b"caption"),
        ("__metadata__", b"{}"),
        ("1.jpeg", b"1"),
        ("2.seg.png", b"mask"),
        ("2.png", b"2"),
        ("._2.png", b"junk of a Mac"),
        ("README", b"text"),
        ("3.txt", b"a caption alone"),
        ("4.jpg", b"4"),
        ("4.png", b"4 again"),
        ("5.jpg", b"5"),
        ("5.JPG", b"5 again"),
        ("../6.jpg", b"6"),
        ("/7.jpg", b"7"),
        ("8.webp", b"8"),
    )
    records = read(config_of(path))
    assert shown(records) == [
        b"0",
        b"1",
        b"2",
        "3: expected an image in the sample, got .txt",
        "4: expected one image in the sample, got .jpg and .png",
        "5: expected each suffix once in a sample, got '.jpg' twice",
        "../6: expected a name inside the archive, got an absolute one or '..'",
        "/7: expected a name inside the archive, got an absolute one or '..'",
        b"8",
    ]
    assert records[0].key == "./a.b/0"
    assert config_of(path).open().list().left_out == {
        "hidden": 1,
        "members of archives that belong to no sample": 2,
    }
    assert shown(read(config_of(path, image="png")))[4] == b"4 again"
    assert shown(read(config_of(path, image=["seg.png", "jpg"])))[2] == b"mask"


def test_samples_are_those_of_the_library(tmp_path: Path):
    with webdataset.ShardWriter(f"{tmp_path}/%05d.tar", maxcount=7, verbose=0) as writer:
        for number in range(30):
            sample = {"__key__": f"a/{number:03d}", "jpg": b"%d" % number, "cls": number % 3}
            writer.write({**sample, "json": {"size": {"width": number}}, "txt": f"text {number}"})
    carry = {"label": "cls", "text": "txt", "width": "json.size.width"}
    found = read(config_of(f"{tmp_path}/{{00000..00004}}.tar", carry=carry))
    library = webdataset.WebDataset(f"{tmp_path}/{{00000..00004}}.tar", shardshuffle=False)
    expected = [
        ImageRecord(s["__key__"], s["jpg"], (int(s["cls"]), s["txt"], int(s["jpg"])))
        for s in library
    ]
    assert found == expected and len(found) == 30
    assert config_of(f"{tmp_path}/*.tar", carry=carry).open().list().features == (
        CarriedFeature("label", "cls", "int64"),
        CarriedFeature("text", "txt", "bytes"),
        CarriedFeature("width", "json.size.width", "int64"),
    )


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_are_read_in_any_order(tmp_path: Path, compress):
    members = [
        (f"{n:03d}.{suffix}", b"%d" % n * 2000) for n in range(50) for suffix in ("jpg", "x")
    ]
    plain = write_tar(tmp_path / "x.tar", *members)
    packed = tmp_path / "y.tar"
    packed.write_bytes(compress(plain.read_bytes()))
    source = config_of(packed).open()
    listing = source.list(stride=8)
    units = cut_units(listing, 8)
    expected = read(config_of(plain))
    for order in (units, units[::-1], units[::2] + units[1::2]):
        found = {unit.name: list(source.read(unit, ())) for unit in order}
        assert [record for unit in units for record in found[unit.name]] == expected
    packed.write_bytes(compress(plain.read_bytes())[:-20])
    with pytest.raises(DataError, match=r"y\.tar: sample \d+: .*Copy it again, or set source\.dam"):
        read(config_of(packed))
    if compress is not bz2.compress:  # which packs all of it in one block
        *records, last = read(config_of(packed, damaged="reject"))
        assert records == expected[: len(records)] != [] and isinstance(last, BadRecord)


def test_a_tar_cut_short_loses_no_whole_sample(tmp_path: Path):
    members = [(f"{n}.{suffix}", b"%d" % n * 1000) for n in range(9) for suffix in ("jpg", "txt")]
    data = write_tar(tmp_path / "x.tar", *members).read_bytes()
    cut = tmp_path / "cut.tar"
    # In the image of the sixth sample: headers and contents take 3 blocks each.
    cut.write_bytes(data[: 5 * 6 * 512 + 512 + 100])
    with pytest.raises(DataError) as error:
        read(config_of(cut))
    assert str(error.value).startswith(
        f"{cut}: sample 5: byte 15,872: expected 1,000 bytes of '5.jpg', got 100, the end of the f"
    )
    records = read(config_of(cut, damaged="reject"))
    assert [record.key for record in records] == ["0", "1", "2", "3", "4", "cut.tar__5"]
    assert "byte 15,872: expected 1,000 bytes of '5.jpg'" in records[-1].reason
    cut.write_bytes(data[: 4 * 6 * 512])
    assert [record.key for record in read(config_of(cut))] == ["0", "1", "2", "3"]
    cut.write_bytes(data[: 4 * 6 * 512 + 5] + b"?" + data[4 * 6 * 512 + 6 :])
    with pytest.raises(DataError, match="sample 4: byte 12,288: expected the header of a member"):
        read(config_of(cut))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"",
            "compressed by gzip, bzip2 or xz, got an empty file",
        ),
        (b"PAR1" + bytes(600), "got Parquet. Leave it out of source.files."),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "got Zstandard"),
        (b"some text\n" * 100, "got text. Leave it out of source.files."),
    ],
)
def test_what_is_no_tar_is_named(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(DataError) as error:
        read(config_of(tmp_path / "x.tar"))
    assert str(error.value).startswith(f"{tmp_path}/x.tar: ") and message in str(error.value)


def test_carried_values_are_typed_and_may_have_defaults(tmp_path: Path):
    path = write_tar(
        tmp_path / "x.tar",
        *(("0.jpg", b"0"), ("0.cls", b" 7\n"), ("0.json", b'{"w": 3, "s": 0.5, "ok": true}')),
        *(("1.jpg", b"1"), ("1.cls", b"cat"), ("1.json", b'{"w": 3.5, "s": 2, "ok": false}')),
        *(("2.jpg", b"2"), ("2.cls", b"-1"), ("2.json", b'{"w": null, "s": "big"}')),
        *(("3.jpg", b"3"), ("3.cls", b"1"), ("3.json", b"{")),
        *(("4.jpg", b"4"), ("4.json", b'{"w": 36893488147419103232, "s": 1e99}')),
    )

    def carried(carry: dict[str, object]) -> list[object]:
        records = read(config_of(path, carry=carry))
        return [r.carried if isinstance(r, ImageRecord) else r.reason for r in records]

    assert carried({"label": "cls"}) == [
        (7,),
        "expected int64 in 'cls', got \"b'cat'\"",
        (-1,),
        (1,),
        "expected a value of 'cls', got none",
    ]
    assert carried({"label": {"field": "cls", "type": "bytes", "default": "?"}}) == [
        *((b" 7\n",), (b"cat",), (b"-1",), (b"1",)),
        (b"?",),
    ]
    assert carried({"ok": {"field": "json.ok", "default": -1}})[:3] == [(1,), (0,), (-1,)]
    assert carried({"w": {"field": "json.w", "default": 0}}) == [
        *((3.0,), (3.5,), (0.0,)),
        "expected JSON in the member .json, got other bytes",
        (2.0**65,),
    ]
    assert carried({"s": {"field": "json.s", "default": ""}})[:3] == [
        "expected bytes in 'json.s', got '0.5'",
        "expected bytes in 'json.s', got '2'",
        (b"big",),
    ]
    with pytest.raises(RequestError, match=r"source\.carry\.x: expected a field 'json\.none'"):
        carried({"x": "json.none"})


def test_equal_keys_are_found_and_numbers_help(tmp_path: Path):
    for shard in "ab":
        write_tar(tmp_path / f"{shard}.tar", ("0.jpg", shard.encode()))
    with pytest.raises(DataError, match=r"^0: expected each key once, got it in .*a\.tar \("):
        read(config_of(f"{tmp_path}/*.tar"))
    records = read(config_of(f"{tmp_path}/*.tar", key="number"))
    assert [(record.key, record.data) for record in records] == [
        ("a.tar__0", b"a"),
        ("b.tar__0", b"b"),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": ".jpg"}, "image: expected suffixes such as 'jpg', without a dot, got '.jpg'"),
        ({"image": []}, "image: "),
        ({"key": "json.id"}, "key: expected 'name' or 'number', got 'json.id'"),
    ],
)
def test_a_mistake_in_its_config_is_one_line(fields: dict[str, object], message: str):
    with pytest.raises(RequestError) as error:
        config_of("x.tar", **fields)
    assert str(error.value).startswith(f"c.yaml.{message}") and "\n" not in str(error.value)


def test_the_output_of_img2dataset_is_read_with_its_metadata(tmp_path: Path):
    # Its layout: keys of 9 digits, a .json for each sample, sidecars beside the tars, and the
    # samples whose download failed without an image.
    for shard in range(2):
        with webdataset.TarWriter(f"{tmp_path}/{shard:05d}.tar") as tar:
            for number in range(5):
                status = "failed_to_download" if number == 3 else "success"
                meta = {"caption": f"text {number}", "width": 640 + number, "status": status}
                sample = {"__key__": f"{shard:05d}{number:04d}", "json": json.dumps(meta).encode()}
                if status == "success":
                    sample |= {"jpg": b"%d" % number, "txt": meta["caption"].encode()}
                tar.write(sample)
        (tmp_path / f"{shard:05d}.parquet").write_bytes(b"PAR1")
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    carry = {"caption": {"field": "txt", "default": ""}, "width": "json.width"}
    config = config_of(f"{tmp_path}/{{00000..00001}}.tar", carry=carry)
    records = read(config)
    assert [record.key for record in records] == [f"0000{n // 5}000{n % 5}" for n in range(10)]
    assert shown(records)[3] == "000000003: expected an image in the sample, got .json"
    assert records[9] == ImageRecord("000010004", b"4", (b"text 4", 644))
    # A shard whose writer was killed ends in the middle of a member.
    last = tmp_path / "00001.tar"
    with tarfile.open(last) as tar:
        cut = tar.getmembers()[7].offset + 100
    last.write_bytes(last.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"00001\.tar: sample \d: byte "):
        read(config)
    kept = read(config.model_copy(update={"damaged": "reject"}))
    assert kept[:5] == records[:5] and kept[-1].key.startswith("00001.tar__")

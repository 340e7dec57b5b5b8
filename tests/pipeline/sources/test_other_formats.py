"""A file of another format is named, whatever its name is, and never counted as a reject."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError
from pipeline.sources.other_formats import other_format
from pipeline.sources.tfrecord import TfrecordConfig

EXAMPLE = Example()
EXAMPLE.features.feature["image"].bytes_list.value.append(b"data")
RECORDS = frame(EXAMPLE.SerializeToString()) * 3


def tar_of(kind: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name in ("000001.jpg", "000001.cls"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def tar_without_ustar() -> bytes:
    """A header as tar wrote it before POSIX: no name of a format, but the right checksum."""
    header = bytearray(tar_of(tarfile.USTAR_FORMAT)[:512])
    header[257:] = b"\0" * 255
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def zip_of() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", b"")
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def image(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7)).save(file, name)
    return file.getvalue()


def database(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "data.db")
    connection.execute("create table images (data blob)")
    connection.close()
    return (folder / "data.db").read_bytes()


def array_record(folder: Path) -> bytes:
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(folder / "a.array_record"), "group_size:1")
    writer.write(b"abc")
    writer.close()
    return (folder / "a.array_record").read_bytes()


FORMATS: dict[str, tuple[bytes | Callable[[Path], bytes], str]] = {
    "gzip": (gzip.compress(RECORDS), "GZIP. Unpack it first."),
    "zlib": (zlib.compress(RECORDS), "ZLIB. Unpack it first."),
    "zlib of level 1": (zlib.compress(RECORDS, 1), "ZLIB. Unpack it first."),
    "zlib of a small window": (zlib.compress(RECORDS, 9, 9), "ZLIB. Unpack it first."),
    "bzip2": (bz2.compress(RECORDS), "bzip2. Unpack it first."),
    "xz": (lzma.compress(RECORDS), "xz. Unpack it first."),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x00", "Zstandard. Unpack it first."),
    "tar": (tar_of(tarfile.USTAR_FORMAT), "a tar archive. Unpack it and use source.kind image_"),
    "GNU tar": (tar_of(tarfile.GNU_FORMAT), "a tar archive. Unpack it"),
    "PAX tar": (tar_of(tarfile.PAX_FORMAT), "a tar archive. Unpack it"),
    "old tar": (tar_without_ustar(), "a tar archive. Unpack it"),
    "zip": (zip_of(), "a ZIP archive. Unpack it"),
    "Parquet": (b"PAR1\x15\x04\x15\x10" + b"\0" * 90, "Parquet. Write its images as TFRecords"),
    "Arrow file": (b"ARROW1\0\0\xff\xff\xff\xff", "an Arrow file. Write its images"),
    "Arrow stream": (b"\xff\xff\xff\xff\x78\1\0\0" + b"\0" * 60, "an Arrow stream. Write its"),
    "ArrayRecord": (array_record, "ArrayRecord or Riegeli. Write its images"),
    "RecordIO": (b"\x0a\x23\xd7\xce\x48\0\0\0", "an MXNet RecordIO file. Write its images"),
    "LMDB": (b"\0" * 16 + b"\xde\xc0\xef\xbe\1" + b"\0" * 60, "an LMDB database. Write"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0", "HDF5. Write its images as TFRecords"),
    "NumPy": (array(), "a NumPy array. Write its images"),
    "SQLite": (database, "an SQLite database. Write its images"),
    "pickle": (pickle.dumps({"data": 1}), "a Python pickle. Write its images"),
    "old pickle": (pickle.dumps({"data": 1}, 2), "a Python pickle. Write its images"),
    "IDX": (b"\0\0\x08\x03\0\0\x27\x10", "an IDX file, as of MNIST. Write its images"),
    "JPEG": (image("JPEG"), "a file of JPEG. Use source.kind image_folder"),
    "PNG": (image("PNG"), "a file of PNG. Use source.kind image_folder"),
    "WebP": (image("WEBP"), "a file of WEBP. Use source.kind image_folder"),
    "BMP": (image("BMP"), "a file of BMP. Use source.kind image_folder"),
    "JSON": (json.dumps({"count": 3}).encode(), "text. Leave it out of source.files."),
    "text": ("fran\u00e7ais\n".encode() * 60, "text. Leave it out of source.files."),
    "LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
        "a pointer of Git LFS. Fetch the file itself with 'git lfs pull'.",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damaged", ["refuse", "reject"])
def test_another_format_among_tfrecords_is_named(tmp_path: Path, name: str, damaged: str):
    data, found = FORMATS[name]
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "0.tfrecord").write_bytes(RECORDS)
    (inputs / "1.tfrecord").write_bytes(data if isinstance(data, bytes) else data(tmp_path))
    config = TfrecordConfig.model_validate(
        {"kind": "tfrecord", "files": f"{inputs}/*", "image": "image", "damaged": damaged}
    )
    with pytest.raises(DataError) as error:
        config.open().list()
    kind = "an uncompressed" if "Unpack it first" in found else "a"
    assert str(error.value).startswith(
        f"{inputs}/1.tfrecord: expected {kind} TFRecord, got {found}"
    )
    assert "reject" not in str(error.value) and "\n" not in str(error.value)


def test_a_record_whose_length_looks_like_another_format_is_read(tmp_path: Path):
    # As a little-endian number, the first bytes of a GZIP file are 35,615.
    example = Example()
    values = example.features.feature["image"].bytes_list.value
    values.append(bytes(35_000))
    values[0] += bytes(0x8B1F - example.ByteSize())
    data = example.SerializeToString()
    assert frame(data).startswith(b"\x1f\x8b")
    (tmp_path / "a.tfrecord").write_bytes(frame(data))
    config = TfrecordConfig(kind="tfrecord", files=f"{tmp_path}/a.tfrecord", image="image")
    assert config.open().list().num_records == 1


def test_damage_is_not_taken_for_another_format():
    random = np.random.default_rng(7)
    for _ in range(2000):
        assert other_format(random.bytes(512)) is None
    for at in range(12):
        damaged = bytearray(RECORDS)
        damaged[at] ^= 1
        assert other_format(bytes(damaged)) is None
    assert other_format(b"") is None
    assert other_format(bytes(512)) is None


def test_a_file_without_one_readable_record_is_not_offered_as_a_reject(tmp_path: Path):
    (tmp_path / "a.tfrecord").write_bytes(RECORDS)
    (tmp_path / "b.tfrecord").write_bytes(bytes(100))
    config = TfrecordConfig(kind="tfrecord", files=f"{tmp_path}/*", image="image")
    with pytest.raises(DataError) as error:
        config.open().list()
    assert str(error.value) == (
        f"{tmp_path}/b.tfrecord: record 0: expected a TFRecord, got a damaged header: what follows "
        "byte 0 of 100 cannot be read. Copy it again, or leave it out of source.files if it is no "
        "TFRecord."
    )

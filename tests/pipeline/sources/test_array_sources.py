"""Arrays of pixels: the tokens are those of the same images as PNG files in a folder."""

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.jobs import job_fields
from PIL import Image

from fsq.dataset import TokenSource
from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.job.config import TokenizeConfig
from pipeline.run import retry_rejects, tokenize
from pipeline.sources.idx import IdxConfig
from pipeline.sources.npy import NpyConfig
from pipeline.sources.units import cut_units

IMAGES = np.random.default_rng(0).integers(0, 256, (21, 18, 20, 3), np.uint8)
LABELS = np.arange(21) % 3


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def npy(folder: Path, images: np.ndarray = IMAGES) -> dict[str, Any]:
    np.save(folder / "images.npy", images)
    np.save(folder / "images_labels.npy", LABELS[:, None].astype(np.int32))
    carry = {"label": "{stem}_labels.npy"}
    return {"kind": "npy", "files": f"{folder}/images.npy", "carry": carry}


def npz(folder: Path, images: np.ndarray = IMAGES, save: Any = np.savez) -> dict[str, Any]:
    save(folder / "x.npz", images=images, labels=LABELS.astype(np.uint8))
    fields = {"image": "images", "carry": {"label": "labels"}}
    return {"kind": "npy", "files": f"{folder}/x.npz", **fields}


def packed_npz(folder: Path, images: np.ndarray = IMAGES) -> dict[str, Any]:
    return npz(folder, images, np.savez_compressed)


def idx_files(folder: Path, images: np.ndarray = IMAGES) -> dict[str, Any]:
    (folder / "train-images.idx3.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels.idx1").write_bytes(idx(LABELS))
    carry = {"label": "train-labels.idx1"}
    return {"kind": "idx", "files": f"{folder}/train-images*", "carry": carry}


def len_of(images: np.ndarray) -> str:
    return str(images.shape[3:])


WRITERS = [npy, npz, packed_npz, idx_files]


def config_of(fields: dict[str, Any], **changes: object) -> NpyConfig | IdxConfig:
    model = NpyConfig if fields["kind"] == "npy" else IdxConfig
    return parse(model, {**fields, **changes}, "c.yaml")


def read(config: NpyConfig | IdxConfig, batch_size: int = 8) -> list[ImageRecord | BadRecord]:
    source = config.open()
    listing = source.list()
    units = cut_units(listing, batch_size)
    found = {unit.name: list(source.read(unit, listing.features)) for unit in reversed(units)}
    return [record for unit in units for record in found[unit.name]]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "images", [IMAGES, IMAGES[..., :1], IMAGES[..., 0]], ids=["colour", "grey", "flat"]
)
def test_every_image_is_read_with_its_label(tmp_path: Path, write, images: np.ndarray):
    records = read(config_of(write(tmp_path, images)))
    assert len(records) == len(images)
    for number, record in enumerate(records):
        assert isinstance(record, ImageRecord) and isinstance(record.data, np.ndarray)
        np.testing.assert_array_equal(record.data, images[number])
        assert record.carried == (number % 3,)
        assert record.key.endswith(f"__{number}")


@pytest.mark.parametrize("write", WRITERS)
def test_the_tokens_are_those_of_the_files(write, tmp_path: Path, tokenizer_directory: Path):
    folder = tmp_path / "in"
    for number, pixels in enumerate(IMAGES):
        path = folder / str(LABELS[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    tokens = {}
    for name, source in (("folder", folder), ("array", write(tmp_path))):
        output = {"formats": ["tfrecord", "array_record"]}
        content = job_fields(source, tokenizer_directory, tmp_path / name, output=output)
        directory = tokenize(parse(TokenizeConfig, content, "job.yaml")).directory
        tokens[name] = {
            int(record["key"].decode().split("/")[-1].split("__")[-1].removesuffix(".png")): (
                record["tokens"].tolist(),
                record["label"],
            )
            for record in TokenSource(directory)
        }
    assert tokens["array"] == tokens["folder"] and len(tokens["folder"]) == len(IMAGES)


def test_grey_pixels_become_colour_as_those_of_a_file(tmp_path: Path, tokenizer_directory: Path):
    content = job_fields(npy(tmp_path, IMAGES[..., 0]), tokenizer_directory, tmp_path / "out")
    strict = {**content["output"], "directory": str(tmp_path / "strict")}
    changed = {**content, "output": strict, "decode": {"max_pixels": 359}}
    with pytest.raises(DataError, match="expected at most 359 pixels, got 20 x 18"):
        tokenize(parse(TokenizeConfig, changed, "job.yaml"))
    config = parse(TokenizeConfig, content, "job.yaml")
    assert tokenize(config).records == len(IMAGES)
    assert retry_rejects(str(tmp_path / "out"), config).images_retried == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            IMAGES / 255,
            "got float64 [21, 18, 20, 3]. Convert it. A float array in [0, 1]: ",
        ),
        (
            IMAGES.transpose(0, 3, 1, 2).copy(),
            "channels first. Save np.transpose(x, (0, 2,",
        ),
        (np.asfortranarray(IMAGES), "in Fortran order. Save np.ascontiguousarray(x)."),
        (IMAGES[0, 0], "got uint8 [20, 3]. Save it in this shape, with 1 or 3 channels."),
        (np.dstack([IMAGES[0]] * 2)[None], "got uint8 [1, 18, 20, 6]. Save it in this shape"),
        (IMAGES > 5, "got bool [21, 18, 20, 3]. Convert it."),
        (
            np.array([{"a": 1}]),
            "got one of Python objects, which are not loaded",
        ),
        (np.uint8(3), "expected an array of records, got a single value"),
    ],
)
def test_another_array_is_named_for_what_it_is(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises((RequestError, DataError)) as error:
        read(config_of({"kind": "npy", "files": f"{tmp_path}/x.npy"}))
    assert message in str(error.value) and str(error.value).startswith(f"{tmp_path}/x.npy: ")


def test_a_file_cut_short_gives_the_images_that_are_whole(tmp_path: Path):
    fields = npy(tmp_path)
    data = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(data[: -2 * IMAGES[0].size - 5])
    with pytest.raises(DataError, match=r"images\.npy: expected 21 images as its header says, "):
        read(config_of(fields))
    records = read(config_of(fields, damaged="reject"))
    assert [type(record) for record in records] == [ImageRecord] * 18 + [BadRecord] * 3
    (tmp_path / "images.npy").write_bytes(data + b"more")
    with pytest.raises(DataError, match="expected 21 images as its header says, got 4 bytes more"):
        read(config_of(fields))
    (tmp_path / "images.npy").write_bytes(data[:50])
    with pytest.raises(DataError, match=r"images\.npy: expected an array that can be read, got: "):
        read(config_of(fields))


@pytest.mark.parametrize("write", [packed_npz, idx_files])
def test_damaged_compression_is_a_line_or_rejects(tmp_path: Path, write):
    fields = write(tmp_path)
    (path,) = [path for path in tmp_path.iterdir() if path.suffix in (".npz", ".gz")]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{path.name}: expected "):
        read(config_of(fields, carry={}))
    records = read(config_of(fields, carry={}, damaged="reject"))
    # Which of them are wrong is not known.
    assert len(records) == 21 and all(isinstance(record, BadRecord) for record in records)


def test_labels_have_names_and_must_fit_them(tmp_path: Path):
    fields = npz(tmp_path)
    listing = config_of(fields, classes=["a", "b", "c"]).open().list()
    assert listing.features == (CarriedFeature("label", "labels", "int64", ("a", "b", "c")),)
    with pytest.raises(RequestError, match=r"expected labels in \[0, 2\), .*got uint8 from 0 to 2"):
        config_of(fields, classes=["a", "b"]).open().list()
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS[:-1])
    with pytest.raises(RequestError, match=r"a value for each of the 21 images of .*got \[20\]"):
        config_of(fields).open().list()
    with pytest.raises(DataError, match=r"expected an array 'none', found images, labels\. N"):
        config_of(fields, image="none").open().list()
    fields = npy(tmp_path)
    with pytest.raises(RequestError, match=r"source\.carry\.label: expected an array in .*none"):
        config_of(fields, carry={"label": "none.npy"}).open().list()


def test_what_is_no_array_is_named(tmp_path: Path):
    for data, found in ((b"", "an empty file"), (b"some text", "other bytes")):
        (tmp_path / "x.npy").write_bytes(data)
        with pytest.raises(DataError, match=rf"expected an array \(.*\), got {found}"):
            config_of({"kind": "npy", "files": f"{tmp_path}/x.npy"}).open().list()
    empty = io.BytesIO()
    np.save(empty, IMAGES[:0])
    (tmp_path / "x.npy").write_bytes(empty.getvalue())
    with pytest.raises(DataError, match=r"expected images, got none in 1 file\(s\)"):
        config_of({"kind": "npy", "files": f"{tmp_path}/x.npy"}).open().list()

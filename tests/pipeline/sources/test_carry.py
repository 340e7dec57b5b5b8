"""Carried fields: their types, and the value that stands for one that a record lacks."""

from pathlib import Path

import pytest

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.validation import parse
from pipeline.core.records import ImageRecord
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.units import cut_units


def config_of(folder: Path, carry: object) -> TfrecordConfig:
    content = {"kind": "tfrecord", "files": f"{folder}/x", "image": "image", "carry": carry}
    return parse(TfrecordConfig, content, "c.yaml")


def write(folder: Path, *captions: str | None) -> None:
    frames = []
    for number, caption in enumerate(captions):
        example = Example()
        example.features.feature["image"].bytes_list.value.append(b"image")
        example.features.feature["number"].int64_list.value.append(number)
        if caption is not None:
            example.features.feature["caption"].bytes_list.value.append(caption.encode())
        frames.append(frame(example.SerializeToString()))
    (folder / "x").write_bytes(b"".join(frames))


def carried_of(config: TfrecordConfig) -> list[object]:
    source = config.open()
    listing = source.list()
    (unit,) = cut_units(listing, 8)
    records = source.read(unit, listing.features)
    return [r.carried if isinstance(r, ImageRecord) else r.reason for r in records]


def test_a_record_without_an_optional_field_gets_the_default(tmp_path: Path):
    write(tmp_path, "a cat", None, "")
    carry = {"text": {"field": "caption", "default": "none"}, "n": "number"}
    assert carried_of(config_of(tmp_path, carry)) == [(b"a cat", 0), (b"none", 1), (b"", 2)]
    reason = "expected a field 'caption', got none"
    assert carried_of(config_of(tmp_path, {"text": "caption"})) == [(b"a cat",), reason, (b"",)]


def test_a_default_is_no_excuse_for_another_type(tmp_path: Path):
    write(tmp_path, "a cat")
    carry = {"text": {"field": "number", "default": "none", "type": "bytes"}}
    with pytest.raises(RequestError, match="expected a field of type 'bytes', got 'int64' in"):
        config_of(tmp_path, carry).open().list()


def test_a_field_that_no_record_has_is_of_the_type_of_its_default(tmp_path: Path):
    write(tmp_path, None, None)
    carry = {
        "text": {"field": "caption", "default": ""},
        "weight": {"field": "weight", "default": 1, "type": "float32"},
        "label": {"field": "cls", "default": -1},
    }
    config = config_of(tmp_path, carry)
    assert carried_of(config) == [(b"", 1.0, -1)] * 2
    assert config.open().list().features == (
        CarriedFeature("text", "caption", "bytes", default=""),
        CarriedFeature("weight", "weight", "float32", default=1.0),
        CarriedFeature("label", "cls", "int64", default=-1),
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            {"field": "number", "default": ""},
            "expected an integer as the default of 'numb",
        ),
        (
            {"field": "number", "default": 0.5},
            "expected an integer as the default of 'numb",
        ),
        (
            {"field": "number", "default": 2**63},
            "expected an integer as the default of 'numb",
        ),
        ({"field": "caption", "default": 0}, "expected text as the default of 'caption', which is"),
    ],
)
def test_a_default_is_of_the_type_of_its_field(tmp_path: Path, field: object, message: str):
    write(tmp_path, "a cat")
    with pytest.raises(RequestError, match=r"^source\.carry\.x: " + message):
        config_of(tmp_path, {"x": field}).open().list()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"field": "a", "default": "b", "type": "int64"}, "expected an integer as the default of"),
        ({"field": "a", "type": "string"}, "expected 'int64', 'float32' or 'bytes', got 'string'"),
        ({"field": "a", "default": float("nan")}, "expected a finite number"),
        ({"fields": "a"}, r"unknown key \(did you mean 'field'\?\)"),
        (3, "expected a mapping of keys, got 3"),
    ],
)
def test_a_mistake_in_a_carried_field_is_one_line(tmp_path: Path, field: object, message: str):
    with pytest.raises(RequestError, match=r"^c\.yaml\.carry\.x[^\n]*" + message):
        config_of(tmp_path, {"x": field})


def test_a_name_alone_is_written_as_it_was_read(tmp_path: Path):
    carry = {"label": "cls", "text": {"field": "caption", "default": ""}}
    assert config_of(tmp_path, carry).model_dump(mode="json")["carry"] == carry

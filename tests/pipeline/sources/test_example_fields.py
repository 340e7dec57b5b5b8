"""A field that some records lack is no mistake in the config; equal keys are found early."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.units import cut_units

Limit = Callable[..., None]


def write_records(path: Path, *records: dict[str, bytes | int | float]) -> None:
    frames = []
    for fields in records:
        example = Example()
        for name, value in fields.items():
            feature = example.features.feature[name]
            match value:
                case bytes():
                    feature.bytes_list.value.append(value)
                case int():
                    feature.int64_list.value.append(value)
                case float():
                    feature.float_list.value.append(value)
        frames.append(frame(example.SerializeToString()))
    path.write_bytes(b"".join(frames))


def config_of(folder: Path, **fields: object) -> TfrecordConfig:
    return TfrecordConfig.model_validate(
        {"kind": "tfrecord", "files": f"{folder}/*", "image": "image"} | fields
    )


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Sets how many files, records or bytes are looked at."""

    def limit(**limits: int) -> None:
        for name, value in limits.items():
            monkeypatch.setattr(f"pipeline.sources.example_fields.MAX_{name.upper()}", value)

    return limit


def test_a_field_that_the_first_records_lack_is_carried_where_it_is(tmp_path: Path):
    write_records(tmp_path / "a", {"image": b"0"}, {"image": b"1"})
    write_records(tmp_path / "b", {"image": b"2"}, {"image": b"3", "caption": b"three"})
    source = config_of(tmp_path, carry={"text": "caption"}).open()
    listing = source.list()
    assert listing.features == (CarriedFeature("text", "caption", "bytes"),)
    records = [r for unit in cut_units(listing, 8) for r in source.read(unit, listing.features)]
    reason = "expected a field 'caption', got none"
    assert records == [
        BadRecord("a__0", reason),
        BadRecord("a__1", reason),
        BadRecord("b__0", reason),
        ImageRecord("b__1", b"3", (b"three",)),
    ]


def test_the_type_of_a_field_is_that_of_the_first_record_that_has_it(tmp_path: Path):
    write_records(
        tmp_path / "a", {"image": b"0"}, {"image": b"1", "n": 1}, {"image": b"2", "n": 2.0}
    )
    listing = config_of(tmp_path, carry={"n": "n"}).open().list()
    assert listing.features == (CarriedFeature("n", "n", "int64"),)


def test_a_misspelt_field_is_refused_with_the_one_that_was_meant(tmp_path: Path):
    write_records(tmp_path / "a", {"image": b"0", "label": 1}, {"image": b"1", "caption": b""})
    with pytest.raises(RequestError) as error:
        config_of(tmp_path, carry={"label": "lable"}).open().list()
    assert str(error.value) == (
        f"{tmp_path}/a: expected a field 'lable', got caption, image, label in the 2 records "
        "looked at. Did you mean 'label'? Correct the name in the config."
    )
    with pytest.raises(RequestError, match=r"expected a field 'jpg', got caption, image, label in"):
        config_of(tmp_path, image="jpg").open().list()


def test_what_is_looked_at_is_spread_over_the_files_and_bounded(tmp_path: Path, limit: Limit):
    for name in "abc":
        write_records(tmp_path / name, *[{"image": b"0" * 100}] * 9)
    write_records(tmp_path / "c", *[{"image": b"0" * 100}] * 2, {"image": b"", "caption": b""})
    config = config_of(tmp_path, carry={"caption": "caption"})
    assert len(config.open().list().features) == 1
    message = r"expected a field 'caption', got image in the {} records looked at\."
    for limits, count in (
        ({"records": 6}, 6),
        ({"records": 9, "bytes": 3 * 150}, 6),
        ({"records": 9, "bytes": 1}, 3),
        ({"records": 9, "bytes": 2**20, "files": 2}, 10),
    ):
        limit(**limits)
        with pytest.raises(RequestError, match=message.format(count)):
            config.open().list()


def test_a_key_that_comes_in_two_files_is_found_before_anything_is_encoded(tmp_path: Path):
    write_records(tmp_path / "a", {"image": b"0", "key": b"k0"}, {"image": b"1", "key": b"k1"})
    write_records(tmp_path / "b", {"image": b"2"}, {"image": b"3", "key": b"k1"})
    with pytest.raises(DataError) as error:
        config_of(tmp_path, key="key").open().list()
    assert str(error.value) == (
        f"k1: expected each key once, got it in {tmp_path}/a (record 1) and in {tmp_path}/b "
        "(record 1). Rename one of the two, or remove it. If the field of source.key is not meant "
        "to differ, name another, or leave source.key out."
    )
    assert config_of(tmp_path).open().list().num_records == 4


def test_a_copy_of_a_file_is_found_by_its_first_key(tmp_path: Path, limit: Limit):
    limit(records=1)
    for name in ("a", "a-copy"):
        write_records(tmp_path / name, {"image": b"0", "key": b"k0"}, {"image": b"1", "key": b"k1"})
    with pytest.raises(
        DataError, match=r"^k0: expected each key once, got it in .*/a \(record 0\)"
    ):
        config_of(tmp_path, key="key").open().list()

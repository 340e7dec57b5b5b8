"""Records are read back as they were written, one by one and many at once."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq.dataset.example.decoder import Field, OtherRecordError, parse_record, parse_records
from fsq.dataset.example.encoder import ExampleWriter
from fsq.dataset.records import CarriedFeature
from fsq.images.crop import CropBox
from fsq.images.view import View

CARRIED = (
    CarriedFeature("label", "label", "int64"),
    CarriedFeature("a_caption", "caption", "bytes"),
    CarriedFeature("weight", "weight", "float32"),
)
VOCABULARIES = {60: "uint8", 1000: "uint16", 2**20: "int32", 2**40: "int64"}


def fields_of(token_field: Field) -> list[Field]:
    return [
        token_field,
        Field("key", "bytes", None),
        Field("view", "bytes", None),
        Field("crop", "int64", 4),
        Field("flip", "int64"),
        Field("source_size", "int64", 2),
        Field("label", "int64"),
        Field("a_caption", "bytes", None),
        Field("weight", "float32"),
    ]


def join(records: list[bytes]) -> tuple[bytes, np.ndarray, np.ndarray]:
    ends = np.cumsum([len(record) for record in records])
    return b"".join(records), ends - [len(record) for record in records], ends


records = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=200),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=300),
        st.floats(width=32, allow_nan=False),
        st.integers(0, 2**40),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
@pytest.mark.parametrize("token_format", ["bytes", "int64_list"])
@settings(deadline=None, max_examples=40)
@given(rows=records, seed=st.integers(0, 2**32 - 1))
def test_what_is_parsed_is_what_was_written(vocab_size, token_format, rows, seed):
    tokens = np.random.default_rng(seed).integers(0, vocab_size, (len(rows), 70))
    writer = ExampleWriter(vocab_size, CARRIED, token_format)
    values = writer.tokens_to_values(tokens)
    written = [
        writer.serialize(
            value,
            key.encode(),
            View("center", CropBox(0, 7, edge, 2 * edge), flip),
            (label, caption, weight),
        )
        for value, (key, label, caption, weight, edge, flip) in zip(values, rows, strict=True)
    ]
    dtype = np.dtype(VOCABULARIES[vocab_size])
    field = (
        Field("tokens", "bytes", 70 * dtype.itemsize)
        if token_format == "bytes"
        else Field("tokens", "int64", 70)
    )
    fields = fields_of(field)
    names = [each.name for each in fields]
    found = parse_records(*join(written), fields, names)
    as_stored = found["tokens"].view(dtype) if token_format == "bytes" else found["tokens"]
    np.testing.assert_array_equal(as_stored, tokens)
    assert found["key"] == [row[0].encode() for row in rows]
    assert found["label"].tolist() == [row[1] for row in rows]
    assert found["a_caption"] == [row[2] for row in rows]
    assert found["weight"].tolist() == [row[3] for row in rows]
    assert found["crop"].tolist() == [[0, 7, row[4], 2 * row[4]] for row in rows]
    assert found["flip"].tolist() == [int(row[5]) for row in rows]
    for number, record in enumerate(written):
        one = parse_record(record, fields, names)
        assert list(one) == list(found)
        for name in names:
            expected = found[name][number]
            if isinstance(one[name], bytes):
                assert one[name] == bytes(expected)
            else:
                assert one[name] == np.asarray(expected).tolist()


def test_only_what_is_wanted_is_returned():
    example = tf.train.Example()
    example.features.feature["key"].bytes_list.value.append(b"cat")
    example.features.feature["label"].int64_list.value.append(3)
    data = example.SerializeToString(deterministic=True)
    fields = [Field("label", "int64"), Field("key", "bytes", None)]
    assert parse_record(data, fields, ["label"]) == {"label": 3}
    assert parse_records(*join([data]), fields, ["key"]) == {"key": [b"cat"]}


@pytest.mark.parametrize(
    "fields",
    [
        [Field("key", "bytes", None)],
        [Field("key", "bytes", None), Field("label", "float32")],
        [Field("key", "bytes", None), Field("label", "int64", 2)],
        [Field("key", "bytes", 2), Field("label", "int64")],
        [Field("key", "bytes", None), Field("label", "int64"), Field("zebra", "int64")],
        [Field("key", "bytes", None), Field("lapel", "int64")],
    ],
)
def test_other_fields_than_expected_are_refused(fields: list[Field]):
    example = tf.train.Example()
    example.features.feature["key"].bytes_list.value.append(b"cat")
    example.features.feature["label"].int64_list.value.append(3)
    data = example.SerializeToString(deterministic=True)
    names = [field.name for field in fields]
    with pytest.raises(OtherRecordError):
        parse_record(data, fields, names)
    with pytest.raises(OtherRecordError):
        parse_records(*join([data, data]), fields, names)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_records_are_refused_or_read_and_nothing_else(data: st.DataObject):
    writer = ExampleWriter(1000, CARRIED, "bytes")
    (value,) = writer.tokens_to_values(np.arange(70)[None])
    record = writer.serialize(
        value, b"some key", View("center", CropBox(0, 0, 9, 9), False), (5, b"words", 0.5)
    )
    damaged = bytearray(record)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(len(record) - 9, len(record)))])
    fields = fields_of(Field("tokens", "bytes", 140))
    names = [field.name for field in fields]
    results = []
    for parse in (
        lambda: parse_record(cut, fields, names),
        lambda: parse_records(*join([cut]), fields, names),
    ):
        try:
            results.append(parse())
        except OtherRecordError:
            results.append(None)
    one, many = results
    assert (one is None) == (many is None)

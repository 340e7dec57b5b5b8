"""The TFRecord framing, against TensorFlow's own reader and writer."""

import io

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from fsq.errors import DataError
from pipeline.tfrecord import frame, read_records, scan, unframe

RECORDS = [b"", b"a", b"\0" * 1000, bytes(range(256)) * 40]


@given(st.binary(max_size=300))
def test_unframing_gives_the_record_back(data: bytes):
    assert unframe(frame(data), "here") == data


def test_tensorflow_reads_what_we_write(tmp_path):
    path = tmp_path / "ours.tfrecord"
    path.write_bytes(b"".join(map(frame, RECORDS)))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS


def test_we_read_what_tensorflow_writes(tmp_path):
    path = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    with path.open("rb") as file:
        assert list(read_records(file, str(path))) == RECORDS
        offsets = scan(file, path.stat().st_size, str(path))
    lengths = [len(frame(record)) for record in RECORDS]
    assert offsets.tolist() == [sum(lengths[:n]) for n in range(len(lengths))]


def test_any_flipped_byte_is_found_and_the_record_named():
    data = b"".join(map(frame, [b"first", b"second"]))
    boundary = len(frame(b"first"))
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(DataError, match=f"shard: record {int(position >= boundary)}: "):
            list(read_records(io.BytesIO(damaged), "shard"))


def test_any_cut_inside_a_record_is_found():
    data = b"".join(map(frame, [b"first", b"second"]))
    boundary = len(frame(b"first"))
    for length in range(1, len(data)):
        if length == boundary:
            continue
        with pytest.raises(DataError, match="shard: record"):
            list(read_records(io.BytesIO(data[:length]), "shard"))
        with pytest.raises(DataError, match="shard: record"):
            scan(io.BytesIO(data[:length]), length, "shard")

"""The TFRecord framing, against TensorFlow's own reader and writer."""

import io

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from fsq.dataset.formats.tfrecord import (
    find_strides,
    frame,
    read_frames,
    read_records,
    scan,
    split_frames,
    unframe,
)
from fsq.errors import DataError

RECORDS = [b"", b"a", b"\0" * 1000, bytes(range(256)) * 40]


@given(st.lists(st.binary(max_size=300), max_size=9))
def test_many_frames_are_split_into_their_records(records: list[bytes]):
    data = b"".join(map(frame, records))
    starts, ends = split_frames(data, "here")
    assert [data[start:end] for start, end in zip(starts, ends, strict=True)] == records


@pytest.mark.parametrize("cut", [1, 4, 5, 16, 20])
def test_frames_that_end_early_are_refused(cut: int):
    data = b"".join(map(frame, [b"first", b"second"]))
    with pytest.raises(DataError, match=r"^here: record 8: expected data that matches its check"):
        split_frames(data[:-cut], "here", first=7)


@pytest.mark.parametrize("position", [12, 16, 17, 20])
def test_a_flipped_bit_in_many_frames_is_found(position: int):
    data = bytearray(b"".join(map(frame, [b"first", b"second"])))
    data[len(frame(b"first")) + position] ^= 1
    with pytest.raises(DataError, match=r"^here: record 8: expected data that matches its check"):
        split_frames(bytes(data), "here", first=7)


@pytest.mark.parametrize("piece_bytes", [30, 100, 5000])
def test_strides_are_found_as_a_scan_finds_them(monkeypatch: pytest.MonkeyPatch, piece_bytes: int):
    monkeypatch.setattr("fsq.dataset.formats.tfrecord.PIECE_BYTES", piece_bytes)
    data = b"".join(frame(b"x" * (7 * n % 50)) for n in range(100))
    for stride in (1, 3, 100, 101):
        file = io.BytesIO(data)
        found, expected = (
            find_strides(file, len(data), stride),
            scan(file, len(data), stride=stride),
        )
        assert found.offsets.tolist() == expected.offsets.tolist()
        assert (found.num_records, found.damage) == (expected.num_records, None)
    damage = find_strides(io.BytesIO(data[:-1]), len(data) - 1, 3).damage
    assert damage == f"expected the last record to end at byte {len(data) - 1:,}, got {len(data):,}"


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
        found = scan(file, path.stat().st_size)
        sparse = scan(file, path.stat().st_size, stride=3)
    lengths = [len(frame(record)) for record in RECORDS]
    offsets = [sum(lengths[:n]) for n in range(len(lengths))]
    assert (found.num_records, found.offsets.tolist(), found.damage) == (4, offsets, None)
    assert (sparse.num_records, sparse.offsets.tolist()) == (4, offsets[::3])


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
        found = scan(io.BytesIO(data[:length]), length)
        number = int(length > boundary)
        assert found.num_records == number
        assert found.damage is not None and found.damage.startswith(f"record {number}: expected ")


def test_damaged_data_costs_one_record_and_a_damaged_header_the_rest():
    frames = [frame(b"first"), frame(b"second"), frame(b"third")]
    damaged = bytearray(b"".join(frames))
    damaged[len(frames[0]) + 12] ^= 1
    assert list(read_frames(io.BytesIO(damaged), "shard")) == [b"first", None, b"third"]
    damaged[len(frames[0])] ^= 1
    with pytest.raises(DataError, match="shard: record 8: expected a TFRecord, got a damaged head"):
        list(read_frames(io.BytesIO(damaged), "shard", first=7))

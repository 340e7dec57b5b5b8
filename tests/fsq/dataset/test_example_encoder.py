"""Our tf.train.Example bytes are protobuf's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from fsq.dataset.example.encoder import ExampleWriter
from fsq.dataset.records import CarriedFeature
from fsq.images.crop import CropBox
from fsq.images.view import View

FEATURES = (
    CarriedFeature("label", "label", "int64"),
    CarriedFeature("zoom", "zoom", "float32"),
    CarriedFeature("caption", "caption", "bytes"),
)


@settings(deadline=None)
@given(
    tokens=st.lists(st.integers(0, 999), min_size=1, max_size=300),
    key=st.binary(max_size=200),
    crop=st.tuples(*[st.integers(0, 2**31)] * 4),
    flip=st.booleans(),
    label=st.integers(-(2**63), 2**63 - 1),
    zoom=st.floats(width=32),
    caption=st.binary(max_size=20_000),
    token_format=st.sampled_from(["bytes", "int64_list"]),
)
def test_a_record_is_byte_for_byte_what_protobuf_writes(
    tokens, key, crop, flip, label, zoom, caption, token_format
):
    view = View("center", CropBox(*crop), flip, source_size=(533, 400))
    writer = ExampleWriter(1000, FEATURES, token_format)
    (value,) = writer.tokens_to_values(np.array([tokens]))
    example = example_pb2.Example()
    feature = example.features.feature
    if token_format == "bytes":
        feature["tokens"].bytes_list.value.append(np.array(tokens, "<u2").tobytes())
    else:
        feature["tokens"].int64_list.value.extend(tokens)
    feature["key"].bytes_list.value.append(key)
    feature["view"].bytes_list.value.append(b"center")
    feature["crop"].int64_list.value.extend(crop)
    feature["flip"].int64_list.value.append(int(flip))
    feature["source_size"].int64_list.value.extend((533, 400))
    feature["label"].int64_list.value.append(label)
    feature["zoom"].float_list.value.append(zoom)
    feature["caption"].bytes_list.value.append(caption)
    ours = writer.serialize(value, key, view, (label, zoom, caption))
    assert ours == example.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(2**8, "<u1"), (2**8 + 1, "<u2"), (2**16, "<u2"), (2**16 + 1, "<i4"), (2**31 + 1, "<i8")],
)
def test_tokens_take_the_smallest_type_that_fits(vocab_size: int, dtype: str):
    tokens = np.array([[0, vocab_size - 1, 1]], np.int64)
    (value,) = ExampleWriter(vocab_size, (), "bytes").tokens_to_values(tokens)
    assert value == tokens.astype(dtype).tobytes()

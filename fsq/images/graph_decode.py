"""Decoding inside a tf.data pipeline: encoded files to the pixels that a tokenizer encodes."""

from typing import Any, NamedTuple

import numpy as np

from fsq.errors import BadImageError
from fsq.images.decode import decode_image
from fsq.images.png_fast_path import load_opencv
from fsq.images.resampling import fit_image
from fsq.images.spec import DEFAULT_RULES, DecodeRules, ImageSpec


class DecodedFile(NamedTuple):
    """Pixels, and why there are none.

    Attributes:
      image: uint8 [H, W, C]; zeros if the file cannot be decoded.
      reason: tf.string []; empty if it was decoded.
    """

    image: Any
    reason: Any


def decode_file(data: Any, spec: ImageSpec, rules: DecodeRules = DEFAULT_RULES) -> Any:
    """Decodes and fits an image file inside `dataset.map`, as `fsq tokenize` does.

    It releases the GIL: pass `num_parallel_calls=tf.data.AUTOTUNE` to `map`.

    Args:
      data: Content of the file, tf.string [], as tf.io.read_file returns it.
      spec: How the image is fitted: `tokenizer.contract.image`.
      rules: Which image files are decoded.

    Returns:
      uint8 [H, W, C]. A file that cannot be decoded is a tf.errors.OpError that contains the
      reason; see `try_decode_file`.
    """

    def decode(content: bytes) -> np.ndarray:
        return _decode(content, spec, rules)

    return _in_graph(decode, data, [np.uint8], [spec.shape])[0]


def try_decode_file(data: Any, spec: ImageSpec, rules: DecodeRules = DEFAULT_RULES) -> DecodedFile:
    """Like `decode_file`, but a file that cannot be decoded gives its reason.

    To leave out and count such files, filter by `reason == b""`.
    """

    def decode(content: bytes) -> tuple[np.ndarray, bytes]:
        try:
            return _decode(content, spec, rules), b""
        except BadImageError as error:
            return np.zeros(spec.shape, np.uint8), str(error).encode()

    return DecodedFile(*_in_graph(decode, data, [np.uint8, np.bytes_], [spec.shape, ()]))


def _decode(content: bytes, spec: ImageSpec, rules: DecodeRules) -> np.ndarray:
    return np.ascontiguousarray(fit_image(decode_image(content, spec.channels, rules), spec))


def _in_graph(function: Any, data: Any, types: list[Any], shapes: list[tuple[int, ...]]) -> Any:
    import tensorflow as tf

    # An import in one thread can break one in another.
    load_opencv()
    tensors = tf.numpy_function(function, [data], [tf.as_dtype(t) for t in types], stateful=False)
    return [tf.ensure_shape(one, shape) for one, shape in zip(tensors, shapes, strict=True)]

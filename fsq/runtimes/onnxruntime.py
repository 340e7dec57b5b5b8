"""ONNX Runtime: the reference and only runtime of encoders imported from ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fsq.runtimes.base import Package, Precision, Runtime, RuntimeKind


class OnnxEncoder:
    """Pixels to tokens: a lookup table, ONNX Runtime, and the quantizer in TensorFlow.

    Args:
      batch_size: Images per call.
      floats: Input of the encoder for each pixel value, float32 [256].
      encode: Maps images float32 [B, H, W, C] to latents float32 [B, rows, columns, D].
      quantize: Maps latents to tokens [B, rows, columns].
    """

    def __init__(
        self,
        batch_size: int,
        floats: np.ndarray,
        encode: Callable[[np.ndarray], np.ndarray],
        quantize: Callable[[np.ndarray], np.ndarray],
    ):
        self.batch_size = batch_size
        self._floats = floats
        self._encode = encode
        self._quantize = quantize

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert len(images) == self.batch_size, (images.shape, self.batch_size)
        return self._quantize(self._encode(self._floats[images]))


def _make(autoencoder: Any, batch_size: int, precision: Precision) -> Runtime:
    from fsq.models.autoencoder import pixels_to_floats
    from fsq.runtimes.tensorflow.graph import quantize_function

    # The same floats as in every other runtime, without copying the batch to TensorFlow.
    floats = pixels_to_floats(np.arange(256, dtype=np.uint8), autoencoder.spec.image)
    return OnnxEncoder(
        batch_size,
        np.asarray(floats),
        autoencoder.encoder,
        quantize_function(autoencoder, batch_size),
    )


KIND = RuntimeKind(
    make=_make,
    networks=frozenset({"onnx"}),
    package=Package("onnxruntime", extra="onnx"),
    reference=True,
)

"""An adopted ONNX encoder in ONNX Runtime, the quantizer behind it in TensorFlow."""

import numpy as np
import tensorflow as tf

from fsq.imported.model import Adopted
from fsq.models.autoencoder import pixels_to_floats
from fsq.runtimes.tensorflow_graph import trace_quantizer


class OnnxRuntime:
    """Pixels to tokens: a table, ONNX Runtime, one `tf.function` with a fixed signature."""

    def __init__(self, adopted: Adopted, batch_size: int):
        self.batch_size = batch_size
        self._adopted = adopted
        # The very floats of every other runtime, without a copy of the batch in TensorFlow.
        self._floats = np.asarray(
            pixels_to_floats(np.arange(256, dtype=np.uint8), adopted.spec.image)
        )
        self._quantize = trace_quantizer(adopted, batch_size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert len(images) == self.batch_size, (images.shape, self.batch_size)
        latents = self._adopted.encoder(self._floats[images])
        return self._quantize(tf.constant(latents)).numpy()

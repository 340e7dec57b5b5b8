"""The reference runtime: the encoder as one TensorFlow graph in float32."""

import numpy as np
import tensorflow as tf

from fsq.autoencoder import Autoencoder, pixels_to_floats
from fsq.runtimes import finite_tokens


class TensorFlowGraph:
    """Pixels to tokens in one `tf.function` with a fixed signature."""

    def __init__(self, autoencoder: Autoencoder, batch_size: int):
        self.batch_size = batch_size
        self._shape = (batch_size, *autoencoder.spec.image.shape)

        @tf.function(input_signature=[tf.TensorSpec(self._shape, tf.uint8)], autograph=False)
        def run(images: tf.Tensor) -> tf.Tensor:
            floats = pixels_to_floats(images, autoencoder.spec.image)
            latents = autoencoder.encoder(floats, training=False)
            return finite_tokens(autoencoder.quantizer, latents)

        self._run = run.get_concrete_function()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == self._shape, (images.shape, self._shape)
        return self._run(tf.constant(images)).numpy()

"""The reference runtime, the encoder as one TensorFlow graph in float32; and the same under XLA."""

from typing import Any

import numpy as np
import tensorflow as tf

from fsq.models.autoencoder import Autoencoder, pixels_to_floats
from fsq.runtimes import finite_tokens


class TensorFlowGraph:
    """Pixels to tokens in one `tf.function` with a fixed signature.

    Args:
      autoencoder: Encoder and quantizer.
      batch_size: Images per call.
      compiled: By XLA, which takes seconds once and gives other last decimals.
    """

    def __init__(self, autoencoder: Autoencoder, batch_size: int, *, compiled: bool = False):
        self.batch_size = batch_size
        self._shape = (batch_size, *autoencoder.spec.image.shape)
        self._run = trace_tokens(autoencoder, batch_size, compiled=compiled)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert images.shape == self._shape, (images.shape, self._shape)
        return self._run(tf.constant(images)).numpy()


def latents_of(autoencoder: Autoencoder, images: tf.Tensor) -> tf.Tensor:
    """Encodes images uint8 [B, S, S, C] to latents float32 [B, rows, columns, D]."""
    floats = pixels_to_floats(images, autoencoder.spec.image)
    return autoencoder.encoder(floats, training=False)


def trace_tokens(autoencoder: Autoencoder, batch_size: int, *, compiled: bool) -> Any:
    """Traces images uint8 [batch_size, S, S, C] -> tokens; a concrete function."""
    shape = (batch_size, *autoencoder.spec.image.shape)

    @tf.function(
        input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False, jit_compile=compiled
    )
    def run(images: tf.Tensor) -> tf.Tensor:
        return finite_tokens(autoencoder.quantizer, latents_of(autoencoder, images))

    return run.get_concrete_function()


def trace_encoder(autoencoder: Autoencoder, batch_size: int) -> Any:
    """Traces `latents_of` for one batch size; returns the concrete function."""
    shape = (batch_size, *autoencoder.spec.image.shape)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)
    def encode(images: tf.Tensor) -> tf.Tensor:
        return latents_of(autoencoder, images)

    return encode.get_concrete_function()


def trace_quantizer(autoencoder: Any, batch_size: int) -> Any:
    """Traces latents float32 [batch_size, rows, columns, D] -> tokens; a concrete function."""
    spec = autoencoder.spec
    shape = (batch_size, *spec.grid, len(spec.levels))

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def quantize(latents: tf.Tensor) -> tf.Tensor:
        return finite_tokens(autoencoder.quantizer, latents)

    return quantize.get_concrete_function()

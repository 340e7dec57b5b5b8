"""TensorFlow graphs for one batch size: pixels to tokens, pixels to latents, latents to tokens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from fsq.models.autoencoder import Autoencoder, pixels_to_floats


class TensorFlowGraph:
    """Pixels to tokens in one `tf.function` with a fixed signature.

    Args:
      autoencoder: Encoder and quantizer.
      batch_size: Images per call.
      compiled: Compile with XLA, which takes seconds and changes rounding errors.

    Attributes:
      trace: The same as a concrete function of tensors.
    """

    def __init__(self, autoencoder: Autoencoder, batch_size: int, *, compiled: bool = False):
        self.batch_size = batch_size
        self._shape = (batch_size, *autoencoder.spec.image.shape)
        self.trace = trace_tokens(autoencoder, batch_size, compiled=compiled)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert images.shape == self._shape, (images.shape, self._shape)
        tokens: np.ndarray = self.trace(tf.constant(images)).numpy()
        return tokens


def latents_of(autoencoder: Any, images: tf.Tensor) -> tf.Tensor:
    """Encodes images uint8 [B, H, W, C] to latents float32 [B, rows, columns, D]."""
    floats = pixels_to_floats(images, autoencoder.spec.image)
    return autoencoder.encoder(floats, training=False)


def finite_tokens(quantizer: Any, latents: tf.Tensor) -> tf.Tensor:
    """Quantizes latents [..., D]; one with a NaN or an infinity gives the token -1.

    The quantizer alone would bound an infinite latent to a meaningless token.
    """
    finite = ops.all(ops.isfinite(latents), axis=-1)
    tokens = quantizer.latents_to_indices(latents)
    return ops.where(finite, tokens, ops.cast(-1, tokens.dtype))


def trace_tokens(autoencoder: Any, batch_size: int, *, compiled: bool) -> Any:
    """Returns a concrete function from images uint8 [batch_size, H, W, C] to tokens."""
    shape = (batch_size, *autoencoder.spec.image.shape)

    @tf.function(
        input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False, jit_compile=compiled
    )
    def run(images: tf.Tensor) -> tf.Tensor:
        return finite_tokens(autoencoder.quantizer, latents_of(autoencoder, images))

    return run.get_concrete_function()


def trace_encoder(autoencoder: Any, batch_size: int) -> Any:
    """Returns `latents_of` as a concrete function for one batch size."""
    shape = (batch_size, *autoencoder.spec.image.shape)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)
    def encode(images: tf.Tensor) -> tf.Tensor:
        return latents_of(autoencoder, images)

    return encode.get_concrete_function()


def quantize_function(autoencoder: Any, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from latents float32 [batch_size, rows, columns, D] to tokens."""
    spec = autoencoder.spec
    shape = (batch_size, *spec.grid, len(spec.levels))

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def quantize(latents: tf.Tensor) -> tf.Tensor:
        return finite_tokens(autoencoder.quantizer, latents)

    traced = quantize.get_concrete_function()
    return lambda latents: traced(tf.constant(latents)).numpy()

"""TensorFlow on several devices: the encoder on every GPU that this process sees."""

import queue
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.models.autoencoder import Autoencoder
from fsq.runtimes.tensorflow.graph import trace_tokens

# One batch is copied to the device while the one before is encoded.
CALLS_PER_DEVICE = 2


class MultiDeviceGraph:
    """Pixels to tokens on whichever device is free.

    Each device has its own weights, as constants of its graph: variables are placed
    on one device, and would be copied to the others at every call.

    Args:
      autoencoder: Encoder and quantizer.
      batch_size: Images per call.
      devices: Names of logical devices.
      compiled: Compile with XLA.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        batch_size: int,
        devices: Sequence[str],
        *,
        compiled: bool = False,
    ):
        self.batch_size = batch_size
        self._shape = (batch_size, *autoencoder.spec.image.shape)
        self._free: queue.SimpleQueue[tuple[str, Callable[[tf.Tensor], tf.Tensor]]]
        self._free = queue.SimpleQueue()
        traced = trace_tokens(autoencoder, batch_size, compiled=False)
        encoders = {device: _placed(traced, device, compiled) for device in devices}
        # In turns, so that no device gets a second batch before each has one.
        for device in [*devices] * CALLS_PER_DEVICE:
            self._free.put((device, encoders[device]))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert images.shape == self._shape, (images.shape, self._shape)
        device, encode = self._free.get()
        try:
            with tf.device(device):
                tokens: np.ndarray = encode(tf.constant(images)).numpy()
                return tokens
        finally:
            self._free.put((device, encode))


def _placed(traced: Any, device: str, compiled: bool) -> Any:
    """Returns a concrete function for one device, with variables as constants."""
    frozen = convert_variables_to_constants_v2(traced)

    @tf.function(
        input_signature=[tf.TensorSpec(frozen.inputs[0].shape, tf.uint8)],
        autograph=False,
        jit_compile=compiled,
    )
    def encode(images: tf.Tensor) -> tf.Tensor:
        (tokens,) = frozen(images)
        return tokens

    with tf.device(device):
        return encode.get_concrete_function()


def gpus() -> list[str]:
    """Returns the names of this process's GPUs, after enabling memory growth on them."""
    for gpu in tf.config.list_physical_devices("GPU"):
        # Another process may need the memory. TensorFlow refuses once it uses the device.
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break
    return [device.name for device in tf.config.list_logical_devices("GPU")]

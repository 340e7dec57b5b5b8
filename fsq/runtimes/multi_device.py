"""The encoder as TensorFlow graphs on several devices: every GPU that this process sees."""

import queue
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.models.autoencoder import Autoencoder
from fsq.runtimes.tensorflow_graph import trace_tokens

# One batch is copied to the device while the one before is encoded.
CALLS_PER_DEVICE = 2


class OnDevices:
    """Pixels to tokens on whichever device is free.

    Each device has weights of its own, as constants of its graph: variables lie
    on one device, and would be copied to the others at every call.

    Args:
      autoencoder: Encoder and quantizer.
      batch_size: Images per call.
      devices: Names of logical devices.
      compiled: By XLA.
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
        # Taken in turns, so that no device gets its second batch before each has one.
        for device in [*devices] * CALLS_PER_DEVICE:
            self._free.put((device, encoders[device]))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert images.shape == self._shape, (images.shape, self._shape)
        device, encode = self._free.get()
        try:
            with tf.device(device):
                return encode(tf.constant(images)).numpy()
        finally:
            self._free.put((device, encode))


def _placed(traced: Any, device: str, compiled: bool) -> Callable[[tf.Tensor], tf.Tensor]:
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
    """Names the GPUs of this process; their memory is taken as it is needed, not all at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        # Another process may need the rest. Refused once TensorFlow has begun; then it stays.
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break
    return [device.name for device in tf.config.list_logical_devices("GPU")]

"""The workload's encoder as a Keras model, and as a function of batches."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf

from benchmarks.workloads import Workload
from fsq.models.autoencoder import Autoencoder, build_autoencoder, pixels_to_floats
from fsq.quantizer.fsq_layer import FSQ
from fsq.runtimes.registry import RuntimeName
from fsq.spec.contract import WEIGHTS_FILE, TokenizerSpec
from fsq.tokenizer import Tokenizer


def load_autoencoder(workload: Workload) -> Autoencoder:
    """Builds the networks of a workload, with their weights."""
    spec = workload.contract.spec
    assert isinstance(spec, TokenizerSpec), spec
    autoencoder = build_autoencoder(spec)
    weights = safetensors.numpy.load_file(workload.tokenizer / WEIGHTS_FILE)
    autoencoder.set_weights(weights)
    return autoencoder


@keras.saving.register_keras_serializable(package="benchmarks")
class ToTokens(keras.layers.Layer):
    """Latents [B, rows, columns, D] to tokens [B, rows, columns]."""

    def __init__(self, levels: list[int], preset: str, eps: float, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"levels": levels, "preset": preset, "eps": eps}
        self.quantizer = FSQ(levels, preset=preset, eps=eps, dtype="float32")

    def call(self, latents):
        """Quantizes latents [..., D] to tokens [...]."""
        return self.quantizer.latents_to_indices(latents)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), **self.settings}


def token_model(workload: Workload) -> keras.Model:
    """Makes one Keras model, uint8 images [B, S, S, C] to tokens [B, rows, columns]."""
    autoencoder = load_autoencoder(workload)
    spec = autoencoder.spec
    inputs = keras.Input(spec.image.shape, dtype="uint8")
    latents = autoencoder.encoder(pixels_to_floats(inputs, spec.image))
    tokens = ToTokens(list(spec.levels), spec.preset, spec.eps)(latents)
    return keras.Model(inputs, tokens)


def save_token_model(workload: Workload, path: Path) -> None:
    """Saves `token_model` as a .keras file, unless it is there."""
    if not path.exists():
        token_model(workload).save(path)


def token_function(workload: Workload, runtime: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 images [B, S, S, C], any B, to tokens [B, rows, columns].

    Args:
      workload: The workload, for its encoder.
      runtime: 'graph' for a plain `tf.function`, else our runtime 'openvino'.
    """
    if runtime != "graph":
        tokenizer = Tokenizer.load(workload.tokenizer, batch_size=workload.batch_size)
        name: RuntimeName = "openvino"
        tokenizer.use_runtime(name)
        return tokenizer.encode
    model = token_model(workload)
    signature = [tf.TensorSpec((None, *workload.contract.image.shape), tf.uint8)]

    @tf.function(input_signature=signature)
    def run(images):
        return model(images, training=False)

    return lambda images: run(tf.constant(images)).numpy()

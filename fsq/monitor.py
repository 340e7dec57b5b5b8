"""TensorBoard: curves, reconstructions and codebook usage while training runs."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from fsq.autoencoder import Autoencoder, floats_to_pixels, pixels_to_floats
from fsq.errors import RequestError
from fsq.lattice import tokens_to_digits
from fsq.usage import usage_of_counts

Monitor = Callable[[int, dict[str, float]], None]
STEPS_BETWEEN_PICTURES = 100
PICTURES = 8


def open_monitor(directory: str | None, autoencoder: Autoencoder, images: np.ndarray) -> Monitor:
    """Returns monitor(step, losses by name), which writes events for TensorBoard.

    The losses come at each call; every hundred steps also originals above
    reconstructions, and of the same images' tokens the share of codes used,
    the perplexity, and the share of digits at the ends of their channel.

    Args:
      directory: Where to write; nothing is written if None.
      autoencoder: What is being trained.
      images: Held-out images, uint8 [B, S, S, C].

    Raises:
      RequestError: tensorboard is not installed.
    """
    if directory is None:
        return lambda step, losses: None
    try:
        import tensorboard as _  # noqa: F401  (TensorFlow's summaries need it)
    except ImportError as error:
        raise RequestError(
            "tensorboard: expected the package, found none. Install fsq-tokenizer[tensorboard], "
            "or leave the key 'tensorboard' out."
        ) from error
    writer = tf.summary.create_file_writer(directory)
    encode = tf.function(lambda pixels: _tokens(autoencoder, pixels), autograph=False)
    decode = tf.function(lambda tokens: _decode(autoencoder, tokens), autograph=False)

    def monitor(step: int, losses: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in losses.items():
                tf.summary.scalar(f"training/{name}", value)
            if step % STEPS_BETWEEN_PICTURES == 0:
                tokens = encode(tf.constant(images))
                _write_usage(autoencoder, tokens.numpy())
                pictures = decode(tokens[:PICTURES])
                pairs = tf.concat([images[:PICTURES], pictures], axis=1)
                tf.summary.image("originals above reconstructions", pairs, max_outputs=PICTURES)
        writer.flush()

    return monitor


def _tokens(autoencoder: Autoencoder, pixels: tf.Tensor) -> tf.Tensor:
    images = pixels_to_floats(pixels, autoencoder.spec.image)
    return autoencoder.quantizer.latents_to_indices(autoencoder.encoder(images, training=False))


def _decode(autoencoder: Autoencoder, tokens: tf.Tensor) -> tf.Tensor:
    codes = autoencoder.quantizer.indices_to_codes(tokens)
    return floats_to_pixels(autoencoder.decoder(codes, training=False), autoencoder.spec.image)


def _write_usage(autoencoder: Autoencoder, tokens: np.ndarray) -> None:
    spec = autoencoder.spec
    counts = np.unique(tokens[tokens >= 0], return_counts=True)[1]
    usage = usage_of_counts(counts, spec.vocab_size)
    digits = tokens_to_digits(tokens[tokens >= 0], spec.levels)
    saturated = (digits == 0) | (digits == np.array(spec.levels) - 1)
    tf.summary.scalar("codes/usage", usage.usage)
    tf.summary.scalar("codes/perplexity", usage.perplexity)
    tf.summary.scalar("codes/saturated digits", float(saturated.mean()) if saturated.size else 0.0)

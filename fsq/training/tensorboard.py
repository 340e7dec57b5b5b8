"""TensorBoard events of a training run: losses, reconstructions, codebook usage."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from fsq.errors import RequestError
from fsq.installation import install_command
from fsq.models.autoencoder import Autoencoder, floats_to_pixels, pixels_to_floats
from fsq.quantizer.codebook_usage import usage_of_tokens
from fsq.quantizer.latent_stats import latent_statistics
from fsq.spec.contract import TokenizerSpec

WriteEvents = Callable[[int, dict[str, float]], None]
STEPS_BETWEEN_IMAGES = 100
IMAGES = 8


def open_tensorboard(
    directory: str | None, autoencoder: Autoencoder, images: np.ndarray
) -> WriteEvents:
    """Returns write_events(step, losses by name), which writes events for TensorBoard.

    Each call writes the losses. Every hundred steps it also writes originals
    above reconstructions and, of the same images, the share of codes used, the
    perplexity, and the shares of latents that are saturated or near a boundary.

    Args:
      directory: Where to write; nothing is written if None.
      autoencoder: What is trained.
      images: Held-out images, uint8 [B, H, W, C].

    Raises:
      RequestError: tensorboard is not installed, or the directory cannot be written.
    """
    if directory is None:
        return lambda step, losses: None
    try:
        import tensorboard as _  # noqa: F401  (TensorFlow's summaries need it)
    except ImportError as error:
        raise RequestError(
            "tensorboard: expected the package, found none. Install the extra: "
            f"{install_command('tensorboard')}; or leave the key 'tensorboard' out."
        ) from error
    try:
        writer = tf.summary.create_file_writer(directory)
        writer.flush()
    except tf.errors.OpError as error:
        raise RequestError(
            f"{directory}: expected a directory that can be written, for TensorBoard. "
            "Choose another for the key 'tensorboard'."
        ) from error
    run = tf.function(lambda pixels: _run(autoencoder, pixels), autograph=False)

    def write_events(step: int, losses: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in losses.items():
                tf.summary.scalar(f"training/{name}", value)
            if step % STEPS_BETWEEN_IMAGES == 0:
                latents, tokens, decoded = run(tf.constant(images))
                _write_codes(autoencoder.spec, latents.numpy(), tokens.numpy())
                pairs = tf.concat([images[:IMAGES], decoded], axis=1)
                tf.summary.image("originals above reconstructions", pairs, max_outputs=IMAGES)
        writer.flush()

    return write_events


def _run(autoencoder: Autoencoder, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns latents and tokens of all images, and the first few images decoded."""
    spec, quantizer = autoencoder.spec.image, autoencoder.quantizer
    latents = autoencoder.encoder(pixels_to_floats(pixels, spec), training=False)
    tokens = quantizer.latents_to_indices(latents)
    decoded = autoencoder.decoder(quantizer.indices_to_codes(tokens[:IMAGES]), training=False)
    return latents, tokens, floats_to_pixels(decoded, spec)


def _write_codes(spec: TokenizerSpec, latents: np.ndarray, tokens: np.ndarray) -> None:
    usage = usage_of_tokens(tokens[tokens >= 0], spec.vocab_size)
    shares = latent_statistics(latents, spec.levels, spec.preset, spec.eps)
    tf.summary.scalar("codes/usage", usage.usage)
    tf.summary.scalar("codes/perplexity", usage.perplexity)
    tf.summary.scalar("latents/saturated", shares.saturated)
    tf.summary.scalar("latents/near a boundary", shares.near_boundary)

"""Refuses a dead start before hours are spent on it."""

import numpy as np
import tensorflow as tf

from fsq.errors import RequestError
from fsq.models.autoencoder import Autoencoder, pixels_to_floats

CURE = (
    "Normalise the features before the encoder's last layer, or make the initial weights of "
    "that layer ten times as large."
)


def check_first_step(autoencoder: Autoencoder, batch: np.ndarray, gradient: float) -> None:
    """Looks at the first batch, when hardly anything has been learned from it.

    When every latent rounds to the same code, the decoder sees a constant; and
    where that code is zero and no bias is set yet, it passes no gradient back.
    The loss then stays at that of the mean image for ever.

    Args:
      autoencoder: After its first step.
      batch: uint8 images, shape [B, S, S, C].
      gradient: Norm of the encoder's gradient in that step.

    Raises:
      RequestError: All tokens of the batch are the same, or the encoder's
        gradient is zero or not finite.
    """
    if (batch == batch[:1, :1, :1]).all():
        return  # nothing to tell apart in it
    latents = autoencoder.encoder(
        pixels_to_floats(tf.constant(batch), autoencoder.spec.image), training=False
    )
    tokens = np.unique(np.asarray(autoencoder.quantizer.latents_to_indices(latents)))
    deviation = float(tf.math.reduce_std(latents))
    if len(tokens) == 1:
        raise RequestError(
            f"training: a dead start, all {np.prod(latents.shape[:-1]):,} tokens of the first "
            f"batch are {tokens[0]}: expected latents that spread over the codes, got a standard "
            f"deviation of {deviation:.3g}. {CURE}"
        )
    if not np.isfinite(gradient) or gradient == 0:
        raise RequestError(
            f"training: a dead start: expected a gradient in the encoder, got a norm of {gradient} "
            f"on the first batch (latents' standard deviation {deviation:.3g}). {CURE}"
        )

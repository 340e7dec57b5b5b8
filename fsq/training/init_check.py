"""Init check: stops a run after its first step if the initial weights cannot be trained."""

import numpy as np
import tensorflow as tf

from fsq.errors import RequestError
from fsq.models.autoencoder import Autoencoder, pixels_to_floats

HINT = (
    "Normalise the features before the encoder's last layer, or make the initial weights of "
    "that layer ten times as large."
)


def check_first_step(autoencoder: Autoencoder, batch: np.ndarray, gradient: float) -> None:
    """Checks that latents differ and that the encoder gets a gradient.

    If every latent rounds to the same code, the decoder's input is constant; if
    that code is zero and no bias is set yet, no gradient passes back either. The
    loss then stays at that of the mean image.

    Args:
      autoencoder: After its first step.
      batch: uint8 images, shape [B, H, W, C].
      gradient: Norm of the encoder's gradient in that step.

    Raises:
      RequestError: All tokens of the batch are the same, or the encoder's
        gradient is zero or not finite.
    """
    if (batch == batch[:1, :1, :1]).all():
        return  # one colour: equal tokens are right
    latents = autoencoder.encoder(
        pixels_to_floats(tf.constant(batch), autoencoder.spec.image), training=False
    )
    tokens = np.unique(np.asarray(autoencoder.quantizer.latents_to_indices(latents)))
    deviation = float(tf.math.reduce_std(latents))
    if len(tokens) == 1:
        raise RequestError(
            "training: init check: expected latents that spread over the codes, got "
            f"{np.prod(latents.shape[:-1]):,} tokens of the first batch that are all {tokens[0]} "
            f"(latents' standard deviation {deviation:.3g}). {HINT}"
        )
    if not np.isfinite(gradient) or gradient == 0:
        raise RequestError(
            f"training: init check: expected a gradient in the encoder, got a norm of {gradient} "
            f"on the first batch (latents' standard deviation {deviation:.3g}). {HINT}"
        )

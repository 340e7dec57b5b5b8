"""Ways to run an encoder fast, behind one small interface.

A runtime is made for one batch size and keeps it: an encoder's last decimals
depend on the batch shape, and at a rounding boundary a last decimal is another
token.
"""

from typing import Any, Protocol

import numpy as np


class Runtime(Protocol):
    """Runs one full batch."""

    batch_size: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes images, uint8 [batch_size, S, S, C].

        Returns:
          Tokens int32 or int64, [batch_size, rows, columns]; -1 where a latent
          was NaN or infinite.
        """
        ...


def finite_tokens(quantizer: Any, latents: Any) -> Any:
    """Quantizes latents [..., D]; a NaN or an infinity among them gives the token -1.

    An infinite latent is bounded like any other, to a token that means nothing.
    """
    from keras import ops

    finite = ops.all(ops.isfinite(latents), axis=-1)
    tokens = quantizer.latents_to_indices(latents)
    return ops.where(finite, tokens, ops.cast(-1, tokens.dtype))

"""Ways to run an encoder fast, behind one small interface.

A runtime is made for one batch size and keeps it: an encoder's last decimals
depend on the batch shape, and at a rounding boundary a last decimal is another
token.
"""

from typing import Protocol

import numpy as np


class Runtime(Protocol):
    """Runs one full batch."""

    batch_size: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes images, uint8 [batch_size, S, S, C].

        Returns:
          Tokens int32 or int64, [batch_size, rows, columns]; -1 where a latent
          was NaN.
        """
        ...

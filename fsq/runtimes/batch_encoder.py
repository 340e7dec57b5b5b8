"""Batch encoder: a runtime with its token contract, which pads partial batches."""

import dataclasses

import numpy as np

from fsq.runtimes.base import Runtime
from fsq.spec.contract import TokenContract


@dataclasses.dataclass(frozen=True)
class BatchEncoder:
    """Encodes batches of one size.

    Attributes:
      contract: The token contract.
      runtime: Encodes one full batch.
    """

    contract: TokenContract
    runtime: Runtime

    @property
    def batch_size(self) -> int:
        """Images per call of the encoder."""
        return self.runtime.batch_size

    def encode_batch(self, images: np.ndarray) -> np.ndarray:
        """Encodes one batch of at most `batch_size` images, padded to it.

        Args:
          images: uint8, shape [B, H, W, C], B <= batch_size.

        Returns:
          Tokens [B, rows, columns], int32 or int64; -1 where a latent was NaN or infinite.
        """
        count = len(images)
        if count < self.batch_size:
            padded = np.zeros((self.batch_size, *images.shape[1:]), np.uint8)
            padded[:count] = images
            images = padded
        return self.runtime(images)[:count]

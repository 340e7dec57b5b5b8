"""Training data: the interface of image sets, images in memory, batches by step."""

import functools
import hashlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fsq.errors import RequestError
from fsq.training.config import TrainingSpec


class TrainingImages(Protocol):
    """An image set in an order of its own.

    Attributes:
      digest: Identifies the images, so that a run is not resumed with others.
    """

    digest: str

    def __len__(self) -> int: ...

    def batches(self, first: int, end: int, *, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """Yields the batches of the steps [first, end), a pure function of seed and step.

        So a resumed run sees the batches of an uninterrupted one. The last, incomplete batch
        of an epoch is left out.

        Args:
          first: The first step.
          end: One more than the last step.
          batch_size: Images per batch, at most as many as there are.
          seed: Of order, crops and flips.

        Yields:
          uint8 [batch_size, H, W, C].
        """
        ...


class ImagesInMemory:
    """Training images in memory.

    Args:
      images: uint8 [N, H, W, C].
      flip: Mirror each image with probability 1/2.
    """

    def __init__(self, images: np.ndarray, *, flip: bool = False):
        self._images, self._flip = np.ascontiguousarray(images), flip
        self.digest = hashlib.sha256(self._images.data).hexdigest()

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, first: int, end: int, *, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """Yields the batches of some steps; see `TrainingImages.batches`."""
        from fsq.training.loader import load_batches

        return load_batches(
            lambda step: batch_of_step(self, step, batch_size=batch_size, seed=seed), first, end
        )

    def batch(self, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns images by number.

        Args:
          numbers: Integers in [0, len), shape [B].
          random: Source of flips.

        Returns:
          uint8 [B, H, W, C].
        """
        images = self._images[numbers]
        if self._flip:
            mirrored = random.random(len(numbers)) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        return images


@functools.lru_cache(maxsize=2)
def order_of_epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the numbers below `count`, shuffled by seed and epoch, int64 [count]."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def batch_of_step(images: ImagesInMemory, step: int, *, batch_size: int, seed: int) -> np.ndarray:
    """Returns the batch of a step, a pure function of seed and step.

    So a resumed run sees the batches of an uninterrupted one.

    Args:
      images: At least one batch; the last, incomplete batch of an epoch is left out.
      step: From 0.
      batch_size: Images per batch.
      seed: Of order, crops and flips.

    Returns:
      uint8 [batch_size, H, W, C].
    """
    epoch, position = divmod(step, len(images) // batch_size)
    order = order_of_epoch(len(images), seed, epoch)
    numbers = order[position * batch_size : (position + 1) * batch_size]
    return images.batch(numbers, np.random.default_rng((seed, epoch, position)))


def count_steps(images: int, training: TrainingSpec, *, replicas: int = 1) -> int:
    """Returns the number of steps of a run.

    Args:
      images: How many images an epoch has.
      training: Batch size and epochs.
      replicas: Devices that share a batch.

    Raises:
      RequestError: The images do not fill a batch, or the replicas cannot share one evenly.
    """
    if images < training.batch_size:
        raise RequestError(
            f"training: expected at least one batch of {training.batch_size} images, "
            f"got {images}. Lower training.batch_size, or give more images."
        )
    if training.batch_size % replicas:
        raise RequestError(
            f"training.batch_size: expected a multiple of {replicas}, one share for each GPU, "
            f"got {training.batch_size}."
        )
    return images // training.batch_size * training.epochs

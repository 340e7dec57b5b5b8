"""What training asks of its images; and images that lie in memory. NumPy only."""

import functools
import hashlib
from typing import Protocol

import numpy as np

from fsq.errors import RequestError
from fsq.training.config import TrainingSpec


class TrainingImages(Protocol):
    """Images that can be asked for by number.

    Attributes:
      digest: Tells these images from others, so that a run is not resumed on other ones.
    """

    digest: str

    def __len__(self) -> int: ...

    def batch(self, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns the images with these numbers, uint8 [B, S, S, C].

        Args:
          numbers: Integers in [0, len), shape [B].
          random: Where crops and flips are drawn from; a batch follows from it alone.
        """
        ...


class ImagesInMemory:
    """Fitted images, uint8 [N, S, S, C].

    Args:
      images: The images.
      flip: Mirror about every second image of a batch.
    """

    def __init__(self, images: np.ndarray, *, flip: bool = False):
        self._images, self._flip = np.ascontiguousarray(images), flip
        self.digest = hashlib.sha256(self._images.data).hexdigest()

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns images by number, flipped at random: uint8 [B, S, S, C]."""
        images = self._images[numbers]
        if self._flip:
            mirrored = random.random(len(numbers)) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        return images


@functools.lru_cache(maxsize=2)
def order_of_epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the numbers below `count` in the order of an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def batch_of_step(images: TrainingImages, step: int, *, batch_size: int, seed: int) -> np.ndarray:
    """Returns the batch of a step, which follows from (seed, step) alone.

    A resumed run therefore sees what an undisturbed one would have seen.

    Args:
      images: At least one batch of them; what is left over of an epoch is left out.
      step: From 0.
      batch_size: Images per batch.
      seed: Of order, crops and flips.

    Returns:
      uint8 [batch_size, S, S, C].
    """
    epoch, position = divmod(step, len(images) // batch_size)
    order = order_of_epoch(len(images), seed, epoch)
    numbers = order[position * batch_size : (position + 1) * batch_size]
    return images.batch(numbers, np.random.default_rng((seed, epoch, position)))


def variance_of(images: TrainingImages, *, sample: int = 4096) -> float:
    """Returns the variance of the pixels of up to `sample` images, in steps of 0 to 255."""
    numbers = order_of_epoch(len(images), 0, 0)[:sample]
    random = np.random.default_rng(0)
    counts = np.zeros(256, np.int64)
    for start in range(0, len(numbers), 16):  # few at a time: they may be large
        batch = images.batch(numbers[start : start + 16], random)
        counts += np.bincount(batch.ravel(), minlength=256)
    values, share = np.arange(256), counts / counts.sum()
    return float((share * values**2).sum() - (share * values).sum() ** 2)


def count_steps(images: int, training: TrainingSpec, *, replicas: int = 1) -> int:
    """Returns the number of steps of a run over so many images.

    Raises:
      RequestError: They do not fill a batch, or the GPUs cannot share one evenly.
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

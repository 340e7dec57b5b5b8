"""Variance of the training images: what reconstruction losses are divided by."""

import math

import numpy as np

from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.training.data import DRAWS_PER_IMAGE, TrainingImages, order_of_epoch
from fsq.training.loader import load_batches

MAX_IMAGES = 4096
BATCH_SIZE = 16  # few at a time: images may be large


def estimate_variance(images: TrainingImages, spec: ImageSpec) -> float:
    """Estimates the variance of the pixels from up to `MAX_IMAGES` images.

    Args:
      images: What is trained on.
      spec: The image contract; the variance is that of pixels in its range.

    Raises:
      RequestError: It is zero.
    """
    numbers = order_of_epoch(len(images), 0, 0)[:MAX_IMAGES]

    def make(batch: int) -> np.ndarray:
        start = batch * BATCH_SIZE
        # One stream of random numbers for all batches; each begins where the one before ended.
        stream = np.random.PCG64(0).advance(start * DRAWS_PER_IMAGE)
        return images.batch(numbers[start : start + BATCH_SIZE], np.random.Generator(stream))

    batches = load_batches(make, 0, math.ceil(len(numbers) / BATCH_SIZE))
    counts = sum(np.bincount(batch.ravel(), minlength=256) for batch in batches)
    values, share = np.arange(256), counts / np.sum(counts)
    variance = float((share * values**2).sum() - (share * values).sum() ** 2)
    if variance == 0:
        raise RequestError(
            "training: expected images that differ, got the same value in every pixel. "
            "Check the source."
        )
    low, high = spec.pixel_range
    return variance * ((high - low) / 255) ** 2

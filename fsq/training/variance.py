"""Variance of the training images: what reconstruction losses are divided by."""

import numpy as np

from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.training.data import TrainingImages

MAX_IMAGES = 4096


def estimate_variance(images: TrainingImages, spec: ImageSpec) -> float:
    """Estimates the variance of the pixels from up to `MAX_IMAGES` images.

    Args:
      images: What is trained on.
      spec: The image contract; the variance is that of pixels in its range.

    Raises:
      RequestError: It is zero.
    """
    # One at a time, so that each counts, whatever their number.
    batches = images.batches(0, min(len(images), MAX_IMAGES), batch_size=1, seed=0)
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

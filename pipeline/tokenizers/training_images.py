"""Training images from the sources and by the image contract of tokenization."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from fsq.images.spec import ImageSpec
from fsq.training.config import TrainingSpec
from fsq.training.data import ImagesInMemory, TrainingImages
from pipeline.loading.image_epoch import Columns, ImageEpoch
from pipeline.loading.open_images import Fitting, OpenedImages
from pipeline.loading.tf_images import read_batches
from pipeline.sources import SourceConfig
from pipeline.tokenizers.streamed_images import StreamedImages

MAX_BYTES_IN_MEMORY = 4 * 2**30
PIXELS_PER_BATCH = 2**24
Keep = Callable[[str], bool]


def open_images(
    config: SourceConfig,
    spec: ImageSpec,
    training: TrainingSpec,
    keep: Keep | None = None,
    see: Callable[[np.ndarray], None] = lambda image: None,
) -> TrainingImages:
    """Opens a source's images, in memory if they fit and are not cropped at random.

    All of them are read once: one that cannot be decoded is better found before training.

    Args:
      config: The source.
      spec: The image contract.
      training: Random crops and flips.
      keep: Which images are trained on, by key; all by default.
      see: Called with each of them, fitted but not cropped at random.

    Raises:
      DataError: An image cannot be decoded.
    """
    images = OpenedImages(config.open(), Fitting(spec), keep=keep)
    num_bytes = len(images) * math.prod(spec.shape)
    in_memory = training.random_crop is None and num_bytes <= MAX_BYTES_IN_MEMORY
    pixels = np.empty((len(images) if in_memory else 0, *spec.shape), np.uint8)
    kept = np.zeros(len(images), bool)
    count = 0
    for columns in _read_all(images):
        for image in columns["image"]:
            see(image)
        kept[columns["position"]] = True
        if in_memory:
            pixels[count : count + len(columns["image"])] = columns["image"]
        count += len(columns["image"])
    if in_memory:
        return ImagesInMemory(pixels[:count], flip=training.flip)
    return StreamedImages(images, training, kept)


def evaluation_batch(spec: ImageSpec) -> int:
    """Returns the batch size of the evaluation: 256, less for large images.

    >>> evaluation_batch(ImageSpec(size_pixels=512, channels=3))
    21
    """
    return max(1, min(256, PIXELS_PER_BATCH // math.prod(spec.shape)))


def read_in_order(
    config: SourceConfig, spec: ImageSpec, keep: Keep | None = None
) -> Iterator[np.ndarray]:
    """Yields a source's images in order, with the pixels that tokenization encodes.

    Args:
      config: The source.
      spec: The image contract.
      keep: Which images to read, by key; all if None.

    Yields:
      uint8 [B, H, W, C], B up to `evaluation_batch`.

    Raises:
      DataError: An image cannot be decoded.
    """
    images = OpenedImages(config.open(), Fitting(spec), keep=keep)
    for columns in _read_all(images):
        yield columns["image"]


def _read_all(images: OpenedImages) -> Iterator[Columns]:
    """Yields all images in order; their positions are the numbers of their records."""
    return read_batches(ImageEpoch(images), batch_size=evaluation_batch(images.fitting.spec))

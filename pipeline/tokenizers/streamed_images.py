"""Training images that are read in every epoch: they do not fit in memory, or are cropped."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np

from fsq.dataset.epoch_order import mix
from fsq.dataset.records import encode_key
from fsq.images.crop import random_crop
from fsq.images.crops import CROPS
from fsq.images.placement import box_placement
from fsq.images.spec import ImageSpec
from fsq.images.view import View, placed_view
from fsq.training.config import TrainingSpec
from pipeline.loading.image_epoch import ImageEpoch
from pipeline.loading.open_images import Fitting, OpenedImages
from pipeline.loading.tf_images import read_batches
from pipeline.views import ViewPolicy


class TrainingView(ViewPolicy):
    """The crop and the flip of an image in one epoch, drawn from a hash of its key.

    Attributes:
      seed: Of the run.
      epoch: Index of the epoch.
      random_crop: Smallest side of a crop; see `TrainingSpec`.
      flip: Whether an image is mirrored with probability 1/2.
    """

    kind: Literal["training"] = "training"
    seed: int
    epoch: int
    random_crop: float | None
    flip: bool

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the view; see `ViewPolicy.views`."""
        content = mix(self.seed, self.epoch, -3).tobytes() + encode_key(key)
        digest = hashlib.blake2b(content, digest_size=32).digest()
        scale, x, y, mirror = (np.frombuffer(digest, "<u8") >> np.uint64(11)).astype(float) / 2**53
        if self.random_crop is None:
            placement = CROPS[spec.crop].place(width, height, spec.width, spec.height)
        else:
            shape = (spec.width, spec.height)
            box = random_crop((width, height), self.random_crop, (scale, x, y), shape)
            placement = box_placement(box, spec.height, spec.width)
        flip = self.flip and mirror < 0.5
        return (placed_view(self.kind, placement, (width, height), spec, flip=flip),)


class StreamedImages:
    """Training images in the order of `image_dataset`, read and decoded anew in every epoch.

    Args:
      images: The opened source.
      training: Random crops and flips.
      kept: Which of its records are trained on, bool [records].
    """

    def __init__(self, images: OpenedImages, training: TrainingSpec, kept: np.ndarray):
        self._images, self._training, self._kept = images, training, kept
        # The last word tells runs apart whose images came in another order.
        content = images.listing.digest().encode() + np.flatnonzero(kept).tobytes() + b"blocks"
        self.digest = hashlib.sha256(content).hexdigest()

    def __len__(self) -> int:
        return int(self._kept.sum())

    def batches(self, first: int, end: int, *, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """Yields the batches of some steps; see `TrainingImages.batches`."""
        steps = len(self) // batch_size
        for epoch in range(first // steps, -(-end // steps)):
            begin = max(0, first - epoch * steps)
            stop = min(steps, end - epoch * steps)
            order = self._epoch(seed, epoch)
            rows = read_batches(
                order, batch_size=batch_size, start=begin * batch_size, drop_remainder=True
            )
            for batch in itertools.islice(rows, stop - begin):
                yield batch["image"]

    def _epoch(self, seed: int, epoch: int) -> ImageEpoch:
        training = self._training
        view = TrainingView(
            seed=seed, epoch=epoch, random_crop=training.random_crop, flip=training.flip
        )
        return ImageEpoch(
            self._images,
            shuffle_seed=seed,
            epoch=epoch,
            kept=self._kept,
            fitting=Fitting(self._images.fitting.spec, (view,)),
        )

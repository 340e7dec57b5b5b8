"""Training images from the sources and by the image contract of tokenization."""

import array
import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from fsq.errors import BadImageError, DataError
from fsq.images.crop import random_crop
from fsq.images.decode import decode_image
from fsq.images.placement import Placement, box_placement
from fsq.images.resampling import fit_image
from fsq.images.spec import ImageSpec
from fsq.training.config import TrainingSpec
from fsq.training.data import DRAWS_PER_IMAGE, ImagesInMemory, TrainingImages
from pipeline.core.records import BadRecord, ImageRecord, unit_name
from pipeline.sources import Listing, Source, SourceConfig
from pipeline.sources.units import one_unit_per_file

MAX_BYTES_IN_MEMORY = 4 * 2**30
PIXELS_PER_BATCH = 2**24
Keep = Callable[[str], bool]


@contextlib.contextmanager
def open_images(
    config: SourceConfig,
    spec: ImageSpec,
    training: TrainingSpec,
    keep: Keep = lambda key: True,
    see: Callable[[np.ndarray], None] = lambda image: None,
) -> Iterator[TrainingImages]:
    """Yields a source's images, in memory if they fit and are not cropped at random.

    Args:
      config: The source.
      spec: The image contract.
      training: Random crops and flips.
      keep: Which images are trained on, by key.
      see: Called with each of them, fitted but not cropped at random.

    Raises:
      DataError: An image cannot be decoded.
    """
    source = config.open()
    with source.list().on_disk() as listing:
        num_bytes = listing.num_records * int(np.prod(spec.shape))
        if training.random_crop is None and num_bytes <= MAX_BYTES_IN_MEMORY:
            images = np.empty((listing.num_records, *spec.shape), np.uint8)
            count = 0
            for _, image in _read_images(source, listing, spec, keep):
                see(image)
                images[count] = image
                count += 1
            yield ImagesInMemory(images[:count], flip=training.flip)
        else:
            numbers = array.array("q")
            for number, image in _read_images(source, listing, spec, keep):
                see(image)
                numbers.append(number)
            yield ImagesFromSource(source, listing, spec, training, np.asarray(numbers))


def evaluation_batch(spec: ImageSpec) -> int:
    """Returns the batch size of the evaluation: 256, less for large images.

    >>> evaluation_batch(ImageSpec(size_pixels=512, channels=3))
    21
    """
    return max(1, min(256, PIXELS_PER_BATCH // math.prod(spec.shape)))


def read_batches(
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
    source = config.open()
    with source.list().on_disk() as listing:
        images = _read_images(source, listing, spec, keep or (lambda key: True))
        while batch := [image for _, image in itertools.islice(images, evaluation_batch(spec))]:
            yield np.stack(batch)


class ImagesFromSource:
    """Training images that are read and decoded on each access.

    Args:
      source: The image source.
      listing: Its listing, on disk.
      spec: The image contract.
      training: Random crops and flips.
      numbers: Which of its images, ascending int64.
    """

    def __init__(
        self,
        source: Source,
        listing: Listing,
        spec: ImageSpec,
        training: TrainingSpec,
        numbers: np.ndarray,
    ):
        self._source, self._files = source, listing.files
        self._spec, self._training, self._numbers = spec, training, numbers
        # The number of each file's first record among all records.
        self._firsts = np.cumsum([0, *(file.num_records for file in listing.files)])
        content = listing.digest().encode() + numbers.tobytes()
        self.digest = hashlib.sha256(content).hexdigest()

    def __len__(self) -> int:
        return len(self._numbers)

    def batch(self, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns images by number; see `TrainingImages.batch`."""
        draws = random.random((len(numbers), DRAWS_PER_IMAGE))
        return np.stack(list(map(self._read, self._numbers[numbers].tolist(), draws.tolist())))

    def _read(self, number: int, draws: list[float]) -> np.ndarray:
        file_number = int(np.searchsorted(self._firsts, number, side="right")) - 1
        file = self._files[file_number]
        place = file.numbers[number - int(self._firsts[file_number])]
        unit = file.unit(unit_name(0), file.spans(place, 1))
        (record,) = self._source.read(unit, ())
        pixels = _decode(record, self._spec)
        scale, x, y, mirror = draws
        placement = self._random_crop((pixels.shape[1], pixels.shape[0]), (scale, x, y))
        flip = self._training.flip and mirror < 0.5
        return fit_image(pixels, self._spec, placement, flip=flip)

    def _random_crop(
        self, size: tuple[int, int], draws: tuple[float, float, float]
    ) -> Placement | None:
        if (smallest := self._training.random_crop) is None:
            return None
        height, width, _ = self._spec.shape
        return box_placement(random_crop(size, smallest, draws, (width, height)), height, width)


def _read_images(
    source: Source, listing: Listing, spec: ImageSpec, keep: Keep
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number and the fitted pixels of each image to keep, in order."""
    units = one_unit_per_file(listing)
    records = (record for unit in units for record in source.read(unit, ()))
    for number, record in enumerate(records):
        if keep(record.key):
            yield number, fit_image(_decode(record, spec), spec)


def _decode(record: ImageRecord | BadRecord, spec: ImageSpec) -> np.ndarray:
    if isinstance(record, BadRecord):
        raise DataError(f"{record.key}: {record.reason}. Remove it from the source.")
    try:
        return decode_image(record.data, spec.channels)
    except BadImageError as error:
        raise DataError(f"{record.key}: {error}. Remove it from the source.") from error

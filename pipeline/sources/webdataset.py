"""WebDataset source: tar archives whose adjacent members make a sample."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, no_heartbeat
from pipeline.sources.carry import Carry
from pipeline.sources.damage import read_spans
from pipeline.sources.input_files import (
    FilesConfig,
    FilesSource,
    Patterns,
)
from pipeline.sources.listing import Listing, listing_of
from pipeline.sources.webdataset_fields import SampleFields, find_features
from pipeline.sources.webdataset_listing import list_tars
from pipeline.sources.webdataset_reader import read_tar

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")


class WebdatasetConfig(FilesConfig):
    """WebDataset tars, plain or compressed by gzip, bzip2 or xz.

    A sample is a run of members whose names agree up to the first dot of the base name; the rest
    of the name, in lower case, is the suffix that its fields are named by. One without an image,
    with two, or with a suffix twice is a reject.

    Attributes:
      files: Name or pattern of the archives, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      image: Suffixes of images; a sample has one of them.
      key: `name` for the sample's own, its folder and base name; `number` for '<file>__<number>',
        if names are used again in other archives.
      carry: Members to carry along, by suffix; of JSON a value in it, such as `json.width`.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    noun: ClassVar[str] = "tar archives"

    kind: Literal["webdataset"]
    image: str | tuple[str, ...] = IMAGE_SUFFIXES
    key: Literal["name", "number"] = "name"
    carry: Carry = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("image")
    @classmethod
    def _suffixes_are_named(cls, image: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (image,) if isinstance(image, str) else image
        if not names or not all(names) or any(name.startswith(".") for name in names):
            raise ValueError(f"expected suffixes such as 'jpg', without a dot, got {image!r}")
        return image

    def open_files(self, patterns: Patterns) -> "WebdatasetSource":
        """Returns the source that reads the files of some patterns; reads nothing yet."""
        return WebdatasetSource(self, patterns)


class WebdatasetSource(FilesSource[WebdatasetConfig]):
    """Keys are the names of samples, or '<file>__<number>'."""

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config = self.config
        found = self.find(heartbeat)
        left_out: Counter[str] = Counter()
        files = list_tars(
            found, config.damaged, stride, left_out, heartbeat, named=config.key == "name"
        )
        return listing_of(files, find_features(files, config.carry, heartbeat), left_out)

    @property
    def keys_are_numbers(self) -> bool:
        """Whether keys are '<file>__<number>'."""
        return self.config.key == "number"

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        config = self.config
        images = (config.image,) if isinstance(config.image, str) else config.image
        fields = SampleFields(
            frozenset(image.lower() for image in images), features, named=config.key == "name"
        )
        return read_spans(
            unit,
            config.damaged,
            timed_out,
            lambda span, numbers: read_tar(unit, span, numbers, fields),
        )

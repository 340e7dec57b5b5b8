"""TFRecord source: files of tf.train.Example with named fields."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.yaml_config import Name, PathStr
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.example_reader import Fields, first_record_kinds, read_examples
from pipeline.sources.listing import Listing, listing_of
from pipeline.sources.tfrecord_files import (
    Damaged,
    check_carried_names,
    list_record_files,
    missing_shards,
)


class TfrecordConfig(BaseSourceConfig):
    """TFRecord files of tf.train.Example with named fields."""

    kind: Literal["tfrecord"]
    files: PathStr
    image: str
    key: str | None = None
    carry: dict[Name, str] = pydantic.Field(default_factory=dict)
    damaged: Damaged = "refuse"

    def open(self) -> "TfrecordSource":
        """Returns the source that this config describes; reads nothing yet."""
        return TfrecordSource(self)


class TfrecordSource(Source):
    """Keys are a field of the record, or '<file>__<number>'."""

    def __init__(self, config: TfrecordConfig):
        self.config = config

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return self.config.files

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        paths = filesystem.glob(self.config.files)
        if not paths:
            raise RequestError(
                f"source.files: expected TFRecord files, found none that match "
                f"{self.config.files!r}. Check the path."
            )
        # The expected number of records is unknown.
        expected = [(path, None) for path in sorted([*paths, *missing_shards(paths)])]
        files = list_record_files(expected, self.config.damaged, stride, heartbeat)
        wanted = [self.config.image, *self.config.carry.values()]
        wanted += [self.config.key] if self.config.key else []
        kinds = first_record_kinds(files, wanted, heartbeat)
        if kinds[self.config.image] != "bytes":
            raise RequestError(
                f"source.image: expected a field of bytes, got {kinds[self.config.image]} "
                f"in {self.config.image!r}. Name the field that holds the encoded image."
            )
        if self.config.key and kinds[self.config.key] != "bytes":
            raise RequestError(
                f"source.key: expected a field of bytes, got {kinds[self.config.key]} "
                f"in {self.config.key!r}. Name another, or leave the key out."
            )
        check_carried_names(self.config.carry)
        features = tuple(
            CarriedFeature(name, field, kinds[field]) for name, field in self.config.carry.items()
        )
        return listing_of(files, features)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, self.config.key, features)
        return read_examples(unit, fields, self.config.damaged, timed_out)

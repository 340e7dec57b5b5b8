"""Examples: what sources of tf.train.Example with named fields share, whatever their files."""

import abc
from collections.abc import Callable, Iterator, Mapping

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, no_heartbeat
from pipeline.sources.carry import Carry, carried_features
from pipeline.sources.example_fields import check_keys, field_kinds
from pipeline.sources.example_reader import Fields, read_examples
from pipeline.sources.input_files import (
    FilesConfig,
    FilesSource,
    Patterns,
)
from pipeline.sources.listing import Listing, listing_of
from pipeline.sources.record_formats import RecordFormat
from pipeline.sources.tfrecord_files import Expected


class ExampleConfig(FilesConfig):
    """Base class of the configs of files of tf.train.Example with named fields.

    Attributes:
      image: Field with the encoded image.
      key: Field with the key of the record; by default '<file>__<number>'.
      carry: Fields to carry along, by their names in the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    image: str
    key: str | None = None
    carry: Carry = pydantic.Field(default_factory=dict)

    @property
    @abc.abstractmethod
    def record_format(self) -> RecordFormat:
        """How the files are listed and read."""

    @property
    def may_be_empty(self) -> bool:
        """Whether a file of 0 bytes is a file without records."""
        return False

    def open_files(self, patterns: Patterns) -> "ExampleSource":
        """Returns the source that reads the files of some patterns; reads nothing yet."""
        return ExampleSource(self, patterns)


class ExampleSource(FilesSource[ExampleConfig]):
    """Keys are a field of the record, or '<file>__<number>'."""

    def __init__(self, config: ExampleConfig, patterns: Patterns):
        super().__init__(config, patterns)
        self._format = config.record_format

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config = self.config
        found = self.find(heartbeat)
        # The expected number of records is unknown.
        expected = [
            Expected(path, may_be_empty=config.may_be_empty, split=split, name=name)
            for path, name, split in found
        ]
        files = self._format.list(expected, config.damaged, stride, heartbeat)
        wanted = [config.image, *([config.key] if config.key else [])]
        optional = [one.field for one in config.carry.values() if one.default is not None]
        wanted += [one.field for one in config.carry.values() if one.default is None]
        kinds = field_kinds(files, self._format, wanted, optional, heartbeat)
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
        if self.config.key:
            check_keys(files, self._format, self.config.key, heartbeat)
        return listing_of(files, carried_features(config.carry, kinds))

    @property
    def keys_are_numbers(self) -> bool:
        """Whether keys are '<file>__<number>'."""
        return self.config.key is None

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, self.config.key, features)
        return read_examples(unit, self._format, fields, self.config.damaged, timed_out)

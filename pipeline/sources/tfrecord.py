"""TFRecord files of tf.train.Example with named fields."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.yaml_config import Name, Path_, _Frozen
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NOTHING, Beat, Listing, no_beat
from pipeline.sources.record_files import (
    Damaged,
    Fields,
    check_names,
    file_name,
    first_record_kinds,
    list_groups,
    list_record_files,
    missing_shards,
    read_examples,
    units_of_files,
)


class TfrecordSource(_Frozen):
    """TFRecord files of tf.train.Example with named fields."""

    kind: Literal["tfrecord"]
    files: Path_
    image: str
    key: str | None = None
    carry: dict[Name, str] = pydantic.Field(default_factory=dict)
    damaged: Damaged = "refuse"


class Tfrecord:
    """Keys are a field of the record, or '<file>__<number>'."""

    def __init__(self, config: TfrecordSource):
        self.config = config

    def list(self, stride: int = 1, beat: Beat = no_beat) -> Listing:
        """Lists the input; see `Source`."""
        paths = filesystem.glob(self.config.files)
        if not paths:
            raise RequestError(
                f"source.files: expected TFRecord files, found none that fit "
                f"{self.config.files!r}. Check the path."
            )
        # Nobody says how many records each ought to hold.
        expected = [(path, None) for path in sorted([*paths, *missing_shards(paths)])]
        files = list_record_files(expected, self.config.damaged, stride, beat)
        wanted = [self.config.image, *self.config.carry.values()]
        wanted += [self.config.key] if self.config.key else []
        kinds = first_record_kinds(files, wanted, beat)
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
        check_names(self.config.carry)
        features = tuple(
            CarriedFeature(name, field, kinds[field]) for name, field in self.config.carry.items()
        )
        return list_groups(files, features)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        given_up: Mapping[int, str] = NOTHING,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, self.config.key, features)
        return read_examples(unit, fields, self.config.damaged, given_up)

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Cuts units out of some groups; see `Source`."""
        return units_of_files(listing, groups)

    def group_of(self, unit: Unit, key: str) -> str:
        """Returns the group that counts a record; see `Source`."""
        return file_name(unit.path)

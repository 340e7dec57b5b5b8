"""tensorflow-datasets source: prepared datasets, read from their TFRecord shards."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.yaml_config import PathStr
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.carry import Carry, carried_features, check_carried_names
from pipeline.sources.example_reader import Fields, read_examples
from pipeline.sources.input_files import Damaged
from pipeline.sources.listing import Listing, file_name, listing_of
from pipeline.sources.record_formats import TFRECORD, RecordFormat
from pipeline.sources.tfds_builder import open_directory, open_name
from pipeline.sources.tfds_features import carried_feature, check_image
from pipeline.sources.tfds_splits import expected_files
from pipeline.sources.units import units_of_numbered_keys


class TfdsConfig(BaseSourceConfig):
    """A prepared tensorflow-datasets dataset: a directory, or a name inside a data_dir.

    Attributes:
      directory: Directory that holds dataset_info.json.
      name: Name, config and version, as in 'mnist' or 'mnist:3.0.1'; instead of `directory`.
      data_dir: Where tensorflow-datasets keeps its datasets, with `name`.
      split: The split to read, or an expression such as 'train[:90%]+test'; required unless
        `output.split` has such expressions.
      image: Feature with the image; inside others by its path, such as `obs/image`.
      carry: Scalar features to carry along, such as the label; or such features by their names in
        the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    kind: Literal["tfds"]
    directory: PathStr | None = None
    name: str | None = None
    data_dir: PathStr | None = None
    split: str | None = None
    image: str = "image"
    carry: tuple[str, ...] | Carry = ()
    damaged: Damaged = "refuse"

    @pydantic.field_validator("carry")
    @classmethod
    def _carry_differs(cls, carry: tuple[str, ...] | Carry) -> tuple[str, ...] | Carry:
        if not isinstance(carry, Mapping) and len(set(carry)) != len(carry):
            raise ValueError(f"expected each feature once, got {list(carry)}")
        return carry

    @pydantic.model_validator(mode="after")
    def _directory_or_name(self) -> "TfdsConfig":
        if (self.directory is None) == (self.name is None):
            raise ValueError("expected either 'directory' or 'name', got both or neither")
        if self.data_dir is not None and self.name is None:
            raise ValueError("expected 'data_dir' together with 'name', got it with 'directory'")
        return self

    def open(self) -> "TfdsSource":
        """Returns the source that this config describes; reads nothing yet."""
        if self.split is None:
            raise RequestError(
                "source.split: expected a split such as 'train', got none. Add the key 'split'."
            )
        return TfdsSource(self, {None: self.split})

    def open_parts(self, parts: Mapping[str, str]) -> "TfdsSource":
        """Returns the source of some parts, which are split expressions."""
        if self.split is not None:
            raise RequestError(
                f"source.split: expected none beside the expressions in output.split, "
                f"got {self.split!r}. Remove it."
            )
        return TfdsSource(self, parts)


class TfdsSource(Source):
    """Keys are those of tensorflow-datasets' `tfds_id`: '<shard file>__<number>'.

    The metadata comes through tensorflow-datasets. The records are read
    directly, at a third of the cost, because an image feature holds the bytes
    of the encoded file.
    """

    def __init__(self, config: TfdsConfig, expressions: Mapping[str, str] | Mapping[None, str]):
        # Not in `list`, which runs in a thread; see `fsq.dataset.tfds_metadata`.
        import tensorflow_datasets as tfds

        _ = tfds.features.Text().np_dtype  # its first use imports another library

        self.config = config
        self._expressions = expressions

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return self.config.directory or str(self.config.name)

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        builder = self._builder()
        check_image(self.config.image, builder.info.features)
        features = self._carried(builder.info.features)
        expected = expected_files(builder, self._expressions, heartbeat)
        record_format = _format_of(expected[0].path, builder)
        files = record_format.list(expected, self.config.damaged, stride, heartbeat)
        return listing_of(files, features)

    def _carried(self, features: Any) -> tuple[CarriedFeature, ...]:
        carry = self.config.carry
        if not isinstance(carry, Mapping):
            check_carried_names(carry)
            return tuple(carried_feature(name, features) for name in carry)
        stored = {one.field: carried_feature(one.field, features) for one in carry.values()}
        kinds = {field: feature.kind for field, feature in stored.items()}
        classes = {field: one.class_names for field, one in stored.items() if one.class_names}
        return carried_features(carry, kinds, classes)

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units of some keys; see `Source.units_with`."""
        yield from units_of_numbered_keys(listing, keys)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, None, features)
        return read_examples(unit, _format_of(unit.path), fields, self.config.damaged, timed_out)

    def _builder(self) -> Any:
        if self.config.directory is not None:
            return open_directory(self.config.directory)
        return open_name(str(self.config.name), self.config.data_dir)


def _format_of(path: str, builder: Any = None) -> RecordFormat:
    """Returns the format of a dataset's files, which is in their names."""
    name = file_name(path)
    if ".array_record" in name:
        from pipeline.sources.array_record import ARRAY_RECORD

        return ARRAY_RECORD
    if builder is not None and ".tfrecord" not in name:
        raise RequestError(
            f"{builder.data_dir}: expected the file format tfrecord or array_record, "
            f"got {builder.info.file_format.value}. Prepare it as one of these"
            f"{', or use source.kind parquet' if name.endswith('.parquet') else ''}."
        )
    return TFRECORD

"""tensorflow-datasets source: prepared datasets, read from their TFRecord shards."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.yaml_config import PathStr
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.example_reader import Fields, read_examples
from pipeline.sources.listing import Listing, listing_of
from pipeline.sources.tfrecord_files import (
    Damaged,
    check_carried_names,
    list_record_files,
)

MAX_CLASSES = 1_000_000


class TfdsConfig(BaseSourceConfig):
    """A prepared tensorflow-datasets dataset: a directory, or a name inside a data_dir.

    Attributes:
      directory: Directory that holds dataset_info.json.
      name: Name, config and version, as in 'mnist' or 'mnist:3.0.1'; instead of `directory`.
      data_dir: Where tensorflow-datasets keeps its datasets, with `name`.
      split: The split to read.
      image: Feature with the image.
      carry: Scalar features to carry along, such as the label.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    kind: Literal["tfds"]
    directory: PathStr | None = None
    name: str | None = None
    data_dir: PathStr | None = None
    split: str
    image: str = "image"
    carry: tuple[str, ...] = ()
    damaged: Damaged = "refuse"

    @pydantic.field_validator("carry")
    @classmethod
    def _carry_differs(cls, carry: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(carry)) != len(carry):
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
        return TfdsSource(self)


class TfdsSource(Source):
    """Keys are those of tensorflow-datasets' `tfds_id`: '<shard file>__<number>'.

    The metadata comes through tensorflow-datasets. The records are read
    directly, at a third of the cost, because an image feature holds the bytes
    of the encoded file.
    """

    def __init__(self, config: TfdsConfig):
        # Not in `list`, which runs in a thread; see `fsq.dataset.tfds_metadata`.
        import tensorflow_datasets as _  # noqa: F401

        self.config = config

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return self.config.directory or str(self.config.name)

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        builder = self._builder()
        splits = builder.info.splits
        if self.config.split not in splits:
            raise RequestError(
                f"source.split: expected one of {', '.join(sorted(splits))}, "
                f"got {self.config.split!r}."
            )
        if builder.info.file_format.value != "tfrecord":
            raise RequestError(
                f"{builder.data_dir}: expected the file format tfrecord, "
                f"got {builder.info.file_format.value}. Prepare it as tfrecord."
            )
        check_carried_names(self.config.carry)
        features = self._features(builder)
        expected = _shards(builder, self.config.split)
        files = list_record_files(expected, self.config.damaged, stride, heartbeat)
        return listing_of(files, features)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, None, features)
        return read_examples(unit, fields, self.config.damaged, timed_out)

    def _builder(self) -> Any:
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core import read_only_builder

        if self.config.directory is not None:
            try:
                return tfds.builder_from_directory(self.config.directory)
            except Exception as error:  # tfds raises what its JSON and file layers raise
                raise RequestError(
                    f"source.directory: expected a dataset prepared by tensorflow-datasets, "
                    f"found none in {self.config.directory!r}. Give the directory that holds "
                    "dataset_info.json."
                ) from error
        # Not tfds.builder(), which looks for unprepared datasets on the network.
        try:
            return read_only_builder.builder_from_files(
                self.config.name, data_dir=self.config.data_dir
            )
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            data_dir = self.config.data_dir
            option = f" --data_dir {data_dir}" if data_dir else ""
            raise RequestError(
                f"source.name: expected a prepared dataset {self.config.name!r} in "
                f"{data_dir or 'the default data_dir'}, found none. "
                f"Prepare it with 'tfds build {self.config.name}{option}'."
            ) from error

    def _features(self, builder: Any) -> tuple[CarriedFeature, ...]:
        import tensorflow_datasets as tfds

        known = builder.info.features
        images = [name for name in known if isinstance(known[name], tfds.features.Image)]
        if self.config.image not in images:
            raise RequestError(
                f"source.image: expected an image feature ({', '.join(images) or 'none here'}), "
                f"got {self.config.image!r}."
            )
        return tuple(_carried(name, known) for name in self.config.carry)


def _shards(builder: Any, split_name: str) -> list[tuple[str, int]]:
    """Returns path and length of each shard of a split."""
    split = builder.info.splits[split_name]
    try:
        paths = [os.fspath(path) for path in split.filepaths]
        if not paths or "\0" in "".join(paths):
            raise ValueError(f"{len(paths)} file names, {paths[:1]}")
        return list(zip(paths, split.shard_lengths, strict=True))
    except Exception as error:  # tfds raises what its template and JSON layers raise
        raise RequestError(
            f"{builder.data_dir}/dataset_info.json: expected name and length of every shard, "
            f"got: {' '.join(str(error).split())[:200]}. Prepare the dataset again."
        ) from error


def _carried(name: str, known: Any) -> CarriedFeature:
    if name not in known:
        raise RequestError(
            f"source.carry: expected features among {', '.join(sorted(known))}, got {name!r}."
        )
    feature = known[name]
    info = feature.get_tensor_info()
    kind = np.dtype(info.np_dtype).kind
    if info.shape != () or kind not in "biufSUO":
        raise RequestError(
            f"source.carry: expected scalar features, got {name!r} with shape {info.shape}."
        )
    if (getattr(feature, "num_classes", None) or 0) > MAX_CLASSES:
        # tensorflow-datasets would generate a name for each.
        raise RequestError(
            f"source.carry: expected at most {MAX_CLASSES:,} classes of {name!r}, "
            f"got {feature.num_classes:,}. features.json is damaged; prepare the dataset again."
        )
    class_names = tuple(getattr(feature, "names", None) or ()) or None
    match kind:
        case "b" | "i" | "u":
            return CarriedFeature(name, name, "int64", class_names)
        case "f":
            return CarriedFeature(name, name, "float32")
        case _:
            return CarriedFeature(name, name, "bytes")

"""Parquet source: tables with a column of images, as Hugging Face's `datasets` writes them."""

import builtins
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.yaml_config import PathStr
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, no_heartbeat
from pipeline.sources.carry import Carry
from pipeline.sources.damage import read_spans
from pipeline.sources.input_files import (
    FilesConfig,
    FilesSource,
    InputFile,
    Patterns,
    find_files,
)
from pipeline.sources.listing import Listing, listing_of
from pipeline.sources.saved_folders import with_saved_folders


class ParquetConfig(FilesConfig):
    """Parquet files with a column of images; or folders written by `save_to_disk` of `datasets`.

    An image is a struct of `bytes` and `path`, or bytes, or the path of an image file. Names of
    classes come from the schema, as `datasets` writes them, or from `dataset_info` in a README.md
    beside or above the files.

    Attributes:
      files: Name or pattern of the files, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      image: Column with the images; of a struct, its field after a dot.
      root: Folder that paths of images are relative to; by default that of the file.
      outside: Whether paths may lead out of `root`: absolute ones, and those with '..'.
      key: Column with the key of the record; by default the key is '<file>__<row>'.
      carry: Columns to carry along, by their names in the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    noun: ClassVar[str] = "Parquet files"

    kind: Literal["parquet"]
    image: str = "image"
    root: PathStr | None = None
    outside: bool = False
    key: str | None = None
    carry: Carry = pydantic.Field(default_factory=dict)

    def open_files(self, patterns: Patterns) -> "ParquetSource":
        """Returns the source that reads the files of some patterns; reads nothing yet."""
        return ParquetSource(self, patterns)


class ParquetSource(FilesSource[ParquetConfig]):
    """Keys are a column, or '<file>__<row>': the `path` of an image need not be unique."""

    def __init__(self, config: ParquetConfig, patterns: Patterns):
        # Not in `list`, which runs in a thread.
        import pyarrow.parquet  # noqa: F401

        super().__init__(config, patterns)

    def find(self, heartbeat: Callable[[], None]) -> builtins.list[InputFile]:
        """Returns the files, those of saved folders too; see `find_files`."""
        patterns = with_saved_folders(self._patterns)
        return find_files(patterns, self.config.noun, self.config.damaged, heartbeat)

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        from pipeline.sources.parquet_listing import find_features, list_tables

        files = list_tables(self.find(heartbeat), self.config.damaged, stride, heartbeat)
        return listing_of(files, find_features(files, self.config, heartbeat))

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
        from pipeline.sources.parquet_listing import columns_of
        from pipeline.sources.parquet_reader import read_rows

        config = self.config
        return read_spans(
            unit,
            config.damaged,
            timed_out,
            lambda span, numbers: read_rows(
                unit, span, numbers, columns_of(unit.path, config, features), config.damaged
            ),
        )

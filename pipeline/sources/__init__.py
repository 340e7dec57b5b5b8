"""Sources: one file per input format. Each lists its input and reads the records of a unit."""

from typing import Annotated, get_args

import pydantic

from pipeline.sources.array_record import ArrayRecordConfig
from pipeline.sources.base import Source
from pipeline.sources.idx import IdxConfig
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import ManifestConfig
from pipeline.sources.npy import NpyConfig
from pipeline.sources.parquet import ParquetConfig
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.webdataset import WebdatasetConfig

Configs = (  # fmt: skip
    TfdsConfig
    | TfrecordConfig
    | ImageFolderConfig
    | ParquetConfig
    | ManifestConfig
    | WebdatasetConfig
    | NpyConfig
    | IdxConfig
    | ArrayRecordConfig
)
SourceConfig = Annotated[Configs, pydantic.Field(discriminator="kind")]
KINDS = tuple(
    str(get_args(config.model_fields["kind"].annotation)[0]) for config in get_args(Configs)
)

__all__ = ["KINDS", "Listing", "Source", "SourceConfig"]

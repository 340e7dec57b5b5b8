"""Sources: one file per input format. Each lists its input and reads the records of a unit."""

from typing import Annotated

import pydantic

from pipeline.sources.base import Source
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.listing import Listing
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfrecord import TfrecordConfig

SourceConfig = Annotated[
    TfdsConfig | TfrecordConfig | ImageFolderConfig, pydantic.Field(discriminator="kind")
]

__all__ = ["Listing", "Source", "SourceConfig"]

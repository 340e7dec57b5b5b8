"""Sources: one file per input format. Each lists its files and reads the records of a unit."""

from typing import Annotated

import pydantic

from pipeline.sources.base import Listing, Source
from pipeline.sources.image_folder import ImageFolderConfig, ImageFolderSource
from pipeline.sources.tfds import TfdsConfig, TfdsSource
from pipeline.sources.tfrecord import TfrecordConfig, TfrecordSource

SourceConfig = Annotated[
    TfdsConfig | TfrecordConfig | ImageFolderConfig, pydantic.Field(discriminator="kind")
]


def open_source(config: SourceConfig) -> Source:
    """Returns the source that a config describes, without reading anything yet."""
    match config:
        case TfdsConfig():
            return TfdsSource(config)
        case TfrecordConfig():
            return TfrecordSource(config)
        case ImageFolderConfig():
            return ImageFolderSource(config)


__all__ = ["Listing", "Source", "SourceConfig", "open_source"]

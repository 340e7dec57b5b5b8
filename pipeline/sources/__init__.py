"""Sources: one file per input format. Each lists its files and reads the records of a unit."""

from typing import Annotated

import pydantic

from pipeline.sources.base import Listing, Source
from pipeline.sources.image_folder import ImageFolder, ImageFolderSource
from pipeline.sources.tfds import Tfds, TfdsSource
from pipeline.sources.tfrecord import Tfrecord, TfrecordSource

SourceConfig = Annotated[
    TfdsSource | TfrecordSource | ImageFolderSource, pydantic.Field(discriminator="kind")
]


def open_source(config: SourceConfig) -> Source:
    """Returns the source that a config describes, without reading anything yet."""
    match config:
        case TfdsSource():
            return Tfds(config)
        case TfrecordSource():
            return Tfrecord(config)
        case ImageFolderSource():
            return ImageFolder(config)


__all__ = ["Listing", "Source", "SourceConfig", "open_source"]

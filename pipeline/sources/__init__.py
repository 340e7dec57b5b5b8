"""Sources: one file per input format. Each lists its files and reads the records of a unit."""

from pipeline.config import ImageFolderSource, SourceConfig, TfdsSource, TfrecordSource
from pipeline.sources.listing import Listing, Source


def open_source(config: SourceConfig) -> Source:
    """Returns the source that a config describes, without reading anything yet."""
    match config:
        case TfdsSource():
            from pipeline.sources.tfds import Tfds

            return Tfds(config)
        case TfrecordSource():
            from pipeline.sources.tfrecord import Tfrecord

            return Tfrecord(config)
        case ImageFolderSource():
            from pipeline.sources.image_folder import ImageFolder

            return ImageFolder(config)


__all__ = ["Listing", "Source", "open_source"]

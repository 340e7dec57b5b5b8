"""Early imports: loads the libraries that worker threads use before there are any.

An import in one thread can break one in another; see `fsq.dataset.tfds_metadata`,
which `pipeline.run` imports.
"""

from fsq.dataset.formats import FORMATS
from fsq.images.png_fast_path import load_opencv
from pipeline.job.job import Job


def import_libraries(job: Job) -> None:
    """Imports what decodes images and writes shards; the encoder has been loaded by then."""
    load_opencv()
    for name in job.config.output.formats:
        FORMATS[name].import_library()

"""Reading images from the samples of WebDataset tars."""

from collections.abc import Iterator
from itertools import islice

from fsq.errors import DataError
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.tar_files import borrowed_tar
from pipeline.sources.tar_members import DamagedTarError
from pipeline.sources.tar_samples import Sample
from pipeline.sources.webdataset_fields import BadSampleError, SampleFields, carried_of, image_of


def read_tar(
    unit: Unit, span: Span, numbers: Iterator[int], fields: SampleFields
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a span; see `damage.read_spans`.

    Raises:
      OSError, DataError: The archive cannot be read, or changed after it was listed.
    """
    suffixes = fields.suffixes
    left = span.num_records
    with borrowed_tar(unit.path, span.first, suffixes) as cursor:
        samples = cursor.read(span.first, span.offset, suffixes.__contains__)
        try:
            for sample in islice(samples, span.num_records):
                left -= 1
                yield _record(sample, f"{unit.file}__{next(numbers)}", fields)
        except DamagedTarError as error:
            raise DataError(
                f"{unit.path}: sample {span.first + span.num_records - left}: {error}. Copy it "
                "again, or set source.damaged to 'reject' to reject what cannot be read."
            ) from error
    if left:
        raise DataError(
            f"{unit.path}: expected {span.num_records:,} samples from sample {span.first} on, "
            f"got {span.num_records - left:,}. The file changed after it was listed."
        )


def _record(sample: Sample, number: str, fields: SampleFields) -> ImageRecord | BadRecord:
    key = sample.key if fields.named else number
    try:
        return ImageRecord(key, image_of(sample, fields.images), carried_of(sample, fields.carried))
    except BadSampleError as error:
        return BadRecord(key, str(error))

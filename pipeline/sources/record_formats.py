"""Record formats: files of serialized tf.train.Examples, listed and read from any record on."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fsq.dataset.formats.tfrecord import read_frames
from fsq.storage import filesystem
from pipeline.sources.input_files import Damaged
from pipeline.sources.listing import ListedFile
from pipeline.sources.tfrecord_files import Expected, list_record_files


class RecordFormat(NamedTuple):
    """A format of files of records.

    Attributes:
      list: Lists files, with the offsets of every so many records; see `list_record_files`.
      read: Yields the records of a file from one on, given its path, its byte offset and its
        number; None for one whose content is damaged. Raises OSError and DataError.
    """

    list: Callable[[Sequence[Expected], Damaged, int, Callable[[], None]], tuple[ListedFile, ...]]
    read: Callable[[str, int, int], Iterator[bytes | None]]


def _read_tfrecord(path: str, offset: int, first: int) -> Iterator[bytes | None]:
    with filesystem.open_read(path) as file:
        file.seek(offset)
        yield from read_frames(file, path, first)


TFRECORD = RecordFormat(list_record_files, _read_tfrecord)

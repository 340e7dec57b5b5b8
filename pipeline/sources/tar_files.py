"""Tar files: opened plain or compressed, and cursors over their samples."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, cast

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.sources.cursor_pool import borrowed_cursor
from pipeline.sources.other_formats import HEAD_BYTES, other_format
from pipeline.sources.tar_members import DamagedTarError, cut_short
from pipeline.sources.tar_samples import Sample, read_samples

BUFFER_BYTES = 1 << 20
_UNPACK: dict[str, Callable[[BinaryIO], object]] = {
    "GZIP": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_COMPRESSION_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


class TarCursor:
    """Reads the samples of an archive, forward from the last one read.

    Attributes:
      size_bytes: Size of the archive; None if it is compressed.
    """

    def __init__(self, path: str):
        self._path = path
        self._raw = filesystem.open_read(path)
        try:
            self._file = self._open()
        except BaseException:
            self._raw.close()
            raise
        self._number = 0
        self._samples: Iterator[Sample] | None = None

    def _open(self) -> BinaryIO:
        head = self._raw.read(HEAD_BYTES)
        kind = other_format(head)
        name = "" if kind is None else kind.name
        self._raw.seek(0)
        self.size_bytes: int | None = None
        if unpack := _UNPACK.get(name):
            return cast(BinaryIO, unpack(self._raw))
        # An archive may begin with a header that only `tarfile` knows, or with a damaged one.
        if not head or (kind is not None and name != "a tar archive"):
            found = name if head else "an empty file"
            raise DataError(
                f"{self._path}: expected a tar archive, plain or compressed by gzip, bzip2 or xz, "
                f"got {found}. {'Copy it again.' if not head else 'Leave it out of source.files.'}"
            )
        self.size_bytes = self._raw.seek(0, io.SEEK_END)
        self._raw.seek(0)
        if filesystem.is_local(self._path):
            return self._raw
        # A store is asked once for many members.
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, self._raw), BUFFER_BYTES))

    def close(self) -> None:
        """Closes the file."""
        self._raw.close()

    def distance(self, number: int) -> int:
        """Returns how many samples have to be read to get to one, unless its offset is known."""
        return number - self._number if self._number <= number else number

    def samples(self, left_out: Counter[str]) -> Iterator[Sample]:
        """Yields all samples without their contents, for the listing.

        Raises:
          DamagedTarError: The archive is damaged; the whole samples before are yielded.
        """
        with _compression_errors():
            for sample in read_samples(self._file, 0, left_out=left_out):
                self._check_content(sample)
                yield sample

    def read(self, first: int, offset: int, wanted: Callable[[str], bool]) -> Iterator[Sample]:
        """Yields the samples from one on, with their contents.

        Args:
          first: Number of the sample.
          offset: Byte offset of its first header.
          wanted: Whether the content of members with a suffix is read.

        Raises:
          DamagedTarError: The archive is damaged.
        """
        # A compressed archive goes on where it is, any other from the offset.
        if self.size_bytes is not None:
            self._number, self._samples = first, read_samples(self._file, offset, wanted=wanted)
        elif self._samples is None or self._number > first:
            self._number, self._samples = 0, read_samples(self._file, 0, wanted=wanted)
        with _compression_errors():
            while (sample := next(self._samples, None)) is not None:
                self._number += 1
                if self._number > first:
                    yield sample

    def _check_content(self, sample: Sample) -> None:
        last = sample.parts[-1].member
        if self.size_bytes is not None and last.data + last.size > self.size_bytes:
            raise cut_short(last, max(0, self.size_bytes - last.data))


@contextlib.contextmanager
def _compression_errors() -> Iterator[None]:
    try:
        yield
    except (*_COMPRESSION_ERRORS, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of the system, not of bz2
            raise
        raise DamagedTarError(f"expected compressed data, got: {error}") from error


def borrowed_tar(path: str, number: int, suffixes: Hashable) -> AbstractContextManager[TarCursor]:
    """Borrows the cursor of an archive that is nearest before a sample.

    Args:
      path: The archive.
      number: Number of the sample.
      suffixes: Which contents are read; a cursor is kept for those that want the same.

    Raises:
      OSError, DataError: It cannot be opened.
    """
    key = (path, filesystem.modified_ns(path), suffixes)
    return borrowed_cursor(key, number, lambda: TarCursor(path))

"""Listing text: what sources share whose listing is a text with one line per image."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.core.records import BadRecord, Unit, record_numbers
from pipeline.sources.listing import ListedFile, Listing
from pipeline.sources.units import spans_of

LISTING_NAME = "listing.txt"
NO_TIME = b"%020d" % 0


def read_lines(unit: Unit) -> list[bytes]:
    """Returns the lines of a unit's records.

    All are read at once: the listing is not kept open while images are read.

    Raises:
      DataError: They are not those that were listed.
    """
    lines: list[bytes] = []
    with filesystem.open_read(unit.path) as listing:
        for span in unit.spans:
            listing.seek(span.offset)
            lines += itertools.islice(listing, span.num_records)
    # Units that are read right after the listing have no etag.
    if unit.etag and hashlib.sha256(b"".join(lines)).hexdigest() != unit.etag:
        raise DataError(
            f"{unit.path}: expected the {unit.num_records:,} images that were listed, got "
            "others. The work folder is damaged; run the same command again."
        )
    return lines


def read_image(key: str, path: str, size_bytes: int | None) -> bytes | BadRecord:
    """Reads the file of an image; `size_bytes` is its size as listed, if that is known."""
    try:
        data = (
            filesystem.read(path) if size_bytes is None else filesystem.read_sized(path, size_bytes)
        )
    except OSError as error:
        return BadRecord(key, unreadable(error))
    if size_bytes is not None and len(data) != size_bytes:
        return BadRecord(
            key, f"expected {size_bytes:,} bytes as listed, got {len(data):,}: file changed"
        )
    return data


def unreadable(error: OSError) -> str:
    """Returns the reason for a file that cannot be read."""
    return f"expected a file that can be read, got: {error.strerror or error}"


def numbered_lines(
    files: Iterable[ListedFile], text: BinaryIO
) -> Iterator[tuple[ListedFile, int, bytes]]:
    """Yields each line with its section and the number of its record."""
    text.seek(0)
    for file in files:
        for number, line in zip(file.numbers, text, strict=False):
            yield file, number, line


def units_of_lines(listing: Listing, is_wanted: Callable[[bytes], bool]) -> Iterator[Unit]:
    """Yields units of the records whose lines are wanted; the stride must be 1."""
    assert listing.text is not None
    lines = numbered_lines(listing.files, listing.text)
    for file, group in itertools.groupby(lines, key=lambda entry: entry[0]):
        if some := [number for _, number, line in group if is_wanted(line)]:
            yield file.unit("", spans_of(file, some))


def first_rewritten(before: BinaryIO, after: Listing, unit: Unit) -> bytes | None:
    """Returns the first line of a unit's records that differs from an earlier listing's."""
    assert after.text is not None
    before.seek(0)
    wanted, section = {*record_numbers(unit)}, after.file_of(unit)
    for (file, number, line), old in zip(
        numbered_lines(after.files, after.text), before, strict=False
    ):
        if file is section and number in wanted and line != old:
            return line
    return None

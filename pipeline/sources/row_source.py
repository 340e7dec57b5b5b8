"""Row source: the base of sources whose listing has a line per row, with its values."""

from collections.abc import Collection, Iterator, Mapping

from fsq.dataset.records import Carried, CarriedFeature, encode_key
from fsq.storage import filesystem
from fsq.storage.path_encoding import from_utf8
from pipeline.core.records import BadRecord, ImageRecord, Unit, record_numbers
from pipeline.sources.base import NO_TIMEOUTS, Source
from pipeline.sources.listed_rows import UNKNOWN, ListedRow, first_changed_row
from pipeline.sources.listing import Listing
from pipeline.sources.listing_text import (
    LISTING_NAME,
    first_rewritten,
    read_image,
    read_lines,
    units_of_lines,
)
from pipeline.sources.read_ahead import read_ahead


class RowSource(Source):
    """Reads images one by one, as the lines of the listing say (`ListedRow`)."""

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""

        def read_one(listed: tuple[int, ListedRow]) -> ImageRecord | BadRecord:
            number, row = listed
            if number in timed_out:
                return BadRecord(row.key, timed_out[number])
            return _read(row, features)

        rows = [ListedRow.from_line(line) for line in read_lines(unit)]
        listed = zip(record_numbers(unit), rows, strict=True)
        # Those of one manifest are on a disk or in a store, as a rule all of them.
        place = next((row.path for row in rows if not filesystem.is_local(row.path)), "")
        yield from read_ahead(listed, read_one, place=place)

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units of some keys; see `Source.units_with`."""
        yield from units_of_lines(listing, lambda line: ListedRow.from_line(line).key in keys)

    def first_change(self, before: str, after: Listing, unit: Unit | None = None) -> str | None:
        """Names the first changed row; see `Source.first_change`."""
        assert after.text is not None
        path = filesystem.join(before, LISTING_NAME)
        if not filesystem.exists(path):
            return None
        with filesystem.open_read(path) as file:
            if unit is None:
                return first_changed_row(file, after.text)
            line = first_rewritten(file, after, unit)
        return None if line is None else f"{ListedRow.from_line(line).key} was rewritten"


def _read(row: ListedRow, features: tuple[CarriedFeature, ...]) -> ImageRecord | BadRecord:
    if row.refused is not None:
        return BadRecord(row.key, row.refused)
    path = from_utf8(row.path) if filesystem.is_local(row.path) else row.path
    data = read_image(row.key, path, None if row.size_bytes == UNKNOWN else row.size_bytes)
    if isinstance(data, BadRecord):
        return data
    return ImageRecord(row.key, data, _carried(row, features) if features else ())


def _carried(row: ListedRow, features: tuple[CarriedFeature, ...]) -> Carried:
    return tuple(
        encode_key(value) if isinstance(value, str) else value
        for value, _ in zip(row.values, features, strict=True)
    )

"""Units: cuts a listing into units, equal on every machine."""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from pipeline.core.proportions import share_out
from pipeline.core.records import Span, Unit, unit_name
from pipeline.sources.listing import ListedFile, Listing

# Units are equal on every machine, because their size follows from the input alone.
UNITS_WANTED = 64
MAX_UNIT_RECORDS = 4096


def unit_records(total: int, batch_size: int) -> int:
    """Returns the number of records per unit: full batches, about 64 units, at most 4096."""
    wanted = min(math.ceil(total / UNITS_WANTED), MAX_UNIT_RECORDS)
    return max(1, wanted // batch_size) * batch_size


def cut_units(listing: Listing, batch_size: int, limit: int | None = None) -> list[Unit]:
    """Cuts the listing into units; a unit never spans two files.

    Args:
      listing: The input, listed with a stride that divides the batch size.
      batch_size: Images per batch.
      limit: Use only the first `limit` records; if the source lists parts for the splits, as
        many of each as are in proportion to its size.
    """
    left = listing.records_by_split
    if limit is not None and limit < listing.num_records:
        left = share_out(limit, left)
    size = unit_records(sum(left.values()), batch_size)
    units: list[Unit] = []
    for file in listing.files:
        count = min(file.num_records, left[file.split])
        for first in range(0, count, size):
            numbers = file.numbers[first : min(first + size, count)]
            etag = etag_of(listing, file, numbers)
            spans = file.spans(numbers[0], len(numbers))
            units.append(file.unit(unit_name(len(units)), spans, etag))
        left[file.split] -= count
    return units


def etag_of(listing: Listing, file: ListedFile, numbers: Sequence[int]) -> str:
    """Returns the etag of some records: equal etags mean equal content.

    It is the size and modification time of their file; where each image is a file
    of its own, the sha256 of their lines in the listing, which hold size and time.
    """
    if listing.text is None or not numbers:
        return f"{file.size_bytes} bytes of {file.modified_ns}"
    first, offset = file.offset_before(numbers[0])
    listing.text.seek(offset)
    lines = enumerate(itertools.islice(listing.text, numbers[-1] + 1 - first), start=first)
    wanted = set(numbers)
    text = b"".join(line for number, line in lines if number in wanted)
    return hashlib.sha256(text).hexdigest()


def spans_of(file: ListedFile, numbers: Sequence[int]) -> tuple[Span, ...]:
    """Returns the spans of some records of a file that was listed with a stride of 1."""
    spans: list[Span] = []
    # Consecutive numbers have the same difference to their index.
    for _, run in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        first, *rest = (number for _, number in run)
        spans += file.spans(first, 1 + len(rest))
    return tuple(spans)


def units_of_numbered_keys(listing: Listing, keys: Iterable[str]) -> Iterator[Unit]:
    """Yields units of the records with some keys of the form '<file>__<number>'.

    The listing must have a stride of 1.
    """
    wanted: dict[int, set[int]] = {}
    for key in keys:
        name, _, digits = key.rpartition("__")
        if digits.isdecimal() and len(digits) < 19:
            index = listing.index_of(name, int(digits))
            if index is not None:
                wanted.setdefault(index, set()).add(int(digits))
    for index, numbers in sorted(wanted.items()):
        file = listing.files[index]
        yield file.unit("", spans_of(file, sorted(numbers)))


def one_unit_per_file(listing: Listing) -> list[Unit]:
    """Returns units of the whole input, for a reader that writes no parts."""
    return [
        file.unit(unit_name(number), file.spans(file.first, file.num_records))
        for number, file in enumerate(listing.files)
        if file.num_records
    ]

"""Damage: what becomes of the records of a unit whose file cannot be read to the end."""

import errno
from collections.abc import Callable, Iterator, Mapping

from fsq.errors import DataError
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.input_files import Damaged

# Yields a record for each number that it takes from the iterator.
ReadSpan = Callable[[Span, Iterator[int]], Iterator[ImageRecord | BadRecord]]


def read_spans(
    unit: Unit, damaged: Damaged, timed_out: Mapping[int, str], read: ReadSpan
) -> Iterator[ImageRecord | BadRecord]:
    """Yields the records of a unit span by span; with `damaged: reject`, those lost as bad ones.

    Args:
      unit: The unit.
      damaged: Whether to raise the error of a damaged file.
      timed_out: See `Source.read`; the rest of the unit is not read again.
      read: Reads a span.

    Raises:
      OSError, DataError: A span cannot be read, and damage is refused.
    """
    for span in unit.spans:
        numbers = iter(range(span.first, span.first + span.num_records))
        reason = next(iter(timed_out.values()), span.damage)
        if timed_out and damaged == "refuse":
            raise TimeoutError(errno.ETIMEDOUT, reason, unit.path)
        if reason is None:
            try:
                yield from read(span, numbers)
            except OSError as error:
                if damaged == "refuse":
                    raise
                reason = f"expected a file that can be read, got: {error.strerror or error}"
            except DataError as error:
                if damaged == "refuse":
                    raise
                reason = str(error).removeprefix(f"{unit.path}: ")
        # The rest of the span.
        for number in numbers:
            yield BadRecord(f"{unit.file}__{number}", reason or "")

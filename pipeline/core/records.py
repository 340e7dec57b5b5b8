"""What flows: units of input, image records, token records, rejects.

Those that are made once per image are named tuples: a frozen dataclass takes
several times as long to make, which shows beside a small encoder.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from fsq.dataset.records import Carried, encode_key


@dataclasses.dataclass(frozen=True)
class Span:
    """Records of a file that lie one behind the other.

    Attributes:
      offset: The byte where the first of them begins.
      first: Its number in the file.
      num_records: How many they are.
      damage: Why none of them can be read, if that is known before; each is then
        a reject.
    """

    offset: int
    first: int
    num_records: int
    damage: str | None = None


@dataclasses.dataclass(frozen=True)
class Unit:
    """A fixed slice of the input that is done as a whole.

    Attributes:
      name: Stable id, also the name of its part.
      path: The file to read.
      spans: What to read of it, in order; empty where the part was made from a
        finished dataset and cannot be made again.
      etag: Stands for the state of what is read, see `pipeline.sources.units.etag_of`;
        while it is the same, so is the content.
    """

    name: str
    path: str
    spans: tuple[Span, ...]
    etag: str = ""

    @property
    def num_records(self) -> int:
        """How many records its spans name."""
        return sum(span.num_records for span in self.spans)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Unit":
        """The inverse of `to_dict`."""
        return cls(**{**content, "spans": tuple(Span(**span) for span in content["spans"])})


def record_numbers(unit: Unit) -> Iterator[int]:
    """Yields the numbers, in their file, of the records of a unit."""
    for span in unit.spans:
        yield from range(span.first, span.first + span.num_records)


def unit_name(number: int) -> str:
    """Returns the stable id of the unit with this number; it is also the name of its part."""
    return f"unit-{number:06d}"


class ImageRecord(NamedTuple):
    """One image as the source holds it: undecoded bytes, with what is carried along."""

    key: str
    data: bytes
    carried: Carried


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that the source could not read, with the reason."""

    key: str
    reason: str


def hash_record(record: ImageRecord | BadRecord) -> int:
    """Hashes key and bytes to 128 bits, as read; sums of these say what a set of records was."""
    data = record.data if isinstance(record, ImageRecord) else record.reason.encode()
    key = encode_key(record.key)
    content = b"%d %b%b" % (len(key), key, data)
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def sum_of_hashes(records: Iterable[ImageRecord | BadRecord]) -> int:
    """Adds up the hashes of records; the order does not matter."""
    return sum(hash_record(record) for record in records)


def hex_of_hashes(total: int) -> str:
    """Renders a sum of hashes, modulo 2**128."""
    return f"{total % 2**128:032x}"


@dataclasses.dataclass(frozen=True)
class Reject:
    """A record refused, with its reason and its place in the input.

    Attributes:
      key: Its key.
      stage: Where it was refused.
      reason: One line.
      file: The source file, or the folder of image files, that accounts for it.
      record: Its number in the file that was read.
    """

    key: str
    stage: Literal["read", "decode", "encode"]
    reason: str
    file: str
    record: int

    def to_dict(self) -> dict[str, str | int]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)

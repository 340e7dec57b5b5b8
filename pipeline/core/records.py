"""The values of the data flow: units, image records, rejects and content hashes.

Values made once per image are named tuples: a frozen dataclass takes several
times as long to create, which is noticeable with a small encoder.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from fsq.dataset.records import Carried, encode_key


@dataclasses.dataclass(frozen=True)
class Span:
    """Consecutive records of one file.

    Attributes:
      offset: Byte offset of the first record.
      first: Number of the first record in the file, from 0.
      num_records: Number of records.
      damage: Why none of them can be read, if the listing found that; each is
        then a reject.
    """

    offset: int
    first: int
    num_records: int
    damage: str | None = None


@dataclasses.dataclass(frozen=True)
class Unit:
    """A fixed slice of the input that is processed as a whole.

    Attributes:
      name: Stable id, also the name of its part.
      path: The file to read.
      spans: The records to read, in order; empty if the part was copied from a
        finished dataset and cannot be encoded again.
      etag: Changes when the records change; see `pipeline.sources.units.etag_of`.
      split: The split of its records, if the source lists parts for the splits.
      file: Name of the file in keys and messages; see `ListedFile.name`.
    """

    name: str
    path: str
    spans: tuple[Span, ...]
    etag: str = ""
    split: str | None = None
    file: str = ""

    @property
    def num_records(self) -> int:
        """Number of records in all spans."""
        return sum(span.num_records for span in self.spans)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Unit":
        """The inverse of `to_dict`."""
        return cls(**{**content, "spans": tuple(Span(**span) for span in content["spans"])})


def record_numbers(unit: Unit) -> Iterator[int]:
    """Yields the number in the file of each record of a unit."""
    for span in unit.spans:
        yield from range(span.first, span.first + span.num_records)


def unit_name(number: int) -> str:
    """Returns the stable id of the unit with this number; it is also the name of its part."""
    return f"unit-{number:06d}"


class ImageRecord(NamedTuple):
    """One image as stored in the source, and carried features.

    Attributes:
      key: Its key.
      data: The bytes of an image file; or pixels, uint8 [H, W] or [H, W, C].
      carried: Values of the carried features.
    """

    key: str
    data: bytes | np.ndarray
    carried: Carried


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that the source could not read, with the reason."""

    key: str
    reason: str


def hash_record(record: ImageRecord | BadRecord) -> int:
    """Hashes key and encoded bytes to 128 bits; a sum of hashes identifies a set of records."""
    data = record.data if isinstance(record, ImageRecord) else record.reason.encode()
    if not isinstance(data, bytes):
        data = b"%s " % str(data.shape).encode() + data.tobytes()
    key = encode_key(record.key)
    content = b"%d %b%b" % (len(key), key, data)
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def sum_of_hashes(records: Iterable[ImageRecord | BadRecord]) -> int:
    """Sums the hashes of records, in any order."""
    return sum(hash_record(record) for record in records)


def hex_of_hashes(total: int) -> str:
    """Formats a sum of hashes, modulo 2**128, as 32 hex digits."""
    return f"{total % 2**128:032x}"


@dataclasses.dataclass(frozen=True)
class Reject:
    """A refused record, with the reason and its position in the input.

    Attributes:
      key: Key of the record.
      stage: The stage that refused it.
      reason: One line of text.
      file: The source file, or the folder of image files, that it is counted in.
      record: Its number in the file that was read.
    """

    key: str
    stage: Literal["read", "decode", "filter", "encode"]
    reason: str
    file: str
    record: int

    @property
    def is_wished(self) -> bool:
        """Whether the config asks for it, so that `max_reject_fraction` does not limit it."""
        return self.stage == "filter"

    def to_dict(self) -> dict[str, str | int]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)

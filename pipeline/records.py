"""What flows: units of input, image records, token records, rejects.

Those that are made once per image are named tuples: a frozen dataclass takes
several times as long to make, which shows beside a small encoder.
"""

import dataclasses
import hashlib
from typing import Literal, NamedTuple

RESERVED_FEATURES = ("tokens", "key", "view", "crop", "flip")

FeatureKind = Literal["int64", "float32", "bytes"]
Carried = tuple[int | float | bytes, ...]


@dataclasses.dataclass(frozen=True)
class CarriedFeature:
    """A scalar that goes from the source into the token record unchanged.

    Attributes:
      name: Its name in the token record.
      field: Its name in the source.
      kind: Its type.
      class_names: The names of the classes where it is a label.
    """

    name: str
    field: str
    kind: FeatureKind
    class_names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Unit:
    """A fixed slice of the input that is done as a whole.

    Attributes:
      name: Stable id, also the name of its part.
      path: The file to read.
      offset: The byte where its first record begins.
      first: The number of its first record in the file.
      num_records: How many records to read.
    """

    name: str
    path: str
    offset: int
    first: int
    num_records: int


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


@dataclasses.dataclass(frozen=True)
class Reject:
    """A record refused, with its reason."""

    key: str
    stage: Literal["read", "decode", "encode"]
    reason: str

    def to_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)


class Place(NamedTuple):
    """Where a record belongs: a stable hash of its key and view.

    Sorting by (high, low) is the shuffle; `high` also chooses the shard.
    """

    high: int
    low: int

    def shard(self, num_shards: int) -> int:
        return self.high % num_shards


def place_digest(key: bytes, view: str) -> bytes:
    """Hashes key and view to 128 bits, the same on every machine and for ever."""
    return hashlib.blake2b(key + b"\0" + view.encode(), digest_size=16).digest()


def place_of(key: bytes, view: str) -> Place:
    """Returns the place of a record; its two halves are those of `place_digest`."""
    digest = place_digest(key, view)
    return Place(int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))


def encode_key(key: str) -> bytes:
    """UTF-8; a file name that is not UTF-8 keeps its bytes."""
    return key.encode("utf-8", "surrogateescape")

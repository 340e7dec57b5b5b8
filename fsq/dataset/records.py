"""Token records: reserved features, carried features, and their order in the shuffle."""

import dataclasses
import hashlib
from typing import Literal, NamedTuple

GRID = "grid"  # rows and columns of the tokens; only in datasets with buckets
RESERVED_FEATURES = ("tokens", "key", "view", "crop", "flip", "source_size", GRID)


FeatureKind = Literal["int64", "float32", "bytes"]


Carried = tuple[int | float | bytes, ...]


@dataclasses.dataclass(frozen=True)
class CarriedFeature:
    """A scalar that is copied from the source into the token record.

    Attributes:
      name: Name in the token record.
      field: Name in the source.
      kind: Type of the value.
      class_names: Names of the classes, if it is a class label.
      default: Its value where the source has none, text for bytes; without one such a record
        is rejected.
    """

    name: str
    field: str
    kind: FeatureKind
    class_names: tuple[str, ...] | None = None
    default: int | float | str | None = None

    @property
    def default_value(self) -> int | float | bytes | None:
        """The default as it is carried."""
        return self.default.encode() if isinstance(self.default, str) else self.default


class Place(NamedTuple):
    """Place of a record in the shuffle: a stable hash of its key and view.

    Records are sorted by (high, low); `high` also chooses the shard.
    """

    high: int
    low: int

    def shard(self, num_shards: int) -> int:
        """Returns the index of the shard that holds the record."""
        return self.high % num_shards


def place_digest(key: bytes, view: str) -> bytes:
    """Hashes key and view to 128 bits, the same on every machine and in every version."""
    return hashlib.blake2b(key + b"\0" + view.encode(), digest_size=16).digest()


def place_of(key: bytes, view: str) -> Place:
    """Returns the place of a record: the two halves of `place_digest`."""
    digest = place_digest(key, view)
    return Place(int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))


def encode_key(key: str) -> bytes:
    """Encodes a key as UTF-8; a file name that is not UTF-8 keeps its bytes."""
    return key.encode("utf-8", "surrogateescape")


def decode_key(key: bytes) -> str:
    """The inverse of `encode_key`."""
    return key.decode("utf-8", "surrogateescape")

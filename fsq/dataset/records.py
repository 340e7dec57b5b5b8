"""Token records: their features, and where the shuffle puts them."""

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


class Place(NamedTuple):
    """Where a record belongs: a stable hash of its key and view.

    Sorting by (high, low) is the shuffle; `high` also chooses the shard.
    """

    high: int
    low: int

    def shard(self, num_shards: int) -> int:
        """Returns the number of the shard that holds this place."""
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

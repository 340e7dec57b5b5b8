"""Splits by share: which split an image belongs to follows from a hash of its key alone.

So an image stays where it is when others are added, and all its views fall together.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from fractions import Fraction

from fsq.dataset.records import encode_key

_ALL = 2**64


def split_of(key: str, shares: Mapping[str, float]) -> str:
    """Returns the split of an image.

    Args:
      key: Key of the image.
      shares: The share of each split; together 1, as they are written in decimals. The order
        of the names counts.

    >>> [split_of(key, {"train": 0.9, "val": 0.1}) for key in ("17.png", "18.png")]
    ['train', 'val']
    """
    digest = hashlib.blake2b(encode_key(key), digest_size=8, person=b"fsq split").digest()
    place = int.from_bytes(digest, "big")
    return next(name for name, end in _ends(tuple(shares.items())) if place < end)


def sum_of_shares(shares: Iterable[float]) -> Fraction:
    """Returns the exact sum of shares as they are written: .1 + .2 + .7 is 1."""
    return sum((Fraction(str(share)) for share in shares), Fraction(0))


@functools.lru_cache
def _ends(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, int], ...]:
    """Returns the exclusive end of each split's range of hashes."""
    ends = [
        int(sum_of_shares(share for _, share in shares[: number + 1]) * _ALL)
        for number in range(len(shares))
    ]
    return tuple((name, end) for (name, _), end in zip(shares, ends, strict=True))

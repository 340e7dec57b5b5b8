"""Shard names such as 'x-00001-of-00004': which are missing, and a pattern for those present."""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from fsq.errors import DataError
from fsq.storage import filesystem

# Only the base name counts: a number in the name of a folder says nothing of its files.
_SHARD = re.compile(
    r"(?P<head>(?:.*[^0-9])?)(?P<number>[0-9]+)(?P<of>[-_.][oO][fF][-_.])(?P<total>[0-9]+)"
    r"(?P<tail>(?:[^0-9].*)?)",
    re.DOTALL,
)
# More are counted, not named: a total can be any number.
_MOST_MISSING = 100_000


class _Family(NamedTuple):
    """What the names of all shards of one set share."""

    folder: str
    head: str
    of: str
    total: str
    tail: str

    def name(self, number: str) -> str:
        return "".join((self.folder, self.head, number, self.of, self.total, self.tail))


def missing_shards(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Returns the shards that names like 'x-00001-of-00004' imply and that are not there.

    A shard is missing only if a pattern matches its name: whoever names one shard, or some
    by their numbers, wants no other. Shards are numbered from 0, or from 1 if the last number
    is there and 0 is not.

    Raises:
      DataError: More than 100,000 are missing.

    >>> missing_shards(["x-0-of-3", "x-2-of-3"], ["x-*"])
    ['x-1-of-3']
    >>> missing_shards(["x-0-of-3", "x-2-of-3"], ["x-[02]-of-3"])
    []
    >>> missing_shards(["x-1-of-3", "x-2-of-3", "x-3-of-3"], ["x-*"])
    []
    """
    present = set(paths)
    missing: list[str] = []
    for family, numbers in _families(paths).items():
        if int(family.total) - len(numbers) > _MOST_MISSING:
            _refuse_too_many(family, numbers, patterns)
        else:
            implied = (name for name in _names(family, numbers) if name not in present)
            missing += (name for name in implied if _is_named(name, patterns))
    return sorted(missing)


def pattern_of(paths: Sequence[str]) -> str | None:
    """Returns a pattern that matches only these shards; None if there is no simple one.

    >>> pattern_of([f"x-{number:05d}-of-00020" for number in range(5)])
    'x-0000[0-4]-of-00020'
    >>> pattern_of(["x-00003-of-00020", "x-00010-of-00020"]) is None
    True
    """
    families = _families(paths)
    if len(families) != 1:
        return None
    ((family, numbers),) = families.items()
    columns = [sorted(set(digits)) for digits in zip(*numbers, strict=False)]
    fitting = {"".join(digits) for digits in itertools.product(*columns)}
    if fitting != set(numbers) or len(numbers) != len(paths):
        return None
    return family.name("".join(map(_digit_class, columns)))


def _families(paths: Sequence[str]) -> dict[_Family, list[str]]:
    """Returns the numbers of the shards of each family, as they are written."""
    families: dict[_Family, list[str]] = defaultdict(list)
    for path in paths:
        folder, slash, base = path.rpartition("/")
        match = _SHARD.fullmatch(base)
        # A number beyond the total, such as a date, is no shard's.
        if match is not None and int(match["number"]) <= int(match["total"]):
            head, of, total, tail = match.group("head", "of", "total", "tail")
            families[_Family(folder + slash, head, of, total, tail)].append(match["number"])
    return families


def _refuse_too_many(family: _Family, numbers: list[str], patterns: Sequence[str]) -> None:
    """Raises a DataError if a pattern matches the shard before or behind one of these."""
    total, width = int(family.total), min(map(len, numbers))
    known = {int(number) for number in numbers}
    beside = sorted({number + step for number in known for step in (-1, 1)} - known)
    for number in beside:
        name = family.name(f"{number:0{width}d}")
        if 0 <= number < total and _is_named(name, patterns):
            raise DataError(
                f"{name}: expected a file that can be read, got: No such file or directory "
                f"({len(known):,} of the {total:,} shards in the names are here). Copy the "
                "others, or name only those that are here, or rename them if this is no total."
            )


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return any(filesystem.matches(name, pattern) for pattern in patterns)


def _names(family: _Family, numbers: list[str]) -> list[str]:
    """Returns the names of all shards of a family, of which some numbers are known."""
    total, known = int(family.total), {int(number) for number in numbers}
    first = 1 if total in known and 0 not in known else 0
    width = min(map(len, numbers))
    return [family.name(f"{number:0{width}d}") for number in range(first, first + total)]


def _digit_class(digits: list[str]) -> str:
    if len(digits) == 1:
        return digits[0]
    first, last = digits[0], digits[-1]
    if len(digits) > 2 and int(last) - int(first) == len(digits) - 1:
        return f"[{first}-{last}]"
    return f"[{''.join(digits)}]"

"""Proportions: divides a whole number in proportion to some sizes."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def share_out(total: int, sizes: Mapping[Name, int]) -> dict[Name, int]:
    """Divides a number in proportion to some sizes; each gets 1 at least, as far as it goes.

    >>> share_out(16, {"train": 900, "val": 100})
    {'train': 14, 'val': 2}
    >>> share_out(2, {"train": 900, "val": 1})
    {'train': 1, 'val': 1}
    """
    whole = sum(sizes.values())
    found = {name: max(1, total * size // whole) for name, size in sizes.items()}

    def lacking(name: Name) -> float:
        return total * sizes[name] / whole - found[name]

    while (left := total - sum(found.values())) > 0:
        found[max(found, key=lacking)] += 1
    while left < 0:
        above_one = [name for name in found if found[name] > 1]
        found[min(above_one or found, key=lacking)] -= 1
        left += 1
    return found

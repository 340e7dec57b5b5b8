"""Patterns of files: '*', '?', '[0-4]', '**', and braces such as '{00000..00320}' or '{a,b}'."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from fsq.storage import filesystem

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_WILDCARD = re.compile(r"[*?[]")
MOST_NAMES = 1_000_000


class Matches(NamedTuple):
    """What a pattern matches.

    Attributes:
      paths: The files, sorted.
      missing: Names that its braces spell out and that are not there.
      names: The names that its braces spell out; the pattern alone if it has none.
    """

    paths: list[str]
    missing: list[str]
    names: list[str]


def match_files(pattern: str) -> Matches:
    """Lists the files that a pattern matches.

    A file whose name has braces or brackets in it is found by its name as it stands.

    Raises:
      ValueError: The braces spell out too many names.
    """
    names = expand_braces(pattern)
    if names != [pattern] and filesystem.exists(pattern):
        names = [pattern]
    found: set[str] = set()
    missing = []
    for name in names:
        paths = _found(name, alone=len(names) == 1)
        found.update(paths)
        if not paths:
            missing.append(name)
    return Matches(sorted(found), missing, names)


def _found(name: str, *, alone: bool) -> list[str]:
    if alone or _WILDCARD.search(name):
        return filesystem.glob(name)
    return [name] if filesystem.exists(name) else []


def expand_braces(pattern: str) -> list[str]:
    """Spells out the braces of a pattern, in their order, as shells do.

    Bounds with leading zeros keep their width. Braces with one entry are part of the name.

    Raises:
      ValueError: They spell out more than a million names.

    >>> expand_braces("{train,val}/x-{08..10}.tar")[:4]
    ['train/x-08.tar', 'train/x-09.tar', 'train/x-10.tar', 'val/x-08.tar']
    >>> expand_braces("x-{5}.tar")
    ['x-{5}.tar']
    """
    pieces: list[list[str]] = []
    end = 0
    for group in _GROUP.finditer(pattern):
        pieces += [[pattern[end : group.start()]], list(_entries(group[1]))]
        end = group.end()
    pieces.append([pattern[end:]])
    if math.prod(map(len, pieces)) > MOST_NAMES:
        raise ValueError(f"expected at most {MOST_NAMES:,} names, got {pattern!r}")
    return ["".join(words) for words in itertools.product(*pieces)]


def _entries(text: str) -> Iterator[str]:
    match = _RANGE.fullmatch(text)
    if match is None:
        yield from text.split(",") if "," in text else [f"{{{text}}}"]
        return
    first, last = match.groups()
    width = max(len(first), len(last)) if first[0] == "0" or last[0] == "0" else 0
    bounds = int(first), int(last)
    step = 1 if bounds[0] <= bounds[1] else -1
    if abs(bounds[1] - bounds[0]) >= MOST_NAMES:
        raise ValueError(f"expected at most {MOST_NAMES:,} names, got {{{text}}}")
    for number in range(bounds[0], bounds[1] + step, step):
        yield f"{number:0{width}d}"

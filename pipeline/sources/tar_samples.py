"""Samples of a WebDataset: adjacent members of a tar whose names agree up to the first dot."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from pipeline.core.left_out import HIDDEN, NO_SAMPLE
from pipeline.sources.tar_members import DamagedTarError, Member, read_content, read_member

# As the webdataset library splits names: dots in folders belong to the key.
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)


class Part(NamedTuple):
    """A member of a sample: its suffix in lower case, its place, its content if it was read."""

    suffix: str
    member: Member
    content: bytes | None


class Sample(NamedTuple):
    """A sample.

    Attributes:
      key: Folder and base name up to its first dot.
      parts: Its members.
    """

    key: str
    parts: tuple[Part, ...]

    @property
    def offset(self) -> int:
        """Byte offset of its first header."""
        return self.parts[0].member.offset


def read_samples(
    file: BinaryIO,
    offset: int,
    *,
    wanted: Callable[[str], bool] = lambda suffix: False,
    left_out: Counter[str] | None = None,
) -> Iterator[Sample]:
    """Yields the samples from an offset on.

    The archive is read forward only.

    Args:
      file: The archive.
      offset: Byte offset of a header.
      wanted: Whether the content of members with a suffix is read.
      left_out: Counts the members that are no part of a sample.

    Raises:
      DamagedTarError: A header or a content is damaged; the whole samples before are yielded.
    """
    key: str | None = None
    parts: list[Part] = []
    while True:
        try:
            member = read_member(file, offset)
        except DamagedTarError:
            if key is not None:
                yield Sample(key, tuple(parts))
            raise
        if member is None:
            break
        offset = member.end
        split = _NAME.fullmatch(member.name) if member.kind == "file" else None
        if split is None or _is_special(member.name):
            if left_out is not None and member.kind != "folder":
                hidden = member.name.rpartition("/")[2].startswith(".")
                left_out[HIDDEN if hidden else NO_SAMPLE] += 1
            continue
        if split[1] != key:
            if key is not None:
                yield Sample(key, tuple(parts))
            key, parts = split[1], []
        suffix = split[2].lower()
        # A sample whose content is cut is not yielded.
        content = read_content(file, member) if wanted(suffix) else None
        parts.append(Part(suffix, member, content))
    if key is not None:
        yield Sample(key, tuple(parts))


def _is_special(name: str) -> bool:
    """Returns whether the library skips a member by its name, which it keeps metadata in."""
    return name.startswith("__") and name.endswith("__")

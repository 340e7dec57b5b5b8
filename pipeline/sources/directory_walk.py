"""Directory walk: yields the files of a folder and all below it, sorted by relative path.

Paths are bytes here, so that names and order are the same in every locale. Only the
names of the folders being walked are in memory. Symbolic links that lead out of the
folder are followed on request only.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fsq.dataset.records import decode_key
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem

LINK_OUTSIDE = (
    "expected a file in the folder, got a link out of it (set source.follow_links to true)"
)
BROKEN_LINK = "expected a file, got a broken link"
NOT_A_FILE = "expected a file, got a pipe, a socket or a device"
UNREADABLE = "expected a file that can be read, could not look at it"
GONE = "expected a file, it disappeared while the folder was listed"
# Listings store the index into this tuple: append only.
REFUSALS = (LINK_OUTSIDE, BROKEN_LINK, NOT_A_FILE, UNREADABLE, GONE)
# Not in a listing: what it leads to is listed at its real path.
LINKED_FOLDER = "expected a folder, got a link to one that is read at its own place"


class FoundFile(NamedTuple):
    """A file, an entry that cannot be read as one, with the reason, or a folder.

    Attributes:
      name: Path relative to the folder; that of a folder ends with '/'.
      size_bytes: File size.
      modified_ns: Modification time in ns since the epoch.
      refused: One of `REFUSALS`, or `LINKED_FOLDER`; None if it can be read.
    """

    name: str
    size_bytes: int
    modified_ns: int
    refused: str | None = None


def walk(
    root: str,
    *,
    follow_links: bool,
    heartbeat: Callable[[], None],
    check_link: Callable[[bytes, bytes], None] = lambda path, real: None,
) -> Iterator[FoundFile]:
    """Yields the folders and files in a folder and below; nothing if there is no such folder.

    What has a leading dot is yielded, but not entered.

    Args:
      root: The folder.
      follow_links: Whether links that lead out of the folder are followed.
      heartbeat: See `Source.list`.
      check_link: Called with the path and the real path of every link out of the folder that
        is followed; raises a RequestError if its target must not be read here.

    Raises:
      DataError: A folder cannot be read, so that its images cannot be counted.
      RequestError: A folder is a link out of the folder, and links are not followed; or a link
        to a folder that it lies in, whose images would be listed again.
    """
    if filesystem.is_local(root):
        if os.path.isdir(root):
            folder = os.fsencode(root)
            yield from _Walk(folder, follow_links, heartbeat, check_link).enter(folder, b"", ())
        return
    # Some tools write an empty object in place of a folder; its name ends with a slash.
    for entry in filesystem.list_files(root, recursive=True):
        heartbeat()
        if entry.name:
            yield FoundFile(*entry)


class _Walk:
    def __init__(
        self,
        root: bytes,
        follow_links: bool,
        heartbeat: Callable[[], None],
        check_link: Callable[[bytes, bytes], None],
    ):
        self.root = os.path.realpath(root)
        self.follow_links = follow_links
        self.heartbeat = heartbeat
        self.check_link = check_link

    def enter(self, folder: bytes, prefix: bytes, above: tuple[bytes, ...]) -> Iterator[FoundFile]:
        """Yields the files of one folder; `above` holds the real paths of its parents."""
        self.heartbeat()
        if prefix:
            yield FoundFile(decode_key(prefix), 0, 0)
        try:
            with os.scandir(folder) as entries:
                found = [(_sort_name(entry), entry) for entry in entries]
        except OSError as error:
            raise DataError(
                f"{decode_key(folder)}: expected a folder that can be read, "
                f"got: {error.strerror or error}. Its images cannot be counted: "
                "change its permissions, or move it away."
            ) from error
        here = (*above, os.path.realpath(folder))
        # A folder sorts like the paths of its files: by its name with a slash.
        for name, entry in sorted(found, key=lambda pair: pair[0]):
            self.heartbeat()
            if name.startswith(b"."):
                yield FoundFile(decode_key(prefix + name), 0, 0)
            elif entry.is_symlink():
                yield from self._link(entry, prefix + name, here)
            elif name.endswith(b"/"):
                yield from self.enter(entry.path, prefix + name, here)
            else:
                yield _found_file(entry, prefix + name)

    def _link(
        self, entry: "os.DirEntry[bytes]", name: bytes, here: tuple[bytes, ...]
    ) -> Iterator[FoundFile]:
        real = os.path.realpath(entry.path)
        inside, is_folder = lies_in(real, self.root), name.endswith(b"/")
        if not os.path.exists(real):
            yield FoundFile(decode_key(name), 0, 0, BROKEN_LINK)
            return
        if not inside and not self.follow_links:
            if is_folder:
                raise link_refusal(entry.path, real)
            yield FoundFile(decode_key(name), 0, 0, LINK_OUTSIDE)
            return
        # A linked folder inside the root is listed at its real path, unless that is hidden; a
        # link to a parent would never end.
        hidden = b"/." in real.removeprefix(self.root)
        if is_folder and (real in here or (inside and not hidden)):
            yield FoundFile(decode_key(name), 0, 0, LINKED_FOLDER)
            return
        if is_folder and any(lies_in(parent, real) for parent in here):
            raise RequestError(
                f"{decode_key(entry.path)}: expected a folder elsewhere, got a link to "
                f"{decode_key(real)}, which it lies in itself: its images would be listed again. "
                "Remove the link."
            )
        if not inside:
            self.check_link(entry.path, real)
        if is_folder:
            yield from self.enter(entry.path, name, here)
        else:
            yield _found_file(entry, name)


def lies_in(path: bytes, folder: bytes) -> bool:
    """Returns whether a real path is a folder's, or below it."""
    return (path + b"/").startswith(folder.rstrip(b"/") + b"/")


def link_refusal(path: bytes, real: bytes) -> RequestError:
    """Returns the error for a folder that is a link out of the image folder."""
    return RequestError(
        f"{decode_key(path)}: expected a folder, got a link to one outside, "
        f"{decode_key(real)}. Its images cannot be counted: set source.follow_links "
        "to true, or remove the link."
    )


def _sort_name(entry: "os.DirEntry[bytes]") -> bytes:
    with contextlib.suppress(OSError):  # a link to itself is neither a file nor a folder
        if entry.is_dir():
            return entry.name + b"/"
    return entry.name


def _found_file(entry: "os.DirEntry[bytes]", name: bytes) -> FoundFile:
    key = decode_key(name)
    try:
        if not entry.is_file():
            return FoundFile(key, 0, 0, NOT_A_FILE)
        stat = entry.stat()
    except FileNotFoundError:
        return FoundFile(key, 0, 0, GONE)
    except OSError:
        return FoundFile(key, 0, 0, UNREADABLE)
    return FoundFile(key, stat.st_size, stat.st_mtime_ns)

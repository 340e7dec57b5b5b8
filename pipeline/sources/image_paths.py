"""Paths of images in a table: where the file lies that a row names, and which are refused."""

import os
import posixpath
import re
import urllib.parse
from typing import NamedTuple

from fsq.storage import filesystem
from fsq.storage.path_encoding import to_utf8

STORES = ("s3", "gs", "hf")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")

NO_PATH = "expected the path of an image, got none"
NUL = "expected the path of an image, got a NUL byte in it"
ADDRESS = (
    "expected the path of a file, got the address of a page (download the images first, e.g. "
    "with img2dataset)"
)
OTHER_SCHEME = f"expected a path, or one that begins with {', '.join(STORES)}:// or file://"
OUTSIDE = "expected a path below source.root, got one outside (set source.outside to true)"


class Place(NamedTuple):
    """Where the image of a row lies.

    Attributes:
      key: The path as it is written, a relative one without './' and '//'.
      path: Where the file is read, as `to_utf8` gives it; empty if it is refused.
      refused: Why it is not read.
    """

    key: str
    path: str
    refused: str | None = None


class Places:
    """Finds the files that the rows of a table name.

    Args:
      root: The folder that relative paths begin at.
      outside: Whether paths may lead out of it: absolute ones, and those with '..'.
    """

    def __init__(self, root: str, *, outside: bool):
        self._outside, self._is_local = outside, filesystem.is_local(root)
        self._root = (to_utf8(root) if self._is_local else root).rstrip("/") or "/"
        self._real = to_utf8(os.path.abspath(root)) if self._is_local else self._root

    def find(self, written: str) -> Place:
        """Returns where the image of a row lies; symbolic links are followed.

        >>> Places("photos", outside=False).find("./cats/1.png")
        Place(key='cats/1.png', path='photos/cats/1.png', refused=None)
        >>> Places("photos", outside=False).find("../1.png").refused == OUTSIDE
        True
        """
        if not written:
            return Place("", "", NO_PATH)
        if "\0" in written:
            return Place(written, "", NUL)
        if (scheme := _SCHEME.match(written)) is not None and (
            written.startswith("//", scheme.end()) or scheme[1].lower() in ("data", "file")
        ):
            return self._with_scheme(written, scheme[1].lower())
        if written.startswith("/"):
            return self._absolute(written, written)
        name = posixpath.normpath(written)
        if name == ".":
            return Place(written, "", NO_PATH)
        if (name == ".." or name.startswith("../")) and not self._outside:
            return Place(name, "", OUTSIDE)
        return Place(name, self._join(name))

    def _join(self, name: str) -> str:
        if not self._is_local:
            # A store has no '..'.
            scheme, _, rest = self._root.partition("://")
            return f"{scheme}://{posixpath.normpath(f'{rest}/{name}')}"
        return name if self._root == "." else filesystem.join(self._root, name)

    def _with_scheme(self, written: str, scheme: str) -> Place:
        if scheme == "file":
            address = urllib.parse.urlsplit(written)
            if address.netloc not in ("", "localhost"):
                return Place(written, "", OTHER_SCHEME)
            path = urllib.parse.unquote(address.path, errors="surrogateescape")
            if "\0" in path:
                return Place(written, "", NUL)
            return self._absolute(written, path) if path else Place(written, "", NO_PATH)
        if scheme in ("http", "https", "ftp", "data"):
            return Place(written, "", ADDRESS)
        if scheme not in STORES:
            return Place(written, "", OTHER_SCHEME)
        rest = posixpath.normpath(written.partition("://")[2])
        return self._below(written, f"{scheme}://{rest}")

    def _absolute(self, written: str, path: str) -> Place:
        return self._below(written, posixpath.normpath(f"/{path.lstrip('/')}"))

    def _below(self, written: str, path: str) -> Place:
        if not self._outside and not path.startswith(f"{self._real.rstrip('/')}/"):
            return Place(written, "", OUTSIDE)
        return Place(written, path)

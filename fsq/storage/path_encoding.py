"""Path encoding: names of files as UTF-8 text, whatever the encoding of the locale.

Python decodes names of files by the locale. Keys must not depend on it, so they are
the bytes of the name, decoded as UTF-8; bytes that are not UTF-8 become surrogates.
"""

import os


def to_utf8(path: str) -> str:
    """Converts a path as Python's functions give it to text that is the same in every locale."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def from_utf8(text: str) -> str:
    """The inverse of `to_utf8`: the path for Python's functions."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))

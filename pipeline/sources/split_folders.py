"""Split folders: the folders of an image folder that hold the images of its splits."""

import itertools
import posixpath
from collections.abc import Mapping

from fsq.dataset.records import encode_key
from fsq.errors import RequestError

# Folders, relative to the image folder and with a slash behind, by split; the whole by None.
Folders = Mapping[str, str] | Mapping[None, str]


def folders_of(parts: Mapping[str, str]) -> dict[str, str]:
    """Returns the folders that a config names for its splits.

    Raises:
      RequestError: One is not below the image folder, or holds another.

    >>> folders_of({"train": "train", "val": "./held/out/"})
    {'train': 'train/', 'val': 'held/out/'}
    """
    found: dict[str, str] = {}
    for split, part in parts.items():
        folder = posixpath.normpath(part)
        if part.startswith("/") or folder == "." or folder.split("/")[0] == "..":
            raise RequestError(
                f"output.split.{split}: expected a folder below source.directory, such as "
                f"'train', got {part!r}. Correct it."
            )
        found[split] = f"{folder}/"
    ordered = sorted(found.items(), key=lambda item: encode_key(item[1]))
    for (split, folder), (other, inner) in itertools.pairwise(ordered):
        if inner.startswith(folder):
            raise RequestError(
                f"output.split.{other}: expected a folder of its own, got {parts[other]!r}, whose "
                f"images are in split {split!r} too. Name folders that lie beside each other."
            )
    return found

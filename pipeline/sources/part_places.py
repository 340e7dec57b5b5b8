"""Part places: where the parts of an image folder really lie, and what lies beside them."""

import os
from collections import Counter

from fsq.dataset.records import decode_key
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from pipeline.core.left_out import BESIDE_PARTS, HIDDEN
from pipeline.sources.directory_walk import lies_in, link_refusal
from pipeline.sources.image_walk import path_of
from pipeline.sources.split_folders import Folders


class PartPlaces:
    """The real folders that the images of each split are read from.

    Args:
      root: The image folder.
      folders: The folders of its splits.
      follow_links: See `walk`.

    Raises:
      RequestError: The folder of a split is a link out of the image folder, and links are not
        followed; or the folders of two splits are one, or one lies in the other.
    """

    def __init__(self, root: str, folders: Folders, *, follow_links: bool):
        self._places: list[tuple[str | None, bytes, bytes]] = []
        if not filesystem.is_local(root):
            return
        real_root = os.path.realpath(os.fsencode(root))
        for split, folder in folders.items():
            path = os.fsencode(path_of(root, folder)).rstrip(b"/") or b"/"
            real = os.path.realpath(path)
            if not lies_in(real, real_root) and not follow_links:
                raise link_refusal(path, real)
            self.check_link(split, path, real)

    def check_link(self, split: str | None, path: bytes, real: bytes) -> None:
        """Refuses what leads into the folder of another split; keeps folders in mind.

        Raises:
          RequestError: It does.
        """
        for other, other_path, place in self._places:
            if other != split and (lies_in(real, place) or lies_in(place, real)):
                raise RequestError(
                    f"output.split.{split}: expected images of its own, got {decode_key(path)}, "
                    f"which leads to {decode_key(real)}, and {decode_key(other_path)} is in split "
                    f"{other!r}. Remove the link, or name other folders."
                )
        if os.path.isdir(real):
            self._places.append((split, path, real))


def count_beside(root: str, folders: Folders) -> Counter[str]:
    """Counts the files and folders that lie beside the folders of splits, not those below them.

    Raises:
      DataError: They cannot be counted.
    """
    counts: Counter[str] = Counter()
    if not filesystem.is_local(root):
        return counts
    parts = {folder for split, folder in folders.items() if split is not None}
    parents = {
        "/".join(names[:depth])
        for names in (part.rstrip("/").split("/") for part in parts)
        for depth in range(len(names))
    }
    for parent in parents:
        prefix = f"{parent}/" if parent else ""
        for name in _names(path_of(root, prefix)):
            key = prefix + decode_key(name)
            if f"{key}/" not in parts and key not in parents:
                counts[HIDDEN if name.startswith(b".") else BESIDE_PARTS] += 1
    return counts


def _names(folder: str) -> list[bytes]:
    try:
        return os.listdir(os.fsencode(folder))
    except OSError as error:
        raise DataError(
            f"{folder}: expected a folder that can be read, got: {error.strerror or error}. What "
            "lies beside the folders of the splits cannot be counted: change its permissions."
        ) from error

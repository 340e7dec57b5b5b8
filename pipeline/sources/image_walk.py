"""Image walk: tells the images in a folder from other files, and counts both."""

from collections import Counter
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from fsq.errors import RequestError
from fsq.images.signatures import HEAD_BYTES, format_of
from fsq.storage import filesystem
from fsq.storage.path_encoding import from_utf8
from pipeline.core.left_out import LINKED_FOLDERS, ending_of, is_hidden
from pipeline.sources import directory_walk
from pipeline.sources.directory_walk import FoundFile, walk
from pipeline.sources.image_listing import ListedImage, folder_of

# Files with these endings are images, whatever they contain; all others are told by their
# first bytes.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".png", ".apng", ".webp", ".bmp", ".dib"),
    *(".gif", ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".jxl"),
)
# Documents and icons, which lie beside images; formats that are not decoded become rejects.
NO_PICTURES = ("PDF", "PostScript", "DjVu", "SVG", "ICO", "ICNS")
# Tables with columns for the images beside and below them, as `datasets` reads them.
METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class Tally(NamedTuple):
    """What a walk found, by folder and in its order.

    Attributes:
      records: Number of images.
      first: The first image.
      size_bytes: Size of the images.
      folders: All folders.
      others: The folders with files that are no images.
      left_out: Number of these files, by ending.
      sections: Number of images by split, in the order of the walk.
      metadata: The files with the name of a metadata file; they are left out too.
    """

    records: dict[str, int]
    first: dict[str, str]
    size_bytes: Counter[str]
    folders: set[str]
    others: set[str]
    left_out: Counter[str]
    sections: dict[str | None, int]
    metadata: list[str]


class ImageWalk:
    """Walks folders below a root and writes a line for every image, as `ListedImage` has it.

    The label in a line is the number of the image's folder, in the order of the walk.

    Args:
      root: The image folder.
      follow_links: See `walk`.
      target: Where the lines are written.
      heartbeat: See `Source.list`.
    """

    def __init__(
        self, root: str, follow_links: bool, target: BinaryIO, heartbeat: Callable[[], None]
    ):
        self.tally = Tally({}, {}, Counter(), set(), set(), Counter(), {}, [])
        self._root, self._follow_links = root, follow_links
        self._target, self._heartbeat = target, heartbeat
        self._numbers: dict[str, int] = {}

    def add(
        self, folder: str, split: str | None, check_link: Callable[[bytes, bytes], None]
    ) -> None:
        """Walks a folder, relative to the root, whose images belong to a split; see `walk`.

        Raises:
          RequestError, DataError: There is something in it that cannot be counted.
        """
        before = sum(self.tally.records.values())
        path = path_of(self._root, folder)
        for relative in walk(
            path,
            follow_links=self._follow_links,
            heartbeat=self._heartbeat,
            check_link=check_link,
        ):
            self._count(relative._replace(name=folder + relative.name))
        self.tally.sections[split] = sum(self.tally.records.values()) - before

    def _count(self, found: FoundFile) -> None:
        tally, hidden = self.tally, is_hidden(found.name)
        if found.refused == directory_walk.LINKED_FOLDER:
            tally.left_out[LINKED_FOLDERS] += 1
            return
        if found.name.endswith("/") and not hidden:
            tally.folders.add(found.name.rstrip("/"))
            return
        if hidden or not self._is_image(found):
            tally.left_out[ending_of(found.name)] += 1
            if not hidden and found.name.rpartition("/")[2] in METADATA_NAMES:
                tally.metadata.append(found.name)
            if not hidden and "/" in found.name:
                tally.others.add(folder_of(found.name))
            return
        group = folder_of(found.name)
        number = self._numbers.setdefault(group, len(self._numbers))
        tally.first.setdefault(group, found.name)
        tally.records[group] = tally.records.get(group, 0) + 1
        tally.size_bytes[group] += found.size_bytes
        self._target.write(ListedImage.of(found, number).to_line())

    def _is_image(self, found: FoundFile) -> bool:
        """Returns whether a file is an image or, where that is not known, may be one."""
        if found.name.lower().endswith(EXTENSIONS):
            return True
        match found.refused:
            case None:
                self._heartbeat()
                try:
                    head = filesystem.read_head(path_of(self._root, found.name), HEAD_BYTES)
                except FileNotFoundError:
                    return False
                except OSError:
                    return True
                return format_of(head) not in (None, *NO_PICTURES)
            case directory_walk.BROKEN_LINK | directory_walk.UNREADABLE:
                link = found.refused == directory_walk.BROKEN_LINK
                raise RequestError(
                    f"{filesystem.join(self._root, found.name)}: expected a file, got "
                    f"{'a broken link' if link else 'what cannot be looked at'}. It may have been "
                    "a folder, whose images cannot be counted: repair or remove it."
                )
        # Of what lies outside, nothing is known.
        return found.refused == directory_walk.LINK_OUTSIDE


def path_of(root: str, key: str) -> str:
    """Returns the path of a key, or of a folder in keys, below an image folder."""
    if not key:
        return root
    return filesystem.join(root, from_utf8(key) if filesystem.is_local(root) else key)

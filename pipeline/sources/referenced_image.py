"""Referenced images: files that a row of a table names by their path."""

import posixpath

from fsq.storage import filesystem


class BadReferenceError(ValueError):
    """A path that is not read; the message says why."""


def read_referenced(folder: str, path: str) -> bytes:
    """Reads an image file in a folder.

    Args:
      folder: The folder that paths are relative to.
      path: The path in the table. One that leads out of the folder is not read: whoever wrote the
        table is not to choose which files of this machine are.

    Raises:
      BadReferenceError: It leads out of the folder, is an address, or cannot be read.
    """
    if "://" in path:
        raise BadReferenceError("expected the path of a file, got an address (download it first)")
    inside = posixpath.normpath(path)
    if posixpath.isabs(path):
        root = folder.rstrip("/") + "/"
        if not inside.startswith(root):
            raise BadReferenceError(
                "expected a file in the folder of the table, got an absolute path out of it"
            )
        inside = inside.removeprefix(root)
    if inside.split("/")[0] == ".." or inside == "." or "\0" in path:
        raise BadReferenceError("expected a file in the folder of the table, got a path out of it")
    try:
        return filesystem.read(filesystem.join(folder, inside))
    except OSError as error:
        raise BadReferenceError(
            f"expected a file that can be read, got: {error.strerror or error}"
        ) from error

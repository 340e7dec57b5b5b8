"""Writing image files; an unusable path is refused before the image is made."""

import io
from pathlib import Path

from PIL import Image

from fsq.errors import RequestError
from fsq.storage import filesystem


def check_picture(path: str) -> None:
    """Raises a RequestError unless an image can be written to the path."""
    folder, suffix = Path(path).parent, Path(path).suffix.lower()
    if not folder.is_dir():
        raise RequestError(
            f"{path}: expected an image file in an existing folder. Create the folder."
        )
    if suffix not in Image.registered_extensions() or Path(path).is_dir():
        raise RequestError(
            f"{path}: expected the name of an image file, like sheet.png, got another. Choose one."
        )


def save_picture(picture: Image.Image, path: str) -> None:
    """Writes an image file atomically.

    Raises:
      RequestError: It cannot be written.
    """
    check_picture(path)
    data = io.BytesIO()
    try:
        picture.save(data, Image.registered_extensions()[Path(path).suffix.lower()])
        filesystem.write(path, data.getvalue())
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: expected a writable image file, got: {reason}.") from error

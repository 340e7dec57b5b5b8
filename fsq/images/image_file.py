"""A picture as a file, refused before the work that makes it."""

import io
from pathlib import Path

from PIL import Image

from fsq.errors import RequestError
from fsq.storage import filesystem


def check_picture(path: str) -> None:
    """Raises a RequestError where no picture could be written by that name."""
    folder, suffix = Path(path).parent, Path(path).suffix.lower()
    if not folder.is_dir():
        raise RequestError(f"{path}: expected a picture file in a folder that exists. Make it.")
    if suffix not in Image.registered_extensions() or Path(path).is_dir():
        raise RequestError(
            f"{path}: expected a picture file to write, like sheet.png, got another name. Choose "
            "one."
        )


def save_picture(picture: Image.Image, path: str) -> None:
    """Writes a picture whole or not at all.

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
        raise RequestError(f"{path}: expected a picture file to write, got: {reason}.") from error

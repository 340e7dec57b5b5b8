"""Same file: refuses a file that an input has twice, by a link or by two spellings of its path."""

import os
from collections.abc import Callable, Iterable

from fsq.errors import RequestError
from fsq.storage import filesystem


def refuse_same_file(
    named: Iterable[tuple[str, str]], remedy: str, heartbeat: Callable[[], None]
) -> None:
    """Refuses two paths of one local file: symbolic and hard links, and spellings such as './a'.

    A path that comes twice as it is counts once, and a file of 0 bytes has nothing to repeat.

    Args:
      named: Each path, with the key of the config that names it.
      remedy: What to do about it.
      heartbeat: See `Source.list`.

    Raises:
      RequestError: Two paths are one file.
    """
    first: dict[object, tuple[str, str]] = {}
    for path, key in named:
        if not filesystem.is_local(path):
            continue
        heartbeat()
        other, other_key = first.setdefault(_identity(path), (path, key))
        if other != path:
            where = "" if other_key == key else f" (in {other_key})"
            raise RequestError(
                f"{key}: expected each file once, got {path} and {other}{where}, "
                f"which are one file. {remedy}"
            )


def _identity(path: str) -> object:
    try:
        stat = os.stat(path)
    except OSError:  # whoever reads it says so
        return os.path.realpath(path)
    return (stat.st_dev, stat.st_ino) if stat.st_size else path

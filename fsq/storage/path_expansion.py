"""Paths as people write them: `~` and $VARIABLES, and where a relative path was looked for."""

import os
import re

from fsq.storage import filesystem

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{([^{}]*)\})", re.ASCII)
_LITERAL_DOLLAR = re.compile(r"\$(?=[\w${])", re.ASCII)


def expand_path(text: str) -> str:
    """Replaces $NAME, ${NAME} and a leading ~ or ~user by their values.

    '$$' is a dollar sign, './~name' a file whose name begins with '~'.

    Raises:
      ValueError: A variable has no value, or there is no such user.
    """
    path = _VARIABLE.sub(_value_of, text)
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = path.partition("/")[0]
        raise ValueError(
            f"expected a user with a home folder, got {user!r}. For a name that begins with '~', "
            f"write './{user}'."
        )
    return expanded


def _value_of(found: re.Match[str]) -> str:
    dollar, *names = found.groups()
    if dollar:
        return "$"
    name = names[0] or names[1] or ""
    # An empty one would turn '$SCRATCH/out' into '/out'.
    if not (value := os.environ.get(name)):
        raise ValueError(
            f"expected a value of the environment variable {name!r}, found none. Set it; or write "
            "'$$' for a dollar sign."
        )
    return value


def literal_path(path: str) -> str:
    """Returns the text that `expand_path` turns into the path.

    >>> expand_path(literal_path("a$b"))
    'a$b'
    """
    return _LITERAL_DOLLAR.sub("$$", path)


def expand_argument(text: str) -> str:
    """Expands a path of the command line, unless it is there as it stands: shells expand too.

    Raises:
      ValueError: See `expand_path`.
    """
    return text if os.path.lexists(text) else expand_path(text)


def looked_in(path: str) -> str:
    """Returns ' (looked for <absolute path>)' for a relative path, '' for any other."""
    if not filesystem.is_local(path) or os.path.isabs(path):
        return ""
    try:
        return f" (looked for {os.path.abspath(path)})"
    except FileNotFoundError:  # the current folder was removed
        return ""

"""Class names: how they are checked, stored in a dataset, read back, and described."""

from collections.abc import Sequence


def names_file_of(feature: str) -> str:
    """Returns the name of the file with the class names of a feature.

    >>> names_file_of("image/label")
    'image.label.labels.txt'
    """
    return f"{feature.replace('/', '.')}.labels.txt"


def storable(name: str) -> bool:
    r"""Returns whether the file of names gives a name back exactly.

    It is a UTF-8 text with a name per line. tensorflow-datasets strips white space
    and skips empty lines; other readers end a line at any of Python's line breaks.

    >>> [storable(name) for name in ("tench", "a/b", " tench", "a\u2028b", "")]
    [True, True, False, False, False]
    """
    try:
        text = render_names([name]).decode()
    except UnicodeError:
        return False
    return parse_names(text) == [name] == text.splitlines()


def render_names(names: Sequence[str]) -> bytes:
    """Returns the content of the file of names, as tensorflow-datasets writes it."""
    return ("\n".join(names) + "\n").encode()


def parse_names(text: str) -> list[str]:
    """Reads the file of names as tensorflow-datasets does."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]

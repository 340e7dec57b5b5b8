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


def describe_classes(names: Sequence[str], without_images: Sequence[str] = ()) -> str:
    """Describes classes in a line: their number, the first and the last.

    >>> describe_classes(sorted(map(str, range(12))))
    "12, '0' to '9' (sorted as text: '10' is label 2; source.classes sets another order)"
    """
    line = f"{len(names):,}, {names[0]!r} to {names[-1]!r}"
    if list(names) == sorted(names) and all(name.isascii() and name.isdigit() for name in names):
        for label, name in enumerate(names):
            if int(name) != label:
                line += f" (sorted as text: {name!r} is label {label}"
                line += "; source.classes sets another order)"
                break
    if repeated := _repeated(names):
        line += f"; the same below {' and '.join(repeated)}, which may be splits"
    if without_images:
        more = f" and {len(without_images) - 1:,} more" if len(without_images) > 1 else ""
        line += f"; no images of {without_images[0]!r}{more}"
    return line


def _repeated(names: Sequence[str]) -> list[str]:
    """Returns the first two folders below which all classes have the same names, if all have."""
    below: dict[str, set[str]] = {}
    for name in names:
        top, _, rest = name.partition("/")
        below.setdefault(top, set()).add(rest)
    first, *others = below.values()
    same = others and "" not in first and all(rests == first for rests in others)
    return [f"{top!r}" for top in list(below)[:2]] if same else []

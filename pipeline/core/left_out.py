"""Left-out files: the files of an input that are not images, counted by their endings."""

import re
from collections.abc import Mapping

SHOWN = 8
HIDDEN = "hidden"
LINKED_FOLDERS = "links to folders that are read at their own place"
BESIDE_PARTS = "files and folders beside the folders of the splits"
ROWS_ALONE = "rows of metadata files without an image"
NO_SAMPLE = "members of archives that belong to no sample"
# These say themselves what was left out; all others are endings.
_OTHER_THAN_ENDINGS = (HIDDEN, LINKED_FOLDERS, BESIDE_PARTS, ROWS_ALONE, NO_SAMPLE)


def is_hidden(name: str) -> bool:
    """Returns whether a file, or a folder above it, has a leading dot."""
    return name.startswith(".") or "/." in name


def ending_of(name: str) -> str:
    """Returns the ending that a file is counted by.

    >>> [ending_of(name) for name in ("a/b.TXT", "a.b/c", "scan.0001", ".DS_Store", "x/.git/")]
    ['.txt', 'no ending', 'other endings', 'hidden', 'hidden']
    """
    if is_hidden(name):
        return HIDDEN
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    if not stem:
        return "no ending"
    # Numbers are no endings: there would be as many as files.
    if ending.isdigit() or not re.fullmatch(r"\w{1,10}", ending, re.ASCII):
        return "other endings"
    return dot + ending.lower()


def describe_left_out(counts: Mapping[str, int]) -> str:
    """Describes the counts in a line, the largest first; empty if there are none.

    >>> describe_left_out({".txt": 1, "no ending": 2000, "hidden": 2})
    '2,000 no ending, 1 .txt: no images by their first bytes; 2 hidden'
    """
    found = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    endings = [f"{count:,} {name}" for name, count in found if name not in _OTHER_THAN_ENDINGS]
    if (more := len(endings) - SHOWN) > 0:
        endings[SHOWN:] = [f"{more:,} more endings"]
    parts = [f"{', '.join(endings)}: no images by their first bytes"] if endings else []
    parts += [f"{counts[name]:,} {name}" for name in _OTHER_THAN_ENDINGS if name in counts]
    return "; ".join(parts)

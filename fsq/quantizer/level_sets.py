"""Choice of levels for a vocabulary size."""

import itertools
import math
from collections.abc import Iterator

from fsq.quantizer.lattice import MAX_TOKENS, Levels, check_count

# The paper's recommendations, by vocabulary size; for 2^12 its appendix prints a typo.
PAPER_LEVELS: dict[int, Levels] = {
    2**4: (5, 3),
    2**6: (8, 8),
    2**8: (8, 6, 5),
    2**9: (8, 8, 8),
    2**10: (8, 5, 5, 5),
    2**11: (8, 8, 6, 5),
    2**12: (7, 5, 5, 5, 5),
    2**14: (8, 8, 8, 6, 5),
    2**16: (8, 8, 8, 5, 5, 5),
}

# Above this size levels from 5 to 8 always suffice. Without this limit the search through the
# wider range would not terminate for a size beyond int64.
LAST_GAP = 113


def levels_for(size: int) -> Levels:
    """Returns levels whose product is near a vocabulary size.

    The paper's set for the size, if it has one. Else the levels from 5 to 8, the
    paper's range, with the product nearest to the size. Sizes of 9 to 22 and 72 to
    113 have none within 10 %; they get one channel, or the nearest levels up to 11.

    Args:
      size: Wanted number of tokens, 5 to 2^63 - 1.

    Returns:
      Levels, largest first, each at least 5 unless the paper's.

    Raises:
      ValueError: No levels of 5 and more come within 10 %.

    Source: Mentzer et al. 2023, arXiv:2309.15505, section 4.1 and appendix.

    >>> levels_for(1024), levels_for(2**13), levels_for(100)
    ((8, 5, 5, 5), (8, 8, 5, 5, 5), (10, 10))
    """
    check_count("size", size)
    if size in PAPER_LEVELS:
        return PAPER_LEVELS[size]
    for highest in (8, 11) if size <= LAST_GAP else (8,):
        if highest > 8 and 5 <= size <= 22:
            return (size,)
        near = [levels for levels in _level_sets(size, highest) if _is_near(levels, size)]
        if near:
            return min(near, key=lambda levels: (abs(math.prod(levels) - size), levels))
    raise ValueError(
        f"size: expected a size within 10 % of a product of levels from 5, got {size}. "
        "Choose a size from 5 to 2**63 - 1, or choose the levels yourself."
    )


def _is_near(levels: Levels, size: int) -> bool:
    product = math.prod(levels)
    return 10 * abs(product - size) <= size and product <= MAX_TOKENS


def _level_sets(size: int, highest: int) -> Iterator[Levels]:
    """Yields all sets of levels from 5 to `highest` whose product may be near the size."""
    choices = range(highest, 4, -1)
    for count in itertools.count(1):
        if 5**count > 2 * size:
            return
        if 2 * highest**count >= size:
            yield from itertools.combinations_with_replacement(choices, count)

"""Laws of the levels for a vocabulary size."""

import math

import pytest

from fsq import levels_for

PAPER = {
    4: (5, 3),
    6: (8, 8),
    8: (8, 6, 5),
    9: (8, 8, 8),
    10: (8, 5, 5, 5),
    11: (8, 8, 6, 5),
    12: (7, 5, 5, 5, 5),
    14: (8, 8, 8, 6, 5),
    16: (8, 8, 8, 5, 5, 5),
}


@pytest.mark.parametrize(("bits", "levels"), PAPER.items())
def test_the_papers_sizes_have_the_papers_levels(bits, levels):
    assert levels_for(2**bits) == levels


def test_every_other_size_gets_levels_of_five_and_more_within_ten_percent():
    sizes = [*range(5, 5000), *(2**bits + step for bits in range(13, 63) for step in (-1, 0, 1))]
    for size in set(sizes) - {2**bits for bits in PAPER}:
        levels = levels_for(size)
        assert min(levels) >= 5, size
        assert abs(math.prod(levels) - size) <= size / 10, size
        assert list(levels) == sorted(levels, reverse=True), size


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        (5, (5,)),
        (12, (12,)),
        (24, (5, 5)),
        (100, (10, 10)),
        (1000, (8, 5, 5, 5)),
        (2**13, (8, 8, 5, 5, 5)),
        (2**15, (8, 8, 8, 8, 8)),
        (2**17, (7, 6, 5, 5, 5, 5, 5)),
        (2**18, (8, 8, 8, 8, 8, 8)),
        (2**20, (8, 7, 6, 5, 5, 5, 5, 5)),
    ],
)
def test_the_product_is_the_nearest_that_small_levels_reach(size, levels):
    assert levels_for(size) == levels


@pytest.mark.parametrize("size", [1, 2, 3, 4, 2**63 + 2**60])
def test_a_size_without_levels_is_refused(size):
    with pytest.raises(ValueError) as error:
        levels_for(size)
    assert str(error.value) == (
        f"size: expected a size within 10 % of a product of levels from 5, got {size}. "
        "Choose a size from 5 to 2**63 - 1, or choose the levels yourself."
    )


@pytest.mark.parametrize("size", [0, -5, 2.0, True, None])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError) as error:
        levels_for(size)
    assert str(error.value) == f"size: expected an integer of at least 1, got {size!r}."

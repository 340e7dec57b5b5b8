"""Laws of codebook usage: what a histogram of tokens says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsq.usage import Usage, usage_of_counts

some_counts = st.lists(st.integers(0, 10**6), min_size=1, max_size=300).map(np.array)

# Counts are exact, so the only error is float64's: some 300 terms of a rounding
# error of 1e-16 each, and the ninth decimal that a perplexity is rounded to.
TOLERANCE = 1e-8


def test_uniform_tokens_use_every_code():
    assert usage_of_counts(np.full(240, 7)) == Usage(
        tokens=1680,
        used=240,
        usage=1.0,
        perplexity=240.0,
        entropy_bits=pytest.approx(np.log2(240), abs=TOLERANCE),
    )


def test_a_constant_token_uses_one_code():
    counts = np.bincount(np.full(1000, 17), minlength=240)
    assert usage_of_counts(counts) == Usage(
        tokens=1000, used=1, usage=1 / 240, perplexity=1.0, entropy_bits=0.0
    )


def test_three_quarters_on_one_of_two_codes_is_the_textbook_entropy():
    assert usage_of_counts(np.array([3, 0, 1])) == Usage(
        tokens=4,
        used=2,
        usage=2 / 3,
        perplexity=pytest.approx(1.754765, abs=1e-6),  # six decimals written here
        entropy_bits=pytest.approx(0.811278, abs=1e-6),
    )


def test_nothing_counted_is_all_zero():
    assert usage_of_counts(np.zeros(240, int)) == Usage(
        tokens=0, used=0, usage=0.0, perplexity=0.0, entropy_bits=0.0
    )


@given(some_counts.filter(np.any))
def test_perplexity_lies_between_one_and_the_codes_in_use(counts):
    usage = usage_of_counts(counts)
    assert 1 - TOLERANCE <= usage.perplexity <= usage.used * (1 + TOLERANCE)
    assert usage.perplexity == pytest.approx(2**usage.entropy_bits, rel=TOLERANCE)


@given(some_counts)
def test_codes_that_do_not_occur_may_be_left_out(counts):
    present = counts[counts > 0]
    assert usage_of_counts(present, vocab_size=len(counts)) == usage_of_counts(counts)

"""Laws of codebook usage: what a histogram of tokens says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsq.quantizer.codebook_usage import (
    Usage,
    channel_entropy_bits,
    usage_of_counts,
    usage_of_tokens,
)
from fsq.quantizer.lattice import digits_to_tokens

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


@given(st.lists(st.integers(0, 59), min_size=1, max_size=50))
def test_tokens_say_what_their_histogram_says(tokens):
    counts = np.bincount(tokens, minlength=60)
    assert usage_of_tokens(tokens, 60) == usage_of_counts(counts)


def test_uniform_tokens_fill_every_channel():
    entropy = channel_entropy_bits(np.tile(np.arange(240), 3), (8, 6, 5))
    assert entropy == pytest.approx((3, np.log2(6), np.log2(5)), abs=TOLERANCE)


def test_a_constant_channel_carries_nothing():
    digits = np.stack([np.arange(100) % 8, np.full(100, 2), np.arange(100) // 50], axis=-1)
    entropy = channel_entropy_bits(digits_to_tokens(digits, (8, 5, 4)), (8, 5, 4))
    # 100 tokens over 8 digits: four of them occur 13 times, four 12 times.
    share = np.array([0.13, 0.12])
    assert entropy == pytest.approx((-4 * (share * np.log2(share)).sum(), 0, 1), abs=TOLERANCE)


def test_no_tokens_have_no_entropy():
    assert channel_entropy_bits(np.zeros((0, 7), int), (8, 5)) == (0, 0)


@pytest.mark.parametrize(
    "use", [usage_of_tokens, lambda tokens, _: channel_entropy_bits(tokens, (8, 5))]
)
def test_tokens_outside_the_vocabulary_are_refused(use):
    with pytest.raises(ValueError, match=r"tokens: expected values in \[0, 40\), got 1 outside"):
        use(np.array([0, 40]), 40)

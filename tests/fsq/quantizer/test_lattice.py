"""Laws of the lattice: tokens, digits and codes in plain NumPy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fsq.quantizer import lattice

some_levels = st.lists(st.integers(2, 1001), min_size=1, max_size=12).map(tuple)


@st.composite
def levels_and_tokens(draw):
    levels = draw(some_levels)
    assume(math.prod(levels) <= 2**63 - 1)
    tokens = st.integers(0, math.prod(levels) - 1)
    return levels, draw(st.lists(tokens, min_size=1, max_size=8))


@given(levels_and_tokens())
def test_digits_of_tokens_give_the_tokens_back(case):
    levels, tokens = case
    digits = lattice.tokens_to_digits(tokens, levels)
    assert lattice.digits_to_tokens(digits, levels).tolist() == tokens


@given(levels_and_tokens())
def test_a_token_is_its_digits_in_mixed_radix_with_channel_0_fastest(case):
    levels, tokens = case
    expected = []
    for token in tokens:  # Python's integers, which cannot overflow
        expected.append([])
        for level in levels:
            token, digit = divmod(token, level)
            expected[-1].append(digit)
    digits = lattice.tokens_to_digits(tokens, levels)
    assert digits.dtype == np.int64
    assert digits.tolist() == expected


def test_every_token_has_its_own_digits(levels):
    tokens = np.arange(math.prod(levels))
    digits = lattice.tokens_to_digits(tokens, levels)
    expected = np.stack(np.unravel_index(tokens, levels, order="F"), axis=-1)
    np.testing.assert_array_equal(digits, expected)
    np.testing.assert_array_equal(lattice.digits_to_tokens(digits, levels), tokens)


@pytest.mark.slow
def test_two_million_tokens_of_a_large_lattice_survive_their_digits(large_levels):
    size = math.prod(large_levels)
    tokens = np.random.default_rng(0).integers(size, size=2_000_000)
    tokens[:2] = 0, size - 1
    back = lattice.digits_to_tokens(lattice.tokens_to_digits(tokens, large_levels), large_levels)
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, tokens)


def test_a_lattice_just_below_2_to_the_63_counts_to_its_last_token():
    levels = (8,) * 20 + (7,)
    last = 7 * 2**60 - 1
    assert lattice.vocab_size(levels) == last + 1
    assert lattice.tokens_to_digits(last, levels).tolist() == [7] * 20 + [6]
    assert int(lattice.digits_to_tokens([7] * 20 + [6], levels)) == last


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)])
def test_digits_add_one_last_dimension_to_the_tokens(shape):
    tokens = np.arange(math.prod(shape)).reshape(shape)
    digits = lattice.tokens_to_digits(tokens, (3, 5, 4))
    assert digits.shape == (*shape, 3)
    np.testing.assert_array_equal(lattice.digits_to_tokens(digits, (3, 5, 4)), tokens)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_tokens_of_any_integer_type_have_the_same_digits(dtype):
    tokens = np.array([0, 8, 100, 127], dtype)
    expected = [[0, 0, 0, 0], [0, 1, 0, 0], [4, 2, 2, 0], [7, 0, 3, 0]]
    assert lattice.tokens_to_digits(tokens, (8, 5, 5, 5)).tolist() == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [((3,), (1,)), ((8, 5, 5, 5), (1, 8, 40, 200)), ((1000,) * 3, (1, 1000, 1_000_000))],
)
def test_the_basis_is_what_one_step_of_each_digit_adds(levels, expected):
    assert lattice.basis(levels) == expected


@pytest.mark.parametrize("given", [[3, 5, 4], (3, 5, 4), np.array([3, 5, 4]), [np.int32(3), 5, 4]])
def test_levels_become_a_tuple_of_python_ints(given):
    checked = lattice.check_levels(given)
    assert checked == (3, 5, 4)
    assert [type(level) for level in checked] == [int, int, int]


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "levels: expected at least one channel, got an empty list."),
        ([1], "levels: expected values in [2, 1001], got 1 in [1]."),
        ([5, 0], "levels: expected values in [2, 1001], got 0 in [5, 0]."),
        ([5, -3], "levels: expected values in [2, 1001], got -3 in [5, -3]."),
        ([1002, 5], "levels: expected values in [2, 1001], got 1002 in [1002, 5]."),
        ([5.0], "levels: expected integers, got 5.0 in [5.0]."),
        ([5, 2.5], "levels: expected integers, got 2.5 in [5, 2.5]."),
        ([True, 5], "levels: expected integers, got True in [True, 5]."),
        ([5, np.True_], "levels: expected integers, got np.True_ in [5, np.True_]."),
        ([5, None], "levels: expected integers, got None in [5, None]."),
        (["8"], "levels: expected integers, got '8' in ['8']."),
        ([[8, 5]], "levels: expected integers, got [8, 5] in [[8, 5]]."),
        (8, "levels: expected a list of integers, got 8."),
        (None, "levels: expected a list of integers, got None."),
        ("855", "levels: expected a list of integers, got '855'."),
    ],
)
def test_levels_that_are_no_lattice_are_refused(levels, message):
    with pytest.raises(ValueError) as error:
        lattice.check_levels(levels)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("levels", "size"), [((8,) * 21, 2**63), ((1000,) * 7, 10**21), ((2,) * 64, 2**64)]
)
def test_more_tokens_than_int64_counts_are_refused_with_their_number(levels, size):
    with pytest.raises(ValueError) as error:
        lattice.check_levels(levels)
    assert str(error.value) == (
        f"levels: expected at most 2**63 - 1 tokens, got {size} from {len(levels)} channels. "
        "Use fewer channels or levels."
    )


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([-1], "tokens: expected values in [0, 60), got 1 outside, the first is -1."),
        ([60], "tokens: expected values in [0, 60), got 1 outside, the first is 60."),
        (
            np.array([[5, 99], [-7, 59]], np.int8),
            "tokens: expected values in [0, 60), got 2 outside, the first is 99.",
        ),
        (
            np.array([2**64 - 1], np.uint64),
            "tokens: expected values in [0, 60), got 1 outside, the first is 18446744073709551615.",
        ),
        ([1.0], "tokens: expected integers, got float64."),
        ([True], "tokens: expected integers, got bool."),
    ],
)
def test_tokens_outside_the_lattice_are_refused(tokens, message):
    with pytest.raises(ValueError) as error:
        lattice.tokens_to_digits(tokens, (3, 5, 4))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ([[0, 0, -1]], "digits: expected values below [3, 5, 4], got 1 outside."),
        ([[3, 0, 0], [2, 5, 4]], "digits: expected values below [3, 5, 4], got 3 outside."),
        ([[0.0, 0.0, 0.0]], "digits: expected integers, got float64."),
        (
            [[0, 0]],
            "FSQ: expected 3 channels in the last dimension for levels [3, 5, 4], "
            "got 2 in shape (1, 2).",
        ),
        (
            0,
            "FSQ: expected 3 channels in the last dimension for levels [3, 5, 4], "
            "got None in shape ().",
        ),
    ],
)
def test_digits_outside_the_lattice_are_refused(digits, message):
    with pytest.raises(ValueError) as error:
        lattice.digits_to_tokens(digits, (3, 5, 4))
    assert str(error.value) == message


def test_the_codebook_of_3_and_4_levels_counts_the_first_channel_fastest():
    codebook = lattice.codebook((3, 4))
    assert codebook.dtype == np.float32
    assert codebook.tolist() == [
        [-1, -1],
        [0, -1],
        [1, -1],
        [-1, -0.5],
        [0, -0.5],
        [1, -0.5],
        [-1, 0],
        [0, 0],
        [1, 0],
        [-1, 0.5],
        [0, 0.5],
        [1, 0.5],
    ]


def test_codes_are_the_float32_nearest_to_evenly_spaced_fractions():
    for level in range(2, lattice.MAX_LEVEL + 1):
        half = level // 2
        expected = [np.float32(float(Fraction(step, half))) for step in range(-half, level - half)]
        codes = lattice.codebook((level,))[:, 0]
        np.testing.assert_array_equal(codes, np.array(expected, np.float32), err_msg=str(level))


def test_codebook_slices_join_to_the_codebook():
    whole = lattice.codebook((7, 5, 5))
    slices = [lattice.codebook((7, 5, 5), start, min(start + 60, 175)) for start in (0, 60, 120)]
    np.testing.assert_array_equal(np.concatenate(slices), whole)
    np.testing.assert_array_equal(lattice.codebook((7, 5, 5), 170), whole[170:])
    assert lattice.codebook((7, 5, 5), 4, 4).shape == (0, 3)


def test_a_slice_of_a_codebook_that_fits_nowhere_is_still_exact():
    last = lattice.codebook((8,) * 20, 2**60 - 2, 2**60)
    assert last.tolist() == [[0.5] + [0.75] * 19, [0.75] * 20]


@pytest.mark.parametrize(
    ("levels", "start", "stop", "message"),
    [
        (
            (4,) * 16,
            0,
            None,
            "codebook: expected at most 2**24 codes at once, got 4294967296. "
            "Use slices: codebook_chunk(start, stop).",
        ),
        (
            (8,) * 20,
            5,
            2**24 + 6,
            "codebook: expected at most 2**24 codes at once, got 16777217. "
            "Use slices: codebook_chunk(start, stop).",
        ),
        ((3, 4), 0, 13, "codebook: expected 0 <= start <= stop <= 12, got [0, 13)."),
        ((3, 4), -1, 3, "codebook: expected 0 <= start <= stop <= 12, got [-1, 3)."),
        ((3, 4), 5, 4, "codebook: expected 0 <= start <= stop <= 12, got [5, 4)."),
    ],
)
def test_a_codebook_slice_that_cannot_be_made_is_refused(levels, start, stop, message):
    with pytest.raises(ValueError) as error:
        lattice.codebook(levels, start, stop)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("size", "computed", "stored"),
    [
        (2, "int32", "uint8"),
        (2**8, "int32", "uint8"),
        (2**8 + 1, "int32", "uint16"),
        (2**16, "int32", "uint16"),
        (2**16 + 1, "int32", "int32"),
        (2**31 - 1, "int32", "int32"),
        (2**31, "int64", "int32"),
        (2**31 + 1, "int64", "int64"),
        (2**63 - 1, "int64", "int64"),
    ],
)
def test_tokens_are_computed_signed_and_stored_in_the_smallest_type_that_tensorflow_decodes(
    size, computed, stored
):
    assert (lattice.token_dtype(size), lattice.storage_dtype(size)) == (computed, stored)

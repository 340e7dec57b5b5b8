"""The FSQ lattice in exact arithmetic: levels, digits, codes and tokens. NumPy only.

A lattice has `levels[d]` values in channel d. A digit is one channel's integer
in [0, levels[d]); a code is the real vector the decoder gets; a token is the
mixed-radix number of the digits, first channel fastest.

Source: Mentzer et al. 2023, arXiv:2309.15505, section 3.1.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

Levels = tuple[int, ...]

MAX_LEVEL = 1001  # above it the default eps of 1e-3 makes the outermost digits unreachable
MAX_TOKENS = 2**63 - 1
MAX_CODEBOOK = 2**24


def check_levels(levels: Sequence[int]) -> Levels:
    """Returns the levels as a tuple of Python ints.

    Raises:
      ValueError: No levels, a level that is not an integer in [2, 1001], or
        more tokens than int64 can count.
    """
    if isinstance(levels, (str, bytes)) or not isinstance(levels, (Sequence, np.ndarray)):
        raise ValueError(f"levels: expected a list of integers, got {levels!r}.")
    if len(levels) == 0:
        raise ValueError("levels: expected at least one channel, got an empty list.")
    for level in levels:
        if isinstance(level, (bool, np.bool_)) or not isinstance(level, Integral):
            raise ValueError(f"levels: expected integers, got {level!r} in {list(levels)}.")
        if not 2 <= level <= MAX_LEVEL:
            raise ValueError(
                f"levels: expected values in [2, {MAX_LEVEL}], got {level} in {list(levels)}."
            )
    checked = tuple(int(level) for level in levels)
    size = math.prod(checked)
    if size > MAX_TOKENS:
        raise ValueError(
            f"levels: expected at most 2**63 - 1 tokens, got {size} from {len(checked)} channels. "
            "Use fewer channels or levels."
        )
    return checked


def check_count(name: str, count: int) -> int:
    """Returns a count as an int; raises a ValueError unless it is an integer of at least 1."""
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {count!r}.")
    return int(count)


def vocab_size(levels: Sequence[int]) -> int:
    """Returns the number of tokens: the product of the levels.

    >>> vocab_size((8, 5, 5, 5))
    1000
    """
    return math.prod(check_levels(levels))


def basis(levels: Sequence[int]) -> tuple[int, ...]:
    """Returns what one step of each digit adds to the token, first channel fastest.

    >>> basis((8, 5, 5, 5))
    (1, 8, 40, 200)
    """
    checked = check_levels(levels)
    return tuple(math.prod(checked[:channel]) for channel in range(len(checked)))


def token_dtype(size: int) -> str:
    """Returns the signed dtype for computing with tokens of a vocabulary size.

    int32 or int64, because TensorFlow's `one_hot`, `gather` and `bincount` do not
    accept some of the unsigned dtypes.
    """
    return "int32" if size <= 2**31 - 1 else "int64"


def storage_dtype(size: int) -> str:
    """Returns the smallest dtype that holds every token in [0, size), of those for storing.

    Signed above 16 bits, because TensorFlow's `decode_raw` has neither uint32 nor uint64.

    >>> storage_dtype(256), storage_dtype(257), storage_dtype(65537)
    ('uint8', 'uint16', 'int32')
    """
    for dtype in ("uint8", "uint16", "int32"):
        if size - 1 <= np.iinfo(dtype).max:
            return dtype
    return "int64"


def tokens_to_digits(tokens: Any, levels: Sequence[int]) -> np.ndarray:
    """Splits each token into one digit per channel.

    Args:
      tokens: Integers in [0, vocab_size), shape [...].
      levels: Values per channel, length D.

    Returns:
      int64 digits, shape [..., D]; digit d lies in [0, levels[d]).

    Raises:
      ValueError: A token is not an integer or lies outside the lattice.

    >>> tokens_to_digits(np.array([0, 7, 59]), levels=(3, 5, 4))
    array([[0, 0, 0],
           [1, 2, 0],
           [2, 4, 3]])
    """
    checked = check_levels(levels)
    integers = check_tokens(tokens, math.prod(checked))
    digits: np.ndarray = integers[..., None] // np.array(basis(checked)) % np.array(checked)
    return digits


def digits_to_tokens(digits: Any, levels: Sequence[int]) -> np.ndarray:
    """Joins one digit per channel into a token; the inverse of `tokens_to_digits`.

    Args:
      digits: Integers, shape [..., D]; digit d in [0, levels[d]).
      levels: Values per channel, length D.

    Returns:
      int64 tokens in [0, vocab_size), shape [...].

    Raises:
      ValueError: A digit is not an integer or out of range, or the last
        dimension is not D.

    >>> int(digits_to_tokens(np.array([7, 4, 4, 4]), levels=(8, 5, 5, 5)))
    999
    """
    checked = check_levels(levels)
    integers = _check_integers(digits, "digits")
    check_channels(integers.shape, checked)
    outside = (integers < 0) | (integers >= np.array(checked))
    if outside.any():
        raise ValueError(
            f"digits: expected values below {list(checked)}, got {int(outside.sum())} outside."
        )
    tokens: np.ndarray = (integers.astype(np.int64) * np.array(basis(checked))).sum(axis=-1)
    return tokens


def digits_to_codes(digits: Any, levels: Sequence[int], *, symmetric: bool = False) -> np.ndarray:
    """Converts digits to codes in [-1, 1], the real vectors that the decoder gets.

    Args:
      digits: Integers, shape [..., D].
      levels: Values per channel, length D.
      symmetric: See `code_centers`.

    Returns:
      float32 codes, shape [..., D]: (digit - center) / center.
    """
    center = np.array(code_centers(levels, symmetric=symmetric))
    codes: np.ndarray = ((np.asarray(digits) - center) / center).astype(np.float32)
    return codes


def code_centers(levels: Sequence[int], *, symmetric: bool = False) -> tuple[float, ...]:
    """Returns the digit of the code 0 in each channel, which is also the denominator of codes.

    It is L // 2: 0 is a code, and with an even L, 1 is not. In a symmetric lattice it is
    (L - 1) / 2: codes are evenly spaced over [-1, 1], and with an even L, 0 is not a code.

    >>> code_centers((8, 5)), code_centers((8, 5), symmetric=True)
    ((4.0, 2.0), (3.5, 2.0))
    """
    checked = check_levels(levels)
    return tuple((level - 1) / 2 if symmetric else float(level // 2) for level in checked)


def codebook(
    levels: Sequence[int], start: int = 0, stop: int | None = None, *, symmetric: bool = False
) -> np.ndarray:
    """Returns the codes of the tokens in [start, stop).

    Args:
      levels: Values per channel, length D.
      start: First token.
      stop: One past the last token; the vocabulary size if None.
      symmetric: See `code_centers`.

    Returns:
      float32 codes, shape [stop - start, D].

    Raises:
      ValueError: The range lies outside the vocabulary or has more than 2**24
        codes.

    >>> codebook((3, 4), 4, 6)
    array([[ 0. , -0.5],
           [ 1. , -0.5]], dtype=float32)
    """
    size = vocab_size(levels)
    stop = size if stop is None else stop
    if not 0 <= start <= stop <= size:
        raise ValueError(f"codebook: expected 0 <= start <= stop <= {size}, got [{start}, {stop}).")
    if stop - start > MAX_CODEBOOK:
        raise ValueError(
            f"codebook: expected at most 2**24 codes at once, got {stop - start}. "
            "Use slices: codebook_chunk(start, stop)."
        )
    digits = tokens_to_digits(np.arange(start, stop), levels)
    return digits_to_codes(digits, levels, symmetric=symmetric)


def check_tokens(tokens: Any, size: int) -> np.ndarray:
    """Returns the tokens as int64.

    Raises:
      ValueError: A token is not an integer in [0, size).
    """
    integers = _check_integers(tokens, "tokens")
    outside = (integers < 0) | (integers >= size)
    if outside.any():
        raise ValueError(
            f"tokens: expected values in [0, {size}), got {int(outside.sum())} outside, "
            f"the first is {integers[outside].flat[0]}."
        )
    return integers.astype(np.int64)


def check_channels(shape: Sequence[int | None], levels: Levels) -> None:
    """Raises a ValueError unless the last dimension has one channel per level."""
    found = shape[-1] if len(shape) else None
    if found != len(levels):
        raise ValueError(
            f"FSQ: expected {len(levels)} channels in the last dimension for "
            f"levels {list(levels)}, got {found} in shape {tuple(shape)}."
        )


def _check_integers(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers, got {array.dtype}.")
    return array

"""Codebook usage: entropy, perplexity and share of used codes, from counts. NumPy only."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fsq.quantizer.lattice import check_levels, check_tokens, tokens_to_digits

__all__ = ["Usage", "channel_entropy_bits", "usage_of_counts", "usage_of_tokens"]


@dataclasses.dataclass(frozen=True)
class Usage:
    """Statistics of a histogram of tokens.

    Attributes:
      tokens: Number of tokens counted.
      used: Number of different codes that occur.
      usage: used / vocab_size, in [0, 1].
      perplexity: exp of the entropy, in [1, vocab_size].
      entropy_bits: Entropy of one token, in bits.
    """

    tokens: int
    used: int
    usage: float
    perplexity: float
    entropy_bits: float


def usage_of_counts(counts: np.ndarray, vocab_size: int | None = None) -> Usage:
    """Summarises how often each token occurs.

    Args:
      counts: Non-negative integers, one per code; codes that do not occur may
        be left out if vocab_size is given.
      vocab_size: Number of codes; len(counts) if None.

    Returns:
      The usage; all zero if nothing was counted.

    >>> usage_of_counts(np.full(240, 7)).perplexity
    240.0
    """
    total = int(counts.sum())
    if total == 0:
        return Usage(tokens=0, used=0, usage=0.0, perplexity=0.0, entropy_bits=0.0)
    present = counts[counts > 0]
    entropy_bits = _entropy_bits(present)
    return Usage(
        tokens=total,
        used=int(present.size),
        usage=present.size / (vocab_size or counts.size),
        perplexity=round(2.0**entropy_bits, 9),
        entropy_bits=entropy_bits,
    )


def usage_of_tokens(tokens: Any, vocab_size: int) -> Usage:
    """Summarises tokens, integers in [0, vocab_size) of any shape.

    Raises:
      ValueError: A token is not an integer or lies outside the vocabulary.

    >>> usage_of_tokens(np.full((2, 3), 17), 240).usage == 1 / 240
    True
    """
    _, counts = np.unique(check_tokens(tokens, vocab_size), return_counts=True)
    return usage_of_counts(counts, vocab_size)


def channel_entropy_bits(tokens: Any, levels: Sequence[int]) -> tuple[float, ...]:
    """Computes the entropy of each channel's digit, in bits; at most log2 of its levels.

    Args:
      tokens: Integers in [0, vocab_size), any shape.
      levels: Values per channel, length D.

    Returns:
      D numbers; a channel at 0 is constant. All 0 if there are no tokens.

    Raises:
      ValueError: A token is not an integer or lies outside the lattice.

    >>> channel_entropy_bits(np.arange(8), (4, 2, 3))
    (2.0, 1.0, 0.0)
    """
    digits = tokens_to_digits(tokens, levels).reshape(-1, len(levels))
    return tuple(
        _entropy_bits(np.bincount(digits[:, channel], minlength=level))
        for channel, level in enumerate(check_levels(levels))
    )


def _entropy_bits(counts: np.ndarray) -> float:
    present = counts[counts > 0]
    share = present / max(int(counts.sum()), 1)
    return float(np.abs(-(share * np.log2(share)).sum()))

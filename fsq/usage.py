"""How a codebook is used: counts to entropy, perplexity, dead codes. NumPy only."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a histogram of tokens says.

    Attributes:
      tokens: How many tokens were counted.
      used: How many different codes occur.
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
      vocab_size: How many codes there are; len(counts) if None.

    Returns:
      The usage; all zero if nothing was counted.

    >>> usage_of_counts(np.full(240, 7)).perplexity
    240.0
    """
    total = int(counts.sum())
    if total == 0:
        return Usage(tokens=0, used=0, usage=0.0, perplexity=0.0, entropy_bits=0.0)
    present = counts[counts > 0]
    share = present / total
    entropy_bits = float(np.abs(-(share * np.log2(share)).sum()))
    return Usage(
        tokens=total,
        used=int(present.size),
        usage=present.size / (vocab_size or counts.size),
        perplexity=round(2.0**entropy_bits, 9),
        entropy_bits=entropy_bits,
    )

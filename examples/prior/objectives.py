"""From sequences to what the network is shown, what it is asked, and what counts. NumPy only."""

import math
import zlib
from typing import NamedTuple

import numpy as np

from examples.prior.vocabulary import Mode, Vocabulary


class Question(NamedTuple):
    """A batch of one mode.

    Attributes:
      shown: What the network sees, int32 [B, places].
      wanted: What it should say, int32 [B, length].
      weight: What each answer counts, float32 [B, length].
    """

    shown: np.ndarray
    wanted: np.ndarray
    weight: np.ndarray


def drop_classes(
    sequences: np.ndarray, vocabulary: Vocabulary, share: float, random: np.random.Generator
) -> np.ndarray:
    """Puts 'no class' in the place of a share of the classes, which guidance needs."""
    dropped = random.random(len(sequences)) < share
    sequences = sequences.copy()
    sequences[dropped, 0] = vocabulary.no_class
    return sequences


def ask_causal(sequences: np.ndarray, counted: np.ndarray) -> Question:
    """Asks for every token, given those before it.

    Args:
      sequences: int32 [B, 1 + length].
      counted: bool [B], which images count.
    """
    weight = np.repeat(counted[:, None], sequences.shape[1] - 1, axis=1)
    return Question(sequences[:, :-1], sequences[:, 1:], weight.astype(np.float32))


def ask_masked(
    sequences: np.ndarray,
    counted: np.ndarray,
    vocabulary: Vocabulary,
    hidden_counts: np.ndarray,
    random: np.random.Generator,
) -> Question:
    """Asks for hidden tokens, given those that are not hidden.

    Every image counts the same, however many of its tokens are hidden. With counts that
    are uniform in 1 to length, the mean of such losses bounds the negative log-likelihood
    per token from above, as the mean over all orders of tokens.

    Args:
      sequences: int32 [B, 1 + length].
      counted: bool [B], which images count.
      vocabulary: Says what hides a token.
      hidden_counts: How many tokens to hide, int [B], each in [1, length].
      random: Says which.

    Source of the bound: Hoogeboom et al. 2022, arXiv:2110.02037, equation 4.
    """
    tokens = sequences[:, 1:]
    rank = random.random(tokens.shape).argsort(axis=1).argsort(axis=1)
    hidden = rank < hidden_counts[:, None]
    shown = sequences.copy()
    shown[:, 1:][hidden] = vocabulary.mask
    share = tokens.shape[1] / hidden_counts[:, None]
    return Question(shown, tokens, (hidden * share * counted[:, None]).astype(np.float32))


def cosine_counts(batch: int, length: int, random: np.random.Generator) -> np.ndarray:
    """Draws how many tokens to hide in training, int [batch], many more often than few.

    Source: MaskGIT, Chang et al. 2022, arXiv:2202.04200, section 3.3.
    """
    shares = np.cos(0.5 * np.pi * random.random(batch))
    counts: np.ndarray = np.ceil(shares * length).clip(1).astype(np.int64)
    return counts


def even_counts(batch: int, length: int, first: int) -> np.ndarray:
    """Goes through 1 to length again and again, int [batch]; for validation.

    In strides of the golden ratio, so that a few images have counts of all sizes too.

    >>> even_counts(6, 5, first=0)
    array([1, 4, 2, 5, 3, 1])
    """
    strides = (s for s in range(round(0.618 * length), length) if math.gcd(s, length) == 1)
    return (first + np.arange(batch)) * next(strides, 1) % length + 1


def training_question(
    sequences: np.ndarray,
    counted: np.ndarray,
    mode: Mode,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> Question:
    """Asks one batch in training."""
    if mode == "causal":
        return ask_causal(sequences, counted)
    counts = cosine_counts(len(sequences), vocabulary.length, random)
    return ask_masked(sequences, counted, vocabulary, counts, random)


def validation_question(
    sequences: np.ndarray, counted: np.ndarray, mode: Mode, vocabulary: Vocabulary, number: int
) -> Question:
    """Asks the batch of this number in validation, the same every time."""
    if mode == "causal":
        return ask_causal(sequences, counted)
    counts = even_counts(len(sequences), vocabulary.length, number * len(sequences))
    random = np.random.default_rng((0, number))
    return ask_masked(sequences, counted, vocabulary, counts, random)


def held_out_by_content(sequences: np.ndarray, share: float) -> np.ndarray:
    """Says which images are kept from training, bool [B]: equal tokens, equal answer."""
    rows = np.ascontiguousarray(sequences[:, 1:], "<i8")
    return np.array([zlib.crc32(row.tobytes()) < share * 2**32 for row in rows], bool)


def bits_per_dimension(nats_per_token: float, tokens: int, values: int) -> float:
    """Turns nats per token into bits per value of a pixel.

    They are those of the tokens: what decoding them loses is not in them.

    Args:
      nats_per_token: The mean.
      tokens: Of an image.
      values: Of an image, rows x columns x channels.

    >>> round(bits_per_dimension(math.log(2), 49, 784), 4)
    0.0625
    """
    return nats_per_token * tokens / math.log(2) / values

"""Training objectives: inputs, targets and loss weights of each mode. NumPy only."""

import math
import zlib
from typing import NamedTuple

import numpy as np

from examples.prior.vocabulary import Mode, Vocabulary


class ModeBatch(NamedTuple):
    """A batch of one mode.

    Attributes:
      inputs: Sequences for the network, int32 [B, positions].
      targets: The tokens to predict, int32 [B, length].
      weights: Weight of each token in the loss, float32 [B, length].
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def drop_classes(
    sequences: np.ndarray, vocabulary: Vocabulary, share: float, random: np.random.Generator
) -> np.ndarray:
    """Replaces a share of the classes by 'no class', as classifier-free guidance needs."""
    dropped = random.random(len(sequences)) < share
    sequences = sequences.copy()
    sequences[dropped, 0] = vocabulary.no_class
    return sequences


def causal_batch(sequences: np.ndarray, counted: np.ndarray) -> ModeBatch:
    """Makes a batch of mode 'causal': predict every token from those before it.

    Args:
      sequences: int32 [B, 1 + length].
      counted: bool [B], which images count in the loss.
    """
    weights = np.repeat(counted[:, None], sequences.shape[1] - 1, axis=1)
    return ModeBatch(sequences[:, :-1], sequences[:, 1:], weights.astype(np.float32))


def masked_batch(
    sequences: np.ndarray,
    counted: np.ndarray,
    vocabulary: Vocabulary,
    hidden_counts: np.ndarray,
    random: np.random.Generator,
) -> ModeBatch:
    """Makes a batch of mode 'masked': predict the masked tokens from the others.

    Every image has the same weight, however many of its tokens are masked. With counts
    uniform in [1, length], the mean loss is an upper bound of the negative log-likelihood
    per token: the mean over all orders of tokens.

    Args:
      sequences: int32 [B, 1 + length].
      counted: bool [B], which images count in the loss.
      vocabulary: Defines the mask token.
      hidden_counts: Number of tokens to mask, int [B], each in [1, length].
      random: Chooses the positions.

    Source of the bound: Hoogeboom et al. 2022, arXiv:2110.02037, equation 4.
    """
    tokens = sequences[:, 1:]
    rank = random.random(tokens.shape).argsort(axis=1).argsort(axis=1)
    hidden = rank < hidden_counts[:, None]
    inputs = sequences.copy()
    inputs[:, 1:][hidden] = vocabulary.mask
    share = tokens.shape[1] / hidden_counts[:, None]
    return ModeBatch(inputs, tokens, (hidden * share * counted[:, None]).astype(np.float32))


def cosine_counts(batch: int, length: int, random: np.random.Generator) -> np.ndarray:
    """Draws how many tokens to mask in training, int [batch]; large numbers are more likely.

    Source: MaskGIT, Chang et al. 2022, arXiv:2202.04200, section 3.3.
    """
    shares = np.cos(0.5 * np.pi * random.random(batch))
    counts: np.ndarray = np.ceil(shares * length).clip(1).astype(np.int64)
    return counts


def even_counts(batch: int, length: int, first: int) -> np.ndarray:
    """Returns counts that cycle through 1 to length, int [batch]; for validation.

    The stride is about the golden ratio times the length, so that a few images already have
    small and large counts.

    >>> even_counts(6, 5, first=0)
    array([1, 4, 2, 5, 3, 1])
    """
    strides = (s for s in range(round(0.618 * length), length) if math.gcd(s, length) == 1)
    return (first + np.arange(batch)) * next(strides, 1) % length + 1


def training_batch(
    sequences: np.ndarray,
    counted: np.ndarray,
    mode: Mode,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> ModeBatch:
    """Makes a training batch."""
    if mode == "causal":
        return causal_batch(sequences, counted)
    counts = cosine_counts(len(sequences), vocabulary.length, random)
    return masked_batch(sequences, counted, vocabulary, counts, random)


def validation_batch(
    sequences: np.ndarray, counted: np.ndarray, mode: Mode, vocabulary: Vocabulary, number: int
) -> ModeBatch:
    """Makes the validation batch of this number, the same every time."""
    if mode == "causal":
        return causal_batch(sequences, counted)
    counts = even_counts(len(sequences), vocabulary.length, number * len(sequences))
    random = np.random.default_rng((0, number))
    return masked_batch(sequences, counted, vocabulary, counts, random)


def held_out_by_content(sequences: np.ndarray, share: float) -> np.ndarray:
    """Says which images are held out, bool [B]; images with equal tokens go to the same side."""
    rows = np.ascontiguousarray(sequences[:, 1:], "<i8")
    return np.array([zlib.crc32(row.tobytes()) < share * 2**32 for row in rows], bool)


def bits_per_dimension(nats_per_token: float, tokens: int, values: int) -> float:
    """Converts nats per token to bits per pixel value.

    They measure the tokens; the error of decoding is not included.

    Args:
      nats_per_token: Mean over tokens.
      tokens: Tokens per image.
      values: Pixel values per image, rows x columns x channels.

    >>> round(bits_per_dimension(math.log(2), 49, 784), 4)
    0.0625
    """
    return nats_per_token * tokens / math.log(2) / values

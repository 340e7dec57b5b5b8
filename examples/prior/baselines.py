"""Baselines: cross-entropy of held-out tokens under a unigram and a bigram model."""

import dataclasses

import numpy as np

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Cross-entropies on held-out tokens, in nats per token.

    Attributes:
      uniform: The natural logarithm of the vocabulary size.
      unigram: Each token by its frequency.
      bigram: Each token by its frequency after the token before it, in raster order; the
        first by its frequency at the beginning of an image.
    """

    uniform: float
    unigram: float
    bigram: float


def measure_baselines(training: np.ndarray, held_out: np.ndarray, vocab_size: int) -> Baselines:
    """Fits both models on training tokens and measures them on held-out tokens.

    The unigram model has one added count per token. The bigram model is smoothed with the
    unigram distribution as a prior of `STRENGTHS` pseudo-counts; the best strength is chosen
    on the held-out tokens themselves, in the bigram model's favour.

    Args:
      training: Integers in [0, vocab_size), shape [images, length].
      held_out: Integers in [0, vocab_size), shape [images, length].
      vocab_size: Number of tokens.
    """
    counts = np.bincount(training.ravel(), minlength=vocab_size)
    unigram = (counts + 1) / (counts.sum() + vocab_size)
    pairs, pair_counts = np.unique(_pairs(training, vocab_size), return_counts=True)
    # How often each token, or the beginning, is a context.
    contexts = np.bincount(_contexts(training, vocab_size).ravel(), minlength=vocab_size + 1)

    wanted = _pairs(held_out, vocab_size)
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, pair_counts[place], 0)
    context = contexts[_contexts(held_out, vocab_size)]
    base = unigram[held_out]
    bigram = min(_nats((seen + strength * base) / (context + strength)) for strength in STRENGTHS)
    return Baselines(float(np.log(vocab_size)), _nats(base), bigram)


def _contexts(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns the token before each token; `vocab_size` before the first."""
    begin = np.full((len(tokens), 1), vocab_size)
    return np.concatenate([begin, tokens[:, :-1].astype(np.int64)], axis=1)


def _pairs(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns a number for each pair of a token and the one before it."""
    pairs: np.ndarray = _contexts(tokens, vocab_size) * vocab_size + tokens
    return pairs


def _nats(probabilities: np.ndarray) -> float:
    return float(-np.log(probabilities).mean())

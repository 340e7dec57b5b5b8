"""What counting achieves: how surprising held-out tokens are to a unigram and to a bigram model."""

import dataclasses

import numpy as np

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Cross-entropies on held-out tokens, in nats per token.

    Attributes:
      uniform: ln of the vocabulary.
      unigram: Each token by how often it comes.
      bigram: Each token by how often it follows the one before it, row by row; the
        first of an image by how often images begin with it.
    """

    uniform: float
    unigram: float
    bigram: float


def measure_baselines(training: np.ndarray, held_out: np.ndarray, vocab_size: int) -> Baselines:
    """Counts on training tokens and measures on held-out ones.

    Unigrams are smoothed by one count for each token. A bigram's distribution is mixed
    with the unigrams', which count like so many more observations; how many is chosen on
    the held-out tokens themselves, in the bigram's favour.

    Args:
      training: Integers in [0, vocab_size), shape [images, length].
      held_out: Integers in [0, vocab_size), shape [images, length].
      vocab_size: How many tokens there are.
    """
    counts = np.bincount(training.ravel(), minlength=vocab_size)
    unigram = (counts + 1) / (counts.sum() + vocab_size)
    pairs, pair_counts = np.unique(_pairs(training, vocab_size), return_counts=True)
    # How often each token, and the beginning, is followed by anything.
    contexts = np.bincount(_contexts(training, vocab_size).ravel(), minlength=vocab_size + 1)

    wanted = _pairs(held_out, vocab_size)
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, pair_counts[place], 0)
    context = contexts[_contexts(held_out, vocab_size)]
    base = unigram[held_out]
    bigram = min(_nats((seen + strength * base) / (context + strength)) for strength in STRENGTHS)
    return Baselines(float(np.log(vocab_size)), _nats(base), bigram)


def _contexts(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """The token before each, `vocab_size` before the first."""
    begin = np.full((len(tokens), 1), vocab_size)
    return np.concatenate([begin, tokens[:, :-1].astype(np.int64)], axis=1)


def _pairs(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """A number for each token with the one before it."""
    pairs: np.ndarray = _contexts(tokens, vocab_size) * vocab_size + tokens
    return pairs


def _nats(probabilities: np.ndarray) -> float:
    return float(-np.log(probabilities).mean())

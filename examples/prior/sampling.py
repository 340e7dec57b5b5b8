"""New tokens: one after the other with a cache, or many at a time from masks."""

import math

import numpy as np
import tensorflow as tf

from examples.prior.config import Taste
from examples.prior.model import Prior
from examples.prior.vocabulary import Mode

AT_ONCE = 500


def choose(logits: np.ndarray, taste: Taste, random: np.random.Generator) -> np.ndarray:
    """Draws a token from each row of logits.

    Args:
      logits: float [..., tokens].
      taste: Temperature and top_k.
      random: Where it is drawn from.

    Returns:
      Integers in [0, tokens), shape [...].
    """
    scaled = logits / taste.temperature
    if 0 < taste.top_k < logits.shape[-1]:
        least = np.partition(scaled, -taste.top_k, axis=-1)[..., -taste.top_k, None]
        scaled = np.where(scaled < least, -np.inf, scaled)
    # The largest of logits with Gumbel noise is a draw from their softmax.
    drawn: np.ndarray = (scaled + random.gumbel(size=scaled.shape)).argmax(axis=-1)
    return drawn


class Sampler:
    """Samples from a prior; what is compiled for one batch serves the next of its size.

    Args:
      prior: A trained one.
    """

    def __init__(self, prior: Prior):
        self._prior, self.vocabulary = prior, prior.vocabulary
        self._step = tf.function(prior.step)
        self._answer = tf.function(lambda shown: prior(shown, mode="masked"))

    def sample(self, classes: np.ndarray, taste: Taste, mode: Mode) -> np.ndarray:
        """Samples an image for each class, some hundred at a time.

        Args:
          classes: What stands in front, `vocabulary.tokens + class` or 'no class', int [B].
          taste: How to choose; all follows from its seed.
          mode: One that the prior has.

        Returns:
          Tokens, int32 [B, rows, columns].
        """
        sample = self._causal if mode == "causal" else self._masked
        random = np.random.default_rng(taste.seed)
        pieces = [
            sample(np.asarray(classes[start : start + AT_ONCE], np.int32), taste, random)
            for start in range(0, len(classes), AT_ONCE)
        ]
        return np.concatenate(pieces).reshape(-1, *self.vocabulary.grid)

    def _causal(self, classes: np.ndarray, taste: Taste, random: np.random.Generator) -> np.ndarray:
        """Token after token, int32 [B, length]."""
        shown = self._beside_no_class(classes, taste)
        cache = self._prior.new_cache(len(shown))
        tokens = np.empty((len(classes), self.vocabulary.length), np.int32)
        for place in range(self.vocabulary.length):
            logits, cache = self._step(tf.constant(shown), tf.constant(place), cache)
            tokens[:, place] = choose(_guide(logits.numpy(), taste), taste, random)
            shown = np.resize(tokens[:, place], len(shown))
        return tokens

    def _masked(self, classes: np.ndarray, taste: Taste, random: np.random.Generator) -> np.ndarray:
        """Guesses all that is hidden, keeps the surest guesses, and again, int32 [B, length].

        How much stays hidden falls with a cosine; what is sure is drawn too, with noise that
        fades. Source: MaskGIT, Chang et al. 2022, arXiv:2202.04200, section 3.2.
        """
        vocabulary = self.vocabulary
        front = self._beside_no_class(classes, taste)
        tokens = np.full((len(classes), vocabulary.length), vocabulary.mask, np.int32)
        counts = hidden_counts(vocabulary.length, taste.steps)
        for step, hidden_after in enumerate(counts, start=1):
            body = np.resize(tokens, (len(front), vocabulary.length))
            shown = np.concatenate([front[:, None], body], axis=1)
            logits = _guide(self._answer(tf.constant(shown)).numpy(), taste)
            hidden = tokens == vocabulary.mask
            guesses = choose(logits, taste, random)
            sure = np.take_along_axis(_log_softmax(logits), guesses[..., None], axis=-1)[..., 0]
            fading = taste.temperature * (1 - step / len(counts))
            sure = sure + random.gumbel(size=sure.shape) * fading
            sure[~hidden] = np.inf  # what is known stays
            tokens = np.where(hidden, guesses, tokens).astype(np.int32)
            least = np.argsort(sure, axis=1, kind="stable")[:, :hidden_after]
            np.put_along_axis(tokens, least, vocabulary.mask, axis=1)
        return tokens

    def _beside_no_class(self, classes: np.ndarray, taste: Taste) -> np.ndarray:
        """The classes, and if there is guidance the same number of 'no class' behind them."""
        if taste.guidance == 1.0:
            return classes
        return np.concatenate([classes, np.full_like(classes, self.vocabulary.no_class)])


def hidden_counts(length: int, steps: int) -> list[int]:
    """Returns how many tokens are hidden still after each step.

    At least one token is found out in every step, so there are never more steps than tokens.

    >>> hidden_counts(16, 4)
    [14, 11, 6, 0]
    """
    counts, left = [], length
    steps = min(steps, length)
    for step in range(1, steps + 1):
        wanted = math.floor(length * math.cos(0.5 * math.pi * step / steps))
        left = max(0, min(wanted, left - 1)) if step < steps else 0
        counts.append(left)
    return counts


def _guide(logits: np.ndarray, taste: Taste) -> np.ndarray:
    if taste.guidance == 1.0:
        return logits
    of_class, of_none = np.split(logits, 2)
    guided: np.ndarray = of_none + taste.guidance * (of_class - of_none)
    return guided


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted

"""Sampling: token by token with a key-value cache, or many masked tokens at a time."""

import math

import numpy as np
import tensorflow as tf

from examples.prior.config import SamplingSpec
from examples.prior.model import Prior
from examples.prior.vocabulary import Mode

AT_ONCE = 500


def choose(logits: np.ndarray, sampling: SamplingSpec, random: np.random.Generator) -> np.ndarray:
    """Draws a token from each row of logits.

    Args:
      logits: float [..., tokens].
      sampling: Its temperature and top_k are applied.
      random: The random generator.

    Returns:
      Integers in [0, tokens), shape [...].
    """
    scaled = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = np.partition(scaled, -sampling.top_k, axis=-1)[..., -sampling.top_k, None]
        scaled = np.where(scaled < least, -np.inf, scaled)
    # The largest of logits with Gumbel noise is a draw from their softmax.
    drawn: np.ndarray = (scaled + random.gumbel(size=scaled.shape)).argmax(axis=-1)
    return drawn


class Sampler:
    """Samples from a prior; a graph is compiled once for each batch size.

    Args:
      prior: A trained prior.
    """

    def __init__(self, prior: Prior):
        self._prior, self.vocabulary = prior, prior.vocabulary
        self._step = tf.function(prior.step)
        self._answer = tf.function(lambda shown: prior(shown, mode="masked"))

    def sample(self, classes: np.ndarray, sampling: SamplingSpec, mode: Mode) -> np.ndarray:
        """Samples an image for each class, in batches of at most `AT_ONCE`.

        Args:
          classes: The first id of each sequence: `vocabulary.tokens + class`, or
            `vocabulary.no_class`; int [B].
          sampling: The sampling options; the samples follow from its seed.
          mode: One of the prior's modes.

        Returns:
          Tokens, int32 [B, rows, columns].
        """
        sample = self._causal if mode == "causal" else self._masked
        random = np.random.default_rng(sampling.seed)
        pieces = [
            sample(np.asarray(classes[start : start + AT_ONCE], np.int32), sampling, random)
            for start in range(0, len(classes), AT_ONCE)
        ]
        return np.concatenate(pieces).reshape(-1, *self.vocabulary.grid)

    def _causal(
        self, classes: np.ndarray, sampling: SamplingSpec, random: np.random.Generator
    ) -> np.ndarray:
        """Samples token by token, int32 [B, length]."""
        shown = self._beside_no_class(classes, sampling)
        cache = self._prior.new_cache(len(shown))
        tokens = np.empty((len(classes), self.vocabulary.length), np.int32)
        for place in range(self.vocabulary.length):
            logits, cache = self._step(tf.constant(shown), tf.constant(place), cache)
            tokens[:, place] = choose(_guide(logits.numpy(), sampling), sampling, random)
            shown = np.resize(tokens[:, place], len(shown))
        return tokens

    def _masked(
        self, classes: np.ndarray, sampling: SamplingSpec, random: np.random.Generator
    ) -> np.ndarray:
        """Samples all masked tokens, keeps the most confident, and repeats; int32 [B, length].

        The number of masked tokens follows a cosine; Gumbel noise that decreases to zero is
        added to the confidence. Source: MaskGIT, Chang et al. 2022, arXiv:2202.04200,
        section 3.2.
        """
        vocabulary = self.vocabulary
        front = self._beside_no_class(classes, sampling)
        tokens = np.full((len(classes), vocabulary.length), vocabulary.mask, np.int32)
        counts = hidden_counts(vocabulary.length, sampling.steps)
        for step, hidden_after in enumerate(counts, start=1):
            body = np.resize(tokens, (len(front), vocabulary.length))
            shown = np.concatenate([front[:, None], body], axis=1)
            logits = _guide(self._answer(tf.constant(shown)).numpy(), sampling)
            hidden = tokens == vocabulary.mask
            guesses = choose(logits, sampling, random)
            sure = np.take_along_axis(_log_softmax(logits), guesses[..., None], axis=-1)[..., 0]
            fading = sampling.temperature * (1 - step / len(counts))
            sure = sure + random.gumbel(size=sure.shape) * fading
            sure[~hidden] = np.inf  # known tokens stay
            tokens = np.where(hidden, guesses, tokens).astype(np.int32)
            least = np.argsort(sure, axis=1, kind="stable")[:, :hidden_after]
            np.put_along_axis(tokens, least, vocabulary.mask, axis=1)
        return tokens

    def _beside_no_class(self, classes: np.ndarray, sampling: SamplingSpec) -> np.ndarray:
        """Returns the classes; with guidance, followed by as many 'no class' ids."""
        if sampling.guidance == 1.0:
            return classes
        return np.concatenate([classes, np.full_like(classes, self.vocabulary.no_class)])


def hidden_counts(length: int, steps: int) -> list[int]:
    """Returns how many tokens are still masked after each step.

    At least one token is sampled in every step, so there are never more steps than tokens.

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


def _guide(logits: np.ndarray, sampling: SamplingSpec) -> np.ndarray:
    if sampling.guidance == 1.0:
        return logits
    of_class, of_none = np.split(logits, 2)
    guided: np.ndarray = of_none + sampling.guidance * (of_class - of_none)
    return guided


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted

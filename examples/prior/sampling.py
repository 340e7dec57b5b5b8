"""New tokens: one after the other with a cache, or many at a time from masks."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from examples.prior.model import Prior


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taste:
    """How tokens are chosen.

    Attributes:
      temperature: Divides the logits; below 1 the likely becomes likelier.
      top_k: Only so many of the likeliest tokens; 0 for all.
      guidance: 1 for the class as it is; above, the logits move on from those of no
        class through those of the class (Ho and Salimans 2022, arXiv:2207.12598).
      steps: Of mode 'masked'.
      seed: Of all that is drawn.
    """

    temperature: float = 1.0
    top_k: int = 0
    guidance: float = 1.0
    steps: int = 12
    seed: int = 0


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
    return (scaled + random.gumbel(size=scaled.shape)).argmax(axis=-1)


def sample_causal(prior: Prior, classes: np.ndarray, taste: Taste) -> np.ndarray:
    """Samples images token after token.

    Args:
      prior: One that has the mode.
      classes: What stands in front, `vocabulary.tokens + class` or 'no class', int [B].
      taste: How to choose.

    Returns:
      Tokens, int32 [B, rows, columns].
    """
    random = np.random.default_rng(taste.seed)
    vocabulary = prior.vocabulary
    front = _with_no_class(classes, prior, taste)
    cache = prior.new_cache(len(front))
    step = tf.function(prior.step)
    tokens = np.empty((len(classes), vocabulary.length), np.int32)
    shown = front
    for place in range(vocabulary.length):
        logits, cache = step(tf.constant(shown), tf.constant(place), cache)
        tokens[:, place] = choose(_guide(np.asarray(logits), taste), taste, random)
        shown = np.concatenate([tokens[:, place]] * (len(front) // len(classes)))
    return tokens.reshape(-1, *vocabulary.grid)


def sample_masked(prior: Prior, classes: np.ndarray, taste: Taste) -> np.ndarray:
    """Samples images in a few steps: all that is hidden is guessed, the surest guesses stay.

    How much stays hidden falls with a cosine; what is sure is drawn too, with noise that
    fades. Source: MaskGIT, Chang et al. 2022, arXiv:2202.04200, section 3.2.

    Args:
      prior: One that has the mode.
      classes: See `sample_causal`.
      taste: How to choose.

    Returns:
      Tokens, int32 [B, rows, columns].
    """
    random = np.random.default_rng(taste.seed)
    vocabulary = prior.vocabulary
    answer = tf.function(lambda shown: prior(shown, mode="masked"))
    tokens = np.full((len(classes), vocabulary.length), vocabulary.mask, np.int32)
    for step, hidden_after in enumerate(hidden_counts(vocabulary.length, taste.steps)):
        front = _with_no_class(classes, prior, taste)
        body = np.concatenate([tokens] * (len(front) // len(classes)))
        shown = np.concatenate([front[:, None], body], axis=1)
        logits = _guide(np.asarray(answer(tf.constant(shown))), taste)
        hidden = tokens == vocabulary.mask
        guesses = choose(logits, taste, random)
        sure = np.take_along_axis(_log_softmax(logits), guesses[..., None], axis=-1)[..., 0]
        sure += random.gumbel(size=sure.shape) * taste.temperature * (1 - (step + 1) / taste.steps)
        sure[~hidden] = np.inf  # what is known stays
        tokens = np.where(hidden, guesses, tokens).astype(np.int32)
        if hidden_after:
            least = np.argsort(sure, axis=1, kind="stable")[:, :hidden_after]
            np.put_along_axis(tokens, least, vocabulary.mask, axis=1)
    return tokens.reshape(-1, *vocabulary.grid)


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


def _with_no_class(classes: np.ndarray, prior: Prior, taste: Taste) -> np.ndarray:
    """The classes, and if there is guidance the same number of 'no class' behind them."""
    classes = np.asarray(classes, np.int32)
    if taste.guidance == 1.0:
        return classes
    return np.concatenate([classes, np.full_like(classes, prior.vocabulary.no_class)])


def _guide(logits: np.ndarray, taste: Taste) -> np.ndarray:
    if taste.guidance == 1.0:
        return logits
    of_class, of_none = np.split(logits, 2)
    return of_none + taste.guidance * (of_class - of_none)


def _log_softmax(logits: np.ndarray) -> Any:
    return np.asarray(ops.log_softmax(logits))

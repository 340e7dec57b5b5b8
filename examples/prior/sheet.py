"""Samples as a picture: a row for each class."""

import numpy as np
from PIL import Image

from examples.prior.config import Taste
from examples.prior.sampling import Sampler
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.images.contact_sheet import arrange
from fsq.tokenizer import Tokenizer


def fronts(vocabulary: Vocabulary, per_class: int) -> np.ndarray:
    """Returns what stands before the tokens: every class so many times, one after the other.

    >>> fronts(Vocabulary(levels=(5, 4), classes=2, grid=(3, 3)), 2).tolist()
    [20, 20, 21, 21]
    """
    first, count = vocabulary.tokens, max(1, vocabulary.classes)
    return np.repeat(np.arange(first, first + count), per_class)


def draw_samples(
    sampler: Sampler,
    tokenizer: Tokenizer,
    names: list[str],
    taste: Taste,
    *,
    per_class: int,
    mode: Mode,
) -> Image.Image:
    """Samples images of every class and lays them out.

    Args:
      sampler: Of a prior that has the mode.
      tokenizer: Decodes the tokens.
      names: Of the classes; empty for none.
      taste: How to choose.
      per_class: Images in a row.
      mode: How to sample.
    """
    tokens = sampler.sample(fronts(sampler.vocabulary, per_class), taste, mode)
    images = tokenizer.decode(tokens)
    rows = np.split(images, max(1, len(names)))
    return arrange(list(zip(names or ["sampled"], map(list, rows), strict=True)))

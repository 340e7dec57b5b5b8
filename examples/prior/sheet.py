"""A contact sheet of samples, a row for each class."""

import numpy as np
from PIL import Image

from examples.prior.config import SamplingSpec
from examples.prior.sampling import Sampler
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.images.contact_sheet import arrange
from fsq.tokenizer import Tokenizer


def first_tokens(vocabulary: Vocabulary, per_class: int) -> np.ndarray:
    """Returns the first id of each sequence: every class `per_class` times.

    >>> first_tokens(Vocabulary(levels=(5, 4), classes=2, grid=(3, 3)), 2).tolist()
    [20, 20, 21, 21]
    """
    first, count = vocabulary.tokens, max(1, vocabulary.classes)
    return np.repeat(np.arange(first, first + count), per_class)


def draw_samples(
    sampler: Sampler,
    tokenizer: Tokenizer,
    names: list[str],
    sampling: SamplingSpec,
    *,
    per_class: int,
    mode: Mode,
) -> Image.Image:
    """Samples images of every class and arranges them in rows.

    Args:
      sampler: Samples from a prior that has the mode.
      tokenizer: Decodes the tokens.
      names: Names of the classes; empty for a prior without classes.
      sampling: The sampling options.
      per_class: Images per row.
      mode: The mode to sample.
    """
    tokens = sampler.sample(first_tokens(sampler.vocabulary, per_class), sampling, mode)
    images = tokenizer.decode(tokens)
    rows = np.split(images, max(1, len(names)))
    return arrange(list(zip(names or ["sampled"], map(list, rows), strict=True)))

"""The reference batch: images, and the tokens that the original code made of them.

An import is checked against it. It is saved with the tokenizer, so that the check
can be repeated on any machine. Imports NumPy, not TensorFlow.
"""

import dataclasses
import math
import zipfile

import numpy as np

from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.quantizer import lattice
from fsq.storage.path_expansion import looked_in

REFERENCE_IMAGES, REFERENCE_TOKENS = "reference/images", "reference/tokens"
MIN_AGREEMENT = (999, 1000)  # of the tokens; the rest are rounding errors at a boundary
MAX_BYTES = 2**26  # it is copied into every dataset


@dataclasses.dataclass(frozen=True)
class Reference:
    """Images and their tokens.

    Attributes:
      images: uint8 [N, H, W, C].
      tokens: int64 [N, rows, columns]; when read from a file, integers of any
        type, also [N, rows * columns].
    """

    images: np.ndarray
    tokens: np.ndarray


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many tokens are the same as those of the reference batch."""

    same: int
    total: int

    @property
    def is_good(self) -> bool:
        """Whether `MIN_AGREEMENT` is reached."""
        return self.same * MIN_AGREEMENT[1] >= self.total * MIN_AGREEMENT[0]

    @property
    def percent(self) -> str:
        """Rounded down, so that 100.00 % means all.

        >>> Agreement(same=65_535, total=65_536).percent
        '99.99 %'
        """
        return f"{self.same * 10_000 // self.total / 100:.2f} %"

    def __str__(self) -> str:
        return f"{self.same:,} of {self.total:,} tokens agree ({self.percent})"


def compare(tokens: np.ndarray, expected: np.ndarray) -> Agreement:
    """Counts the tokens that are the same, of two arrays of one shape."""
    assert tokens.shape == expected.shape, (tokens.shape, expected.shape)
    return Agreement(int((tokens == expected).sum()), expected.size)


def read_reference(path: str, spec: ImageSpec) -> Reference:
    """Reads a reference batch from an .npz file with `images` and `tokens`.

    `place_tokens` checks the tokens, once the grid is known.

    Raises:
      RequestError: The file is missing or of another format, or its arrays have
        another shape or type.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, tokens = (file[name] for name in ("images", "tokens"))
    except KeyError as error:
        raise RequestError(
            f"{path}: expected the arrays 'images' and 'tokens', got one without the other. "
            "Save them with np.savez_compressed(path, images=..., tokens=...)."
        ) from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "another file"
        raise RequestError(
            f"{path}: expected an .npz file of numbers, got: {reason}{looked_in(path)}."
        ) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != spec.shape:
        raise RequestError(
            f"{path}: expected images uint8 [N, {', '.join(map(str, spec.shape))}], "
            f"got {images.dtype} {list(images.shape)}."
        )
    most = MAX_BYTES // math.prod(spec.shape)
    if not 0 < len(images) <= most:
        raise RequestError(
            f"{path}: expected 1 to {most:,} images, got {len(images):,}; "
            "they are copied into every dataset."
        )
    if tokens.dtype.kind not in "iu":
        raise RequestError(f"{path}: expected tokens as integers, got {tokens.dtype}.")
    if tokens.ndim not in (2, 3) or len(tokens) != len(images) or tokens.size == 0:
        raise RequestError(
            f"{path}: expected tokens [{len(images)}, rows, columns], got {list(tokens.shape)}."
        )
    return Reference(np.ascontiguousarray(images), tokens)


def place_tokens(
    reference: Reference, grid: tuple[int, int], vocab_size: int, where: str
) -> np.ndarray:
    """Returns the tokens as int64 [N, rows, columns].

    Args:
      reference: As `read_reference` returns it.
      grid: Rows and columns.
      vocab_size: One more than the largest token.
      where: The file, for error messages.

    Raises:
      RequestError: They have another grid, or lie outside the vocabulary.
    """
    tokens = reference.tokens
    if tokens.shape[1:] not in (grid, (grid[0] * grid[1],)):
        raise RequestError(
            f"{where}: expected tokens [{len(tokens)}, {grid[0]}, {grid[1]}] for the encoder's "
            f"grid, got {list(tokens.shape)}. Save all tokens of each image, row by row."
        )
    try:
        return lattice.check_tokens(tokens, vocab_size).reshape(-1, *grid)
    except ValueError as error:
        raise RequestError(
            f"{where}: {error} Correct levels, or save the tokens of the original code."
        ) from error

"""The reference batch: images, and the tokens that the original code made of them.

It is what an import is judged by, and it stays with the tokenizer, so that the
same question can be asked again on any machine. Light: NumPy only.
"""

import dataclasses
import math
import zipfile

import numpy as np

from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.quantizer import lattice

REFERENCE_IMAGES, REFERENCE_TOKENS = "reference/images", "reference/tokens"
MIN_AGREEMENT = (999, 1000)  # of the tokens; the rest are rounding errors at a boundary
MAX_BYTES = 2**26  # it is copied into every dataset


@dataclasses.dataclass(frozen=True)
class Reference:
    """Images and their tokens.

    Attributes:
      images: uint8 [N, S, S, C].
      tokens: int64, [N, rows, columns]; as a file holds them also any integers
        [N, rows * columns].
    """

    images: np.ndarray
    tokens: np.ndarray


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many tokens are the same."""

    same: int
    total: int

    @property
    def is_good(self) -> bool:
        """Whether enough tokens are the same to import the tokenizer."""
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
    """Counts the tokens that are the same; shapes must be too."""
    assert tokens.shape == expected.shape, (tokens.shape, expected.shape)
    return Agreement(int((tokens == expected).sum()), expected.size)


def read_reference(path: str, spec: ImageSpec) -> Reference:
    """Reads a reference batch from an .npz file with `images` and `tokens`.

    The tokens are as they come; see `place_tokens`.

    Raises:
      RequestError: The file is missing or another, or its arrays do not fit.
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
        raise RequestError(f"{path}: expected an .npz file of numbers, got: {reason}.") from error
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

    Raises:
      RequestError: They are of another grid or vocabulary.
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

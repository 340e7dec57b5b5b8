"""What the network is told in integers: the dataset's tokens, its classes, and two signs more."""

import dataclasses
from typing import Literal

from fsq.dataset import SequenceSpec
from fsq.dataset.open_dataset import OpenedDataset
from fsq.errors import RequestError
from fsq.quantizer import lattice

FEWEST_TOKENS = 2
# How the network is asked: for the next token, or for those that are hidden.
Mode = Literal["causal", "masked"]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens come first, so that logits over them are the first rows of one table.

    [0, tokens) tokens | + classes | 'no class' | 'mask'

    Attributes:
      levels: Those of the dataset's tokenizer, one per dimension of its lattice.
      classes: How many there are; 0 for none.
      grid: Rows and columns of tokens.

    >>> vocabulary = Vocabulary(levels=(8, 5, 5, 5), classes=10, grid=(7, 7))
    >>> vocabulary.tokens, vocabulary.no_class, vocabulary.mask, vocabulary.length
    (1000, 1010, 1011, 49)
    """

    levels: tuple[int, ...]
    classes: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, dataset: OpenedDataset, *, classes: bool) -> "Vocabulary":
        """Takes everything from tokenizer.json and features.json.

        Raises:
          RequestError: Classes are asked for and there are none, or a sequence is too
            short for one token to follow another.
        """
        where = dataset.directory
        length = dataset.contract.tokens_per_image
        if length < FEWEST_TOKENS:
            raise RequestError(
                f"{where}: expected sequences of at least {FEWEST_TOKENS} tokens, so that one "
                f"follows another, got {length}. Tokenize with a finer grid."
            )
        if classes and not dataset.num_classes:
            raise RequestError(
                f"{where}: expected records with a label of named classes, found "
                f"{', '.join(dataset.names)}. Tokenize it with 'carry: [label]', or set "
                "'classes: false'."
            )
        count = dataset.num_classes or 0 if classes else 0
        return cls(dataset.contract.levels, count, dataset.contract.grid)

    @property
    def tokens(self) -> int:
        """How many there are."""
        return lattice.vocab_size(self.levels)

    @property
    def length(self) -> int:
        """Tokens of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def no_class(self) -> int:
        """Stands where the class would, if it was dropped or there is none."""
        return self.tokens + self.classes

    @property
    def mask(self) -> int:
        """Stands where a token is to be found out."""
        return self.no_class + 1

    @property
    def size(self) -> int:
        """How many ids there are: tokens, classes, 'no class', mask."""
        return self.mask + 1

    @property
    def sequence(self) -> SequenceSpec:
        """What to read: the class, or 'no class', and the tokens of one image."""
        if self.classes:
            return SequenceSpec(class_offset=self.tokens)
        return SequenceSpec(bos=self.no_class)

    def check_same(self, other: "Vocabulary", where: str, why: str) -> None:
        """Raises a RequestError if a dataset has another vocabulary; `why` says whose it is not."""
        for name, what in (
            ("tokens", "a vocabulary of {} tokens"),
            ("levels", "tokens of the levels {}"),
            ("grid", "sequences on a grid of {}"),
            ("classes", "{} classes"),
        ):
            expected, found = getattr(self, name), getattr(other, name)
            if expected != found:
                raise RequestError(
                    f"{where}: expected {what.format(_show(expected))}, {why}, "
                    f"found {_show(found)}. Give a dataset of that, or train another prior."
                )


def _show(value: int | tuple[int, ...]) -> str:
    return f"{value:,}" if isinstance(value, int) else " x ".join(map(str, value))
